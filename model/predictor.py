"""One loaded network: volume in, label map and findings out. Importing this module imports Keras."""

import importlib
import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle
from model.errors import BundleError, PredictorOutOfMemory
from model.findings import StudyFindings
from model.network import Encoder, NetworkConfig, build_unet
from model.postprocess import findings, solve_levels
from model.preprocess import Prepared, Spacing, Volume, prepare, restore_labels, sagittal_stack

BATCH = 8


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one volume: ``labels`` (0, 1..7 = C1..C7) on the volume's grid, findings, seconds of each step."""

    labels: NDArray[np.uint8]
    findings: StudyFindings
    seconds: dict[str, float]


def out_of_memory_errors() -> tuple[type[BaseException], ...]:
    """What the Keras backend in use raises when memory runs out."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return MemoryError, importlib.import_module("tensorflow").errors.ResourceExhaustedError
    if backend == "torch":
        return MemoryError, importlib.import_module("torch").cuda.OutOfMemoryError
    return (MemoryError,)


def load_network(bundle: Bundle) -> Any:
    """The bundle's network with its weights; raises ``BundleError`` when they do not fit each other."""
    metadata = bundle.metadata
    weights = bundle.weights()
    try:
        network = build_unet(NetworkConfig(Encoder(metadata.encoder), decoder=metadata.decoder))
        network.set_weights(weights)
    except ValueError as error:
        raise BundleError(f"bundle {bundle.name}: the weights do not fit the network: {error}") from error
    return network


class Predictor:
    """A network kept in memory; ``predict`` may be called again and again, from one thread."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._network = load_network(bundle)
        self._memory_errors = out_of_memory_errors()
        self._network.predict_on_batch(np.zeros((1, 64, 64, 3), dtype=np.float32))

    def predict(self, hu: Volume, spacing_mm: Spacing) -> Prediction:
        """Levels and fractures of a volume in the standard frame (slices head to feet, front to back, right to left).

        ``spacing_mm`` is (slice, row, column). Raises ``UnusableVolume`` (permanent) and ``PredictorOutOfMemory``
        (transient, after a second try with half the batch).
        """
        metadata = self.bundle.metadata
        started = time.perf_counter()
        prepared = prepare(hu, spacing_mm, metadata.preprocess)
        ready = time.perf_counter()
        levels, fracture = self.probabilities(prepared)
        judged = time.perf_counter()
        found = solve_levels(levels, fracture, prepared.spacing_mm, metadata.postprocess)
        labels = restore_labels(found.labels, prepared)
        answer = findings(found, labels, spacing_mm, metadata.postprocess)
        done = time.perf_counter()
        seconds = {"preprocess": ready - started, "network": judged - ready, "postprocess": done - judged}
        return Prediction(labels, answer, seconds)

    def probabilities(self, prepared: Prepared) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        """Level (slice, row, column, 8) and fracture (slice, row, column) probabilities at network spacing."""
        try:
            return self._run(prepared, BATCH)
        except self._memory_errors:
            pass
        try:
            return self._run(prepared, BATCH // 2)
        except self._memory_errors as error:
            raise PredictorOutOfMemory("the network ran out of memory, with half the batch too") from error

    def _run(self, prepared: Prepared, batch: int) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        height, width, count = prepared.field.shape
        levels = np.zeros((height, width, count, 8), dtype=np.float16)
        fracture = np.zeros((height, width, count), dtype=np.float16)
        for first in range(0, count, batch):
            wanted = np.arange(first, min(first + batch, count))
            filled = np.minimum(np.arange(first, first + batch), count - 1)
            stack = sagittal_stack(prepared.field, filled, self.bundle.metadata.preprocess)
            answer = self._network.predict_on_batch(stack)
            shown = answer["levels"][: len(wanted), :height, :width]
            levels[:, :, wanted] = shown.transpose(1, 2, 0, 3)
            fracture[:, :, wanted] = answer["fracture"][: len(wanted), :height, :width, 0].transpose(1, 2, 0)
        return levels, fracture
