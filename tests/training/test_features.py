"""Features of an encoder: exported, told apart by principal components, drawn."""

import csv

import numpy as np
import pytest
from PIL import Image

from model.network_config import Encoder
from tests.training import image_runs
from training.config import ConfigError
from training.images.features import FeaturesConfig, extract_features, feature_network, principal_components


def test_features_of_a_bundle_are_exported_and_drawn(tmp_path):
    prepared = image_runs.prepared()
    found = extract_features(FeaturesConfig(prepared.folder, tmp_path, bundle=image_runs.bundle().path))
    assert found.values.shape == (len(prepared.images), 96)
    with np.load(tmp_path / "features.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["values"], found.values)
        assert arrays["level"].tolist() == [int(image.level) for image in prepared.images]
        assert arrays["fractured"].tolist() == [int(image.fractured) for image in prepared.images]
    with (tmp_path / "features.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [image.name for image in prepared.images]
    assert float(rows[3]["f7"]) == pytest.approx(found.values[3, 7], rel=1e-4, abs=1e-6)
    for name in ("features.png", "feature-maps.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 300


def test_an_untrained_encoder_has_features_too(tmp_path):
    config = FeaturesConfig(image_runs.prepared().folder, tmp_path, encoder=Encoder.MOBILENET_V2, weights="none")
    network = feature_network(config, image_runs.prepared())
    assert network.output["features"].shape == (None, 1280)


def test_principal_components_are_the_directions_of_largest_variance():
    rng = np.random.default_rng(4)
    along = np.outer(rng.normal(0, 5, 200), [0.6, 0.8, 0.0])
    values = (along + rng.normal(0, 0.1, (200, 3)) + 7).astype(np.float32)
    scores, shares = principal_components(values)
    assert shares[0] > 0.99
    assert abs(np.corrcoef(scores[:, 0], values @ [0.6, 0.8, 0.0])[0, 1]) == pytest.approx(1, abs=1e-3)
    assert abs(scores.mean()) < 1e-4


def test_missing_weights_and_other_preprocessing_are_said(tmp_path):
    folder = image_runs.prepared().folder
    with pytest.raises(ConfigError, match="weights"):
        feature_network(FeaturesConfig(folder, tmp_path, weights="absent.h5"), image_runs.prepared())
