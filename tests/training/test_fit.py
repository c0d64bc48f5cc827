"""``python -m training`` trains a network on phantoms and turns it into a bundle that loads."""

import json

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from model.bundle import load_bundle
from model.network import NetworkConfig
from training.__main__ import main
from training.dataset import SliceConfig, SliceSampler, make_case
from training.fit import FitConfig, compiled


@pytest.mark.slow
def test_fit_and_export_make_a_bundle_that_loads(tmp_path):
    runner = CliRunner()
    options = ["--encoder", "compact", "--cases", "2", "--steps", "3", "--batch", "2"]
    done = runner.invoke(main, ["fit", "--output", str(tmp_path / "run"), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "run" / "training.json").read_text())
    assert record["step"] == 3
    assert record["data"] == "parametric phantom"
    options = ["--output", str(tmp_path / "bundle"), "--name", "tiny", "--studies", "4"]
    done = runner.invoke(main, ["export", "--run", str(tmp_path / "run"), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.name == "tiny"
    assert bundle.sha256 in done.output
    assert bundle.metadata.provenance["training"]["step"] == 3


@pytest.mark.slow
def test_the_papers_recipe_trains_the_inception_resnet_v2_u_net(tmp_path):
    """SGD and binary cross-entropy on one batch of a phantom's slices: the loss falls, encoder and decoder move."""
    config = FitConfig(output=tmp_path, network=NetworkConfig(), paper=True, batch=2)
    network = compiled(config)
    assert isinstance(network.optimizer, keras.optimizers.SGD)
    slices = SliceSampler([make_case(1, None)], SliceConfig(), np.random.default_rng(1))
    batch = next(iter(slices.batches(2)))
    images = batch.images[:, 32:96, 32:96]
    truth = {"levels": batch.levels[:, 32:96, 32:96], "fracture": batch.fracture[:, 32:96, 32:96]}
    first_kernel = network.get_layer("encoder").weights[0].numpy().copy()
    losses = [float(np.sum(network.train_on_batch(images, truth)[0])) for _ in range(8)]
    assert losses[-1] < min(losses[:4]) < 0.99 * losses[0]
    assert not np.array_equal(first_kernel, network.get_layer("encoder").weights[0].numpy())


def test_help_reads_without_loading_keras():
    done = CliRunner().invoke(main, ["fit", "--help"])
    assert done.exit_code == 0
    assert "inception_resnet_v2" in done.output


def test_a_missing_local_weights_file_is_named(tmp_path):
    done = CliRunner().invoke(main, ["fit", "--output", str(tmp_path), "--weights", str(tmp_path / "absent.h5")])
    assert done.exit_code != 0
    assert "absent.h5" in done.output


def test_calibration_without_any_fracture_ends_with_a_sentence(tmp_path, monkeypatch):
    def release(*_args, **_kwargs):
        raise ValueError("calibration needs fractured and intact levels")

    monkeypatch.setattr("training.release.release", release)
    done = CliRunner().invoke(main, ["export", "--run", str(tmp_path), "--output", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "more --studies" in done.output
