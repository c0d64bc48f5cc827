"""Recipes by name: what is frozen stays, what is computed in changes no weights, every backend of Keras may compute."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest

from model.network import build_unet
from model.network_config import Encoder, NetworkConfig, compact_config, network_of
from tests.conftest import PROJECT
from tests.training.prepared_folders import small_prepared
from training.fitting.batches import CropData, LevelData
from training.fitting.crop_sampler import SampleConfig
from training.fitting.dataset import SliceConfig
from training.fitting.export import weights_bytes
from training.fitting.fit import _begin as begin
from training.fitting.fit import compile_levels, compiled_fractures, compiled_levels, fit_levels
from training.fitting.fit_config import FitConfig, FitSettings, Precision, job_of, learning_rate
from training.fitting.loop import Training
from training.fitting.loop import _begin as begin_training
from training.fitting.recipes import Recipe, freeze_encoder, phases_of
from training.fitting.release import trained_levels


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return small_prepared(tmp_path_factory.mktemp("small") / "prepared")


def test_the_papers_recipe_freezes_a_pretrained_encoder_first_and_fine_tunes_it_at_a_lower_rate(tmp_path):
    imagenet = NetworkConfig(weights="imagenet")
    config = FitConfig(tmp_path, imagenet, Recipe.PAPER, learning_rate=0.01)
    assert [(phase.name, phase.frozen, phase.until) for phase in config.phases] == [
        ("frozen encoder", True, 0.3),
        ("fine-tuning", False, 1.0),
    ]
    assert max(learning_rate(config, share) for share in np.linspace(0, 0.3, 50)) == pytest.approx(0.01, rel=0.05)
    assert max(learning_rate(config, share) for share in np.linspace(0.301, 1, 50)) == pytest.approx(0.001, rel=0.05)
    plain = FitConfig(tmp_path, NetworkConfig(), Recipe.PAPER)
    assert [phase.frozen for phase in plain.phases] == [False], "random weights are not worth keeping"
    assert [phase.frozen for phase in FitConfig(tmp_path, imagenet).phases] == [False]
    own = phases_of(Recipe.DICE, 0.1, pretrained=False, frozen_share=0.5, fine_tuning=0.03)
    assert [(phase.until, phase.learning_rate) for phase in own] == [(0.5, 0.1), (1.0, 0.03)]


@pytest.mark.parametrize(
    "encoder", [Encoder.COMPACT, Encoder.CNN, pytest.param(Encoder.MOBILENET_V2, marks=pytest.mark.slow)]
)
def test_a_frozen_encoder_keeps_weights_and_statistics_while_the_rest_learns(tmp_path, encoder):
    config = FitConfig(tmp_path, network_of("levels", encoder), Recipe.PAPER, frozen_share=0.5, learning_rate=0.05)
    network = compiled_levels(config)
    rng = np.random.default_rng(1)
    images, truth = rng.normal(2, 3, (2, 64, 64, 3)).astype(np.float32), rng.integers(0, 8, (2, 64, 64))

    def step() -> tuple[list[bool], list[bool]]:
        before = {weight.path: weight.numpy().copy() for weight in network.weights}
        network.train_on_batch(images, {"levels": truth})
        same = {weight.path: np.array_equal(weight.numpy(), before[weight.path]) for weight in network.weights}
        part = [layer for layer in network.layers if layer.name.startswith("encoder")]
        mine = {weight.path for layer in part for weight in layer.weights}
        return [same[path] for path in mine], [same[path] for path in same.keys() - mine]

    encoder_same, rest_same = step()
    assert all(encoder_same)
    assert not any(rest_same)
    compile_levels(config, network, config.phases[1])
    encoder_same, _ = step()
    assert not any(encoder_same)


def test_the_encoder_of_the_fracture_network_is_frozen_inside_its_sequence(tmp_path):
    config = FitConfig(tmp_path, network_of("fractures", Encoder.COMPACT), Recipe.PAPER, frozen_share=0.5)
    network = compiled_fractures(config, CropData(sample=SampleConfig(slices=2)))
    trained = [weight.path for weight in network.trainable_weights]
    assert trained
    assert not any("encoder" in path for path in trained)
    freeze_encoder(network, frozen=False)
    assert any("encoder" in weight.path for weight in network.trainable_weights)
    with pytest.raises(ValueError, match="no encoder"):
        freeze_encoder(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), frozen=True)


def test_a_frozen_phase_begins_with_the_weights_of_an_earlier_run_whatever_its_optimizer(tmp_path):
    earlier = compiled_levels(FitConfig(tmp_path, compact_config()))
    earlier.optimizer.build(earlier.trainable_variables)
    earlier.save_weights(tmp_path / "earlier.weights.h5")
    config = FitConfig(tmp_path, compact_config(), Recipe.PAPER, start=tmp_path / "earlier.weights.h5")
    assert [phase.frozen for phase in config.phases] == [True, False], "an earlier run's encoder is pretrained"
    network = build_unet(compact_config())
    given = Training(config, network, partial(compile_levels, config), partial(begin, config), None, (), {}, {})
    begin_training(given, None)
    assert all(np.array_equal(*pair) for pair in zip(network.get_weights(), earlier.get_weights(), strict=True))
    assert not any("encoder" in weight.path for weight in network.trainable_weights)
    assert float(network.optimizer.momentum) == 0.9


@pytest.mark.slow
@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.FLOAT16, Precision.BFLOAT16])
def test_in_every_precision_float32_weights_are_trained_and_exported(tmp_path, prepared, precision):
    data = LevelData(prepared=(prepared,), slices=SliceConfig(height=64, width=64))
    config = FitConfig(tmp_path / "run", compact_config(), steps=2, batch=2, validation_batches=1)
    fit_levels(replace(config, precision=precision), data)
    assert keras.config.dtype_policy().name == "float32", "as it was before"
    record = json.loads((tmp_path / "run" / "training.json").read_text())
    assert record["config"]["precision"] == precision
    assert record["prepared"][0]["studies"] == {"train": 3, "validation": 1, "test": 0}
    assert record["best"]["step"] == record["step"] == 2
    network = trained_levels(tmp_path / "run")
    assert {weight.dtype for weight in network.weights} == {"float32"}
    plain = build_unet(compact_config())
    plain.load_weights(tmp_path / "run" / "latest.weights.h5")
    assert weights_bytes(plain) == weights_bytes(network)


def test_settings_become_a_run_and_its_data(tmp_path, prepared):
    job = job_of(FitSettings(tmp_path, recipe=Recipe.PAPER, prepared=(prepared,), weights="none"))
    assert job.config.learning_rate == 0.01
    assert job.config.network == network_of("levels", Encoder.INCEPTION_RESNET_V2)
    assert isinstance(job.data, LevelData)
    assert job.data.prepared == (prepared,)


def test_training_and_networks_name_no_backend():
    """TensorFlow appears only where an engine or its errors are looked up by name; no code calls it."""
    call = re.compile(r"\btf\.|import tensorflow|from tensorflow|import jax|import torch")
    sources = [*(PROJECT / "training").rglob("*.py"), *(PROJECT / "model").glob("*.py")]
    assert len(sources) > 100
    assert [path.name for path in sources if call.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_trains_as_well(tmp_path, prepared, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: only the backend that is, is tested here")
    command = [
        *(sys.executable, "-m", "training", "fit", "--stage", "fractures", "--encoder", "compact", "--slices", "2"),
        *("--prepared", str(prepared), "--steps", "2", "--batch", "2", "--output", str(tmp_path / "run")),
    ]
    paths = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": paths}
    done = subprocess.run(
        command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{backend} on " in done.stderr
