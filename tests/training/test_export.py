"""An exported bundle loads, and calibration finds the thresholds that part fractured from intact levels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.network import build_fracture_network, build_unet
from model.network_config import compact_config
from model.postprocess import probability
from model.predictor import load_networks
from training.fitting.export import BundleSpec, choose_thresholds, export_bundle, fit_logistic


def test_exported_networks_come_back_with_their_weights(tmp_path):
    levels, fractures = build_unet(compact_config()), build_fracture_network(compact_config())
    bundle = export_bundle(levels, fractures, tmp_path, BundleSpec(name="test"))
    again = load_networks(bundle)
    for network, loaded in zip((levels, fractures), again, strict=True):
        for ours, theirs in zip(network.get_weights(), loaded.get_weights(), strict=True):
            assert np.allclose(ours, theirs, atol=2e-3)
    metadata = bundle.metadata
    assert metadata.calibration.threshold == metadata.operating_points["balanced"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 4_000_000


def test_calibration_and_thresholds_part_separable_scores():
    scores = np.array([0.01, 0.02, 0.1, 0.6, 0.8, 0.9])
    truth = np.array([False, False, False, True, True, True])
    scale, offset = fit_logistic(scores, truth)
    calibrated = np.array([probability(score, scale, offset) for score in scores])
    chosen = choose_thresholds(calibrated, truth)
    assert ((calibrated >= chosen.balanced) == truth).all()
    assert chosen.sensitive <= chosen.balanced


def test_calibrated_probabilities_match_the_share_that_is_fractured():
    rng = np.random.default_rng(3)
    scores = rng.uniform(size=4000)
    truth = rng.uniform(size=4000) < scores**2
    scale, offset = fit_logistic(scores, truth)
    calibrated = np.array([probability(score, scale, offset) for score in scores])
    for low in (0.0, 0.3, 0.6):
        band = (calibrated >= low) & (calibrated < low + 0.3)
        assert truth[band].mean() == pytest.approx(calibrated[band].mean(), abs=0.06)


@pytest.mark.parametrize("fit", [fit_logistic, choose_thresholds])
def test_calibration_needs_both_classes(fit):
    with pytest.raises(ValueError, match="fractured and intact"):
        fit(np.array([0.1, 0.2]), np.array([False, False]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=4, max_size=40))
def test_thresholds_are_probabilities_whatever_the_scores(values):
    truth = np.arange(len(values)) % 2 == 0
    scale, offset = fit_logistic(np.array(values), truth)
    chosen = choose_thresholds(np.array([probability(value, scale, offset) for value in values]), truth)
    assert 0 < chosen.sensitive <= chosen.balanced < 1
    assert scale > 0
