"""What is measured of an image bundle: levels and fractures of the test split, by hand and by the code."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from model.findings import Vertebra
from model.image_bundle import load_image_bundle
from model.image_predictor import load_image_network
from model.image_preprocess import ImageConfig, network_input
from tests.training import image_runs
from training.datasets.studies import DataSetError
from training.images.evaluate_images import evaluate_images, report_text, run_evaluation
from training.images.image_evaluate_config import EvaluateImagesConfig
from training.preparation.prepared import Split


@pytest.fixture(scope="module")
def measured():
    return evaluate_images(image_runs.bundle(), image_runs.prepared())


def test_figures_are_those_of_the_answers_one_by_one(measured):
    prepared, network = image_runs.prepared(), load_image_network(image_runs.bundle())
    images = prepared.of(Split.TEST)
    answers = network.predict_on_batch(network_input(prepared.pixels(images)))
    said = answers["levels"].argmax(axis=1) + 1
    true = np.array([int(image.level) for image in images])
    assert measured.levels.right.hits == int((said == true).sum())
    assert measured.levels.within_one.hits == int((np.abs(said - true) <= 1).sum())
    assert measured.levels.among_two.hits >= measured.levels.right.hits
    confusion = np.zeros((7, 7), dtype=int)
    np.add.at(confusion, (true - 1, said - 1), 1)
    assert np.array_equal(measured.levels.confusion, confusion)
    scores, truth = answers["fracture"].ravel(), np.array([image.fractured for image in images])
    pairs = (scores[truth][:, None] > scores[~truth]) + 0.5 * (scores[truth][:, None] == scores[~truth])
    assert measured.fractures.auc.value == pytest.approx(pairs.mean(), abs=1e-6)


def test_every_level_and_every_operating_point_has_its_row(measured):
    assert measured.images == len(image_runs.prepared().of(Split.TEST))
    assert measured.studies == len({image.group for image in image_runs.prepared().of(Split.TEST)})
    assert set(measured.by_level) == set(Vertebra)
    assert set(measured.points) == {"balanced", "high sensitivity"}
    assert measured.milliseconds > 0
    text = report_text(measured, image_runs.bundle())
    assert "Synthetic images, no patient." in text
    assert "Not a medical device" in text
    assert all(f"| {level.name} |" in text for level in Vertebra)
    assert json.loads(json.dumps(measured.as_json()))["images"] == measured.images


def test_a_bundle_that_knows_no_levels_is_measured_on_fractures_alone(tmp_path):
    bundle = image_runs.bundle()
    without = replace(bundle, metadata=replace(bundle.metadata, levels=()))
    found = evaluate_images(without, image_runs.prepared())
    assert found.levels.right is None
    assert found.fractures.auc is not None
    assert report_text(found, without)


def test_images_prepared_otherwise_are_refused():
    prepared = image_runs.prepared()
    with pytest.raises(DataSetError, match="other settings"):
        evaluate_images(image_runs.bundle(), replace(prepared, preprocess=ImageConfig(64, 64)))
    with pytest.raises(DataSetError, match="empty"):
        evaluate_images(image_runs.bundle(), replace(prepared, images=prepared.of(Split.TRAIN)))


def test_what_was_measured_can_be_recorded_in_the_bundle(tmp_path):
    folder = shutil.copytree(image_runs.bundle().path, tmp_path / "bundle")
    prepared = image_runs.prepared().folder
    text = run_evaluation(EvaluateImagesConfig(prepared, folder, tmp_path / "figures.json", into_bundle=True))
    recorded = load_image_bundle(folder)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert recorded.metadata.provenance["evaluation"] == figures
    assert recorded.sha256 != image_runs.bundle().sha256
    assert (tmp_path / "figures.toml").is_file()
    assert f"{figures['images']} images" in text
