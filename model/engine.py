"""What runs a network: Keras with its backend, the reference, or OpenVINO, the fastest on a CPU (decision 5).

An engine is only used after it answered a probe as Keras does, within the tolerance of its precision.
"""

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

Batch = NDArray[np.float32]
Answers = dict[str, NDArray[np.float32]]

PROBE_SIDE = 64
"""Rows and columns of the probe where the network takes any size."""
_OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate")

log = logging.getLogger(__name__)


class Runtime(StrEnum):
    """What can run a network."""

    KERAS = "keras"
    OPENVINO = "openvino"


class Precision(StrEnum):
    """What OpenVINO computes in; bfloat16 is twice as fast where the processor has it."""

    FLOAT32 = "f32"
    BFLOAT16 = "bf16"


TOLERANCE = {Precision.FLOAT32: 2e-3, Precision.BFLOAT16: 5e-2}
"""How far an answer may lie from that of Keras: absolute, or relative for answers beyond 1."""


class Engine(Protocol):
    """A network ready to answer, from one thread."""

    @property
    def runtime(self) -> Runtime:
        """What runs it."""

    def __call__(self, batch: Batch) -> Answers:
        """The network's outputs by name for a batch (n, row, column, channel); raises MemoryError or the backend's."""


class KerasEngine:
    """The network itself, on whatever device and backend Keras has."""

    runtime = Runtime.KERAS

    def __init__(self, network: Any) -> None:
        self._network = network

    def __call__(self, batch: Batch) -> Answers:
        """The outputs by name."""
        answers = self._network.predict_on_batch(batch)
        return {name: np.asarray(values, dtype=np.float32) for name, values in answers.items()}


class OpenVINOEngine:
    """The network compiled by OpenVINO for the shape of the last batch.

    A shape takes 0.1 to 0.3 s to compile and runs a fifth faster than one graph for all shapes. Only the last one is
    kept: graphs for changing shapes are known to hold on to memory.
    """

    runtime = Runtime.OPENVINO

    def __init__(self, model: Any, precision: Precision) -> None:
        self.precision = precision
        self._model = model
        self._core = _openvino().Core()
        self._shape: tuple[int, ...] | None = None
        self._request: Any = None

    def __call__(self, batch: Batch) -> Answers:
        """The outputs by name; MemoryError when memory runs out."""
        try:
            if batch.shape != self._shape:
                self._compile(batch.shape)
            answers = self._request.infer(np.ascontiguousarray(batch), share_inputs=True)
        except RuntimeError as error:
            self._shape, self._request = None, None
            if any(words in str(error) for words in _OUT_OF_MEMORY):
                raise MemoryError("OpenVINO ran out of memory") from error
            raise
        return {output.any_name: values for output, values in answers.items()}

    def _compile(self, shape: tuple[int, ...]) -> None:
        """Compile for one shape, after the last one's memory was given back."""
        self._shape, self._request = None, None
        self._model.reshape(list(shape))
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": _cores(),
            "INFERENCE_PRECISION_HINT": self.precision.value,
        }
        self._request = self._core.compile_model(self._model, "CPU", options).create_infer_request()
        self._shape = shape


class WatchedEngine:
    """An engine that calls ``before`` ahead of each batch: what that raises ends the work there."""

    def __init__(self, engine: Engine, before: Callable[[], None]) -> None:
        self._engine = engine
        self._before = before

    @property
    def runtime(self) -> Runtime:
        """What runs it."""
        return self._engine.runtime

    def __call__(self, batch: Batch) -> Answers:
        """The outputs by name."""
        self._before()
        return self._engine(batch)


def default_runtime() -> Runtime:
    """OpenVINO where it is installed, the backend is TensorFlow and no accelerator is visible; else Keras."""
    if keras.backend.backend() != "tensorflow" or importlib.util.find_spec("openvino") is None:
        return Runtime.KERAS
    accelerators = importlib.import_module("tensorflow").config.list_physical_devices("GPU")
    return Runtime.KERAS if accelerators else Runtime.OPENVINO


def build_engine(network: Any, runtime: Runtime) -> Engine:
    """An engine of a Keras model whose outputs are a dictionary; the weights are those that it has now.

    Keras takes over, with a warning in the log, where OpenVINO's answers to a probe are not those of Keras. Raises
    ImportError when OpenVINO is asked for and not installed, ValueError when the backend is not TensorFlow.
    """
    if runtime is Runtime.KERAS:
        return KerasEngine(network)
    model = _converted(network)
    probe = _probe(network)
    expected = _called(network, probe)
    for precision in _precisions():
        engine = OpenVINOEngine(model, precision)
        difference = largest_difference(engine(probe), expected)
        if difference <= TOLERANCE[precision]:
            return engine
        log.warning("OpenVINO in %s answers a probe by %.1e otherwise than Keras: not used", precision, difference)
    return KerasEngine(network)


def largest_difference(answers: Answers, expected: Answers) -> float:
    """The largest absolute difference of any output, relative to the output's largest value where that exceeds 1."""
    if answers.keys() != expected.keys() or any(answers[name].shape != expected[name].shape for name in expected):
        return float("inf")
    differences = [
        float(np.abs(answers[name] - values).max()) / max(1.0, float(np.abs(values).max()))
        for name, values in expected.items()
    ]
    return float("inf") if any(np.isnan(differences)) else max(differences)


def _openvino() -> Any:
    """OpenVINO without its telemetry, which reports every import and conversion to its maker."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # an import of it fails: a stub is used instead
    import openvino  # noqa: PLC0415  (only where it is used)

    return openvino


def _converted(network: Any) -> Any:
    """The Keras model as an OpenVINO model for any batch, row and column count, its weights as constants."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError("OpenVINO takes its networks from TensorFlow: choose the runtime keras")
    openvino = _openvino()
    tensorflow = importlib.import_module("tensorflow")
    signature = tensorflow.TensorSpec(network.inputs[0].shape, tensorflow.float32)
    function = tensorflow.function(lambda batch: network(batch, training=False))
    return openvino.convert_model(function.get_concrete_function(signature))


def _precisions() -> Sequence[Precision]:
    """What to try, fastest first."""
    has = _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return (Precision.BFLOAT16, Precision.FLOAT32) if "BF16" in has else (Precision.FLOAT32,)


def _probe(network: Any) -> Batch:
    """Two images of reproducible noise in a shape that the network takes."""
    shape = (2, *(size or PROBE_SIDE for size in network.inputs[0].shape[1:]))
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _called(network: Any, batch: Batch) -> Answers:
    """Keras' answers without a graph, which for one batch would take longer to trace than to run."""
    answers = network(batch, training=False)
    return {name: np.asarray(keras.ops.convert_to_numpy(values), np.float32) for name, values in answers.items()}


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
