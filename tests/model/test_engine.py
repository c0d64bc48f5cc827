"""Both runtimes give the same answers, OpenVINO keeps silent towards its maker, and the memory it needs is bounded."""

import importlib
import logging
import subprocess
import sys

import keras
import numpy as np
import pytest

from model import engine as engines
from model.engine import (
    TOLERANCE,
    Precision,
    Runtime,
    build_engine,
    default_runtime,
    largest_difference,
)
from model.network import build_fracture_network, build_unet
from model.network_config import NetworkConfig, compact_config

pytest.importorskip("openvino", reason="the extra cpu is not installed")


def randomized(network):
    """The network with random weights as training leaves them: no statistic of its normalizations is trivial."""
    rng = np.random.default_rng(7)
    for weight in network.weights:
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif "mean" in weight.path or "beta" in weight.path:
            weight.assign(rng.normal(0, 0.2, weight.shape))
    return network


def noise(*shape):
    return np.random.default_rng(sum(shape)).normal(0, 1, shape).astype(np.float32)


@pytest.fixture(scope="module")
def levels():
    return randomized(build_unet(compact_config()))


@pytest.fixture(scope="module")
def crops():
    config = compact_config()
    return randomized(build_fracture_network(NetworkConfig(config.encoder, None, config.decoder, 64, 96)).slices)


@pytest.fixture(scope="module")
def fast(levels):
    return build_engine(levels, Runtime.OPENVINO)


@pytest.mark.parametrize("shape", [(8, 64, 96, 3), (1, 64, 64, 3), (4, 160, 32, 3)])
def test_both_runtimes_give_the_same_probabilities_for_any_shape(levels, fast, shape):
    batch = noise(*shape)
    expected = build_engine(levels, Runtime.KERAS)(batch)
    answers = fast(batch)
    assert set(answers) == {"levels"}
    assert answers["levels"].dtype == np.float32
    assert np.abs(answers["levels"] - expected["levels"]).max() <= TOLERANCE[fast.precision]


def test_both_runtimes_give_the_same_outputs_of_the_fracture_network(crops):
    batch = noise(6, 64, 96, 4)
    answers = build_engine(crops, Runtime.OPENVINO)(batch)
    expected = build_engine(crops, Runtime.KERAS)(batch)
    assert set(answers) == set(crops.output)
    assert largest_difference(answers, expected) <= max(TOLERANCE.values())


def test_single_precision_agrees_far_better_than_the_tolerance_asks(levels, fast):
    single = engines.OpenVINOEngine(fast._model.clone(), Precision.FLOAT32)
    batch = noise(2, 96, 64, 3)
    assert largest_difference(single(batch), build_engine(levels, Runtime.KERAS)(batch)) < 1e-5


def test_an_answer_is_not_overwritten_by_the_next(fast):
    first = fast(noise(2, 64, 64, 3))["levels"]
    kept = first.copy()
    fast(np.zeros((2, 64, 64, 3), dtype=np.float32))
    assert np.array_equal(first, kept)


def test_the_engine_says_what_runs_it(levels, fast):
    assert fast.runtime is Runtime.OPENVINO
    assert build_engine(levels, Runtime.KERAS).runtime is Runtime.KERAS


def test_openvino_is_the_default_where_there_is_no_accelerator():
    tensorflow = importlib.import_module("tensorflow")
    expected = Runtime.KERAS if tensorflow.config.list_physical_devices("GPU") else Runtime.OPENVINO
    assert default_runtime() is expected


def test_keras_takes_over_with_a_warning_when_openvino_answers_otherwise(levels, monkeypatch, caplog):
    other = keras.models.clone_model(levels)
    monkeypatch.setattr(engines, "_converted", lambda _, convert=engines._converted: convert(other))
    with caplog.at_level(logging.WARNING):
        assert build_engine(levels, Runtime.OPENVINO).runtime is Runtime.KERAS
    assert "otherwise than Keras" in caplog.text


def test_answers_with_other_names_shapes_or_no_numbers_are_no_answers():
    expected = {"levels": np.zeros((1, 2), dtype=np.float32)}
    assert largest_difference({}, expected) == np.inf
    assert largest_difference({"levels": np.zeros((2, 2), dtype=np.float32)}, expected) == np.inf
    assert largest_difference({"levels": np.full((1, 2), np.nan, dtype=np.float32)}, expected) == np.inf


PROGRAM = """
import resource
import sys
import numpy as np
from model.engine import Runtime, build_engine
from model.network_config import compact_config
from model.network import build_unet

def openvino_modules():
    return " ".join(name for name in sys.modules if name.startswith("openvino"))

print("imported:", openvino_modules())
network = build_unet(compact_config())
build_engine(network, Runtime.KERAS)
print("keras:", openvino_modules())
engine = build_engine(network, Runtime.OPENVINO)
print("openvino:", openvino_modules())
print("telemetry:", sys.modules["openvino_telemetry"])

batch = np.zeros((8, 1024, 1024, 3), dtype=np.float32)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 29), -1))
try:
    engine(batch)
except MemoryError:
    print("out of memory:", engine(batch[:1, :64, :64])["levels"].shape)
"""
"""All that needs a process of its own: what is loaded when, and then an engine that runs out of memory."""


@pytest.fixture(scope="module")
def said():
    """What ``PROGRAM`` says, by the word before the colon."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: words.strip() for name, _, words in (line.partition(":") for line in done.stdout.splitlines())}


def test_openvino_is_loaded_only_when_it_is_used_and_without_its_telemetry(said):
    assert said["imported"] == said["keras"] == ""
    assert "openvino" in said["openvino"].split()
    assert said["telemetry"] == "None"
    assert not [name for name in said["openvino"].split() if name.startswith("openvino_telemetry.")]


def test_memory_that_runs_out_is_said_as_a_memory_error(said):
    assert said["out of memory"] == "(1, 64, 64, 8)"
