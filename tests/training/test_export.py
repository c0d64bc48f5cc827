"""An exported bundle loads, and calibration finds the thresholds that part fractured from intact levels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.network import build_unet, compact_config
from model.predictor import load_network
from training.export import BundleSpec, calibrate, export_bundle


def test_an_exported_network_comes_back_with_its_weights(tmp_path):
    network = build_unet(compact_config())
    bundle = export_bundle(network, tmp_path, BundleSpec(name="test", network=compact_config()))
    again = load_network(bundle)
    for ours, theirs in zip(network.get_weights(), again.get_weights(), strict=True):
        assert np.allclose(ours, theirs, atol=2e-3)
    assert bundle.metadata.postprocess.threshold == bundle.metadata.operating_points["balanced"]


def test_calibration_parts_separable_scores():
    scores = np.array([0.01, 0.02, 0.1, 0.6, 0.8, 0.9])
    truth = np.array([False, False, False, True, True, True])
    fitted = calibrate(scores, truth)
    logits = np.log(scores / (1 - scores))
    probability = 1 / (1 + np.exp(-(fitted.scale * logits + fitted.offset)))
    assert ((probability >= fitted.balanced) == truth).all()
    assert fitted.sensitive <= fitted.balanced


def test_calibration_needs_both_classes():
    with pytest.raises(ValueError, match="fractured and intact"):
        calibrate(np.array([0.1, 0.2]), np.array([False, False]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=4, max_size=40))
def test_thresholds_are_probabilities_whatever_the_scores(values):
    truth = np.arange(len(values)) % 2 == 0
    fitted = calibrate(np.array(values), truth)
    assert 0 < fitted.sensitive <= fitted.balanced < 1
    assert fitted.scale > 0
