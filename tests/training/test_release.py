"""An exported bundle answers as the trainer did, is calibrated on other levels, and tells where it comes from."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from model.bundle import load_bundle
from model.crops import Crop, CropConfig, crop_grid
from model.engine import TOLERANCE, Precision, Runtime
from model.network_config import Encoder, network_of
from model.predictor import Predictor
from model.preprocess import PreprocessConfig, prepare
from tests.training.prepared_folders import small_prepared
from training.__main__ import main
from training.fitting.batches import CropData, LevelData, level_files
from training.fitting.crop_sampler import SampleConfig, crop_images, stored_crops
from training.fitting.dataset import SliceConfig
from training.fitting.fit import fit_fractures, fit_levels
from training.fitting.fit_config import FitConfig
from training.fitting.provenance import split_sha256
from training.fitting.release import calibrated, crop_scores, limits_of, trained_fractures, trained_levels
from training.preparation import prepared as folders
from training.preparation.prepared import Split, read_field, read_prepared

STORED = 5e-3
"""How far an answer (0..1) of kernels that are stored as float16 (11 bits, 5e-4) may lie from that of float32 ones.

Each of some twenty convolutions rounds by at most 5e-4 of its result; the errors are independent, so that they add up
to 5e-4 times the root of twenty, 2e-3, before the steepest part of the sigmoid.
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A prepared folder, both runs trained on it, and the bundle that the command made of them."""
    root = tmp_path_factory.mktemp("release")
    data = small_prepared(root / "prepared", studies=6)
    shared = {"steps": 6, "batch": 4, "validation_batches": 1, "checkpoint_steps": 3}
    levels = FitConfig(root / "levels", network_of("levels", Encoder.COMPACT), **shared)
    fit_levels(levels, LevelData(prepared=(data,), slices=SliceConfig(height=64, width=64)))
    fractures = FitConfig(root / "fractures", network_of("fractures", Encoder.COMPACT), **shared)
    fit_fractures(fractures, CropData(prepared=(data,), sample=SampleConfig(slices=2)))
    options = ["--levels", str(root / "levels"), "--fractures", str(root / "fractures"), "--prepared", str(data)]
    done = CliRunner().invoke(main, ["export", *options, "--output", str(root / "bundle"), "--name", "small"])
    assert done.exit_code == 0, done.output
    return root, load_bundle(root / "bundle")


@pytest.mark.slow
@pytest.mark.parametrize(("runtime", "tolerance"), [(Runtime.KERAS, STORED), (None, STORED + max(TOLERANCE.values()))])
def test_the_bundle_answers_as_the_trainer_did(made, runtime, tolerance):
    root, bundle = made
    predictor = Predictor(bundle, runtime)
    data = read_prepared(root / "prepared")
    field = read_field(level_files(LevelData(prepared=(data.folder,)), Split.TRAIN)[0])[0]
    volume = prepare(np.zeros((4, 4, 4), np.int16), (1.2, 1.2, 1.2), PreprocessConfig())
    volume = replace(volume, field=np.asarray(field))
    served = predictor.probabilities(volume).astype(np.float32)
    images = np.stack([field[:, :, np.clip(at + np.array([-2, 0, 2]), 0, 23)] for at in range(24)])
    trained = trained_levels(root / "levels").predict_on_batch(images)["levels"].transpose(1, 2, 0, 3)
    assert trained.std() > 0.01
    assert np.abs(served - trained).max() < tolerance
    [*crops] = stored_crops(data.crop_files(Split.TRAIN)[0])
    scores = crop_scores(trained_fractures(root / "fractures"), crops)
    box = (slice(0, 8), slice(0, 80), slice(0, 96))
    grid = crop_grid((8, 80, 96), box, (1.5, 0.9, 0.9), CropConfig())
    judged = predictor.judge([Crop(one.level, crop_images(one.read()), grid) for one in crops])
    assert np.abs(np.array([one.score for one in judged]) - scores).max() < tolerance
    assert TOLERANCE[Precision.FLOAT32] < STORED


@pytest.mark.slow
def test_the_bundle_tells_data_split_seeds_recipe_and_versions(made):
    root, bundle = made
    told = bundle.metadata.provenance
    split = split_sha256(read_prepared(root / "prepared").studies)
    for stage in ("levels", "fractures"):
        run = told["training"][stage]
        assert run["prepared"][0]["split_sha256"] == split
        assert run["prepared"][0]["data_sets"] == {"small": 6}
        assert (run["config"]["recipe"], run["config"]["seed"]) == ("dice", 1)
        assert {"keras", "python"} <= run["versions"].keys()
    assert told["calibration"]["split"] == "validation"
    assert (told["calibration"]["levels"], told["calibration"]["fractured"], told["calibration"]["studies"]) == (
        2,
        1,
        1,
    )
    assert told["weights"] == {"levels": "best.weights.h5", "fractures": "best.weights.h5"}
    assert bundle.metadata.limits.startswith("Trained on small: performance elsewhere is unknown")
    assert str(root) not in json.dumps(told)
    assert (root / "bundle.config.toml").read_text().count("small") == 1
    assert {path.name for path in (root / "bundle").iterdir()} == {"metadata.json", "levels.npz", "fractures.npz"}


@pytest.mark.slow
def test_what_cannot_be_calibrated_on_is_named(made, tmp_path):
    root, _ = made
    runs = ["--levels", str(root / "levels"), "--fractures", str(root / "fractures")]
    options = [*runs, "--output", str(tmp_path / "b")]
    done = CliRunner().invoke(main, ["export", *options])
    assert done.exit_code == 1
    assert "no levels to calibrate fractures on" in done.output
    folders.begin(tmp_path / "other", PreprocessConfig(spacing_mm=1.0), CropConfig())
    done = CliRunner().invoke(main, ["export", *options, "--prepared", str(tmp_path / "other")])
    assert done.exit_code == 1
    assert "other settings than what was trained on" in done.output
    done = CliRunner().invoke(main, ["export", *options[2:], "--levels", str(tmp_path)])
    assert done.exit_code == 1
    assert "holds no run" in done.output


def test_calibration_needs_both_classes_and_takes_real_studies_where_there_are_some():
    scores, truth = np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])
    with pytest.raises(ValueError, match="fractured and intact"):
        calibrated(scores, np.zeros(4, dtype=bool))
    drawn = calibrated(scores, truth)[0]
    real = calibrated(scores, truth, np.array([0, 0, 1, 1]))[0]
    assert (drawn.scale, drawn.offset) == (real.scale, real.offset)
    assert (drawn.study_scale, drawn.study_offset) != (real.study_scale, real.study_offset)
    assert calibrated(scores, truth, np.array([-1, -1, 0, 0]))[0] == drawn, "one study alone calibrates nothing"


def test_the_limits_name_what_was_trained_on():
    real = {"prepared": [{"data_sets": {"RSNA 2022": 9}}], "synthetic_share": 0.0}
    mixed = real | {"synthetic_share": 0.2}
    assert limits_of({"levels": real}).startswith("Trained on RSNA 2022: performance elsewhere")
    assert limits_of({"levels": mixed, "fractures": real}).startswith("Trained on RSNA 2022 and synthetic CT")
    assert "synthetic CT alone" in limits_of({"levels": {"data": "phantom"}})
