"""Both networks of a bundle, loaded: volume in; label map, findings and their explanation out. Imports Keras."""

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle, NetworkMetadata
from model.crops import CROP_CHANNELS, Crop, level_crops, restored
from model.engine import Answers, Engine, Runtime, WatchedEngine, build_engine, default_runtime
from model.errors import BundleError, PredictorOutOfMemory
from model.findings import StudyFindings, Vertebra
from model.naming import Levels, solve_levels
from model.network import FractureNetwork, build_fracture_network, build_unet
from model.network_config import Encoder, NetworkConfig
from model.postprocess import findings, limitations
from model.preprocess import Field, Prepared, PreprocessConfig, Spacing, Volume, prepare, restore_labels, sagittal_stack
from model.quality import limitations_of

MemoryErrors = tuple[type[BaseException], ...]
Stack = Callable[[NDArray[np.intp]], Field]
Answered = tuple[NDArray[np.intp], Answers]

BATCH = 8
LESION_FROM = 0.5
"""Where the fracture mask reaches this share a voxel counts as fractured."""
LESION_REACH_VOXELS = 2


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one volume; all arrays are on its grid.

    ``labels``: 0, 1..7 = C1..C7. ``lesions``: 0, or the number of the suspected level whose fracture a voxel shows.
    ``activation``: class-activation map of the suspected levels, 0..255. ``seconds``: of each step.
    """

    labels: NDArray[np.uint8]
    findings: StudyFindings
    seconds: dict[str, float]
    lesions: NDArray[np.uint8]
    activation: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Judged:
    """One level as the fracture network sees it: its crop, score (0..1), mask (0..1) and activation, on the crop."""

    crop: Crop
    score: float
    mask: Field
    activation: Field


def out_of_memory_errors() -> MemoryErrors:
    """What the Keras backend in use raises when memory runs out."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return MemoryError, importlib.import_module("tensorflow").errors.ResourceExhaustedError
    if backend == "torch":
        return MemoryError, importlib.import_module("torch").cuda.OutOfMemoryError
    return (MemoryError,)


def load_networks(bundle: Bundle) -> tuple[Any, FractureNetwork]:
    """The bundle's networks with their weights; raises ``BundleError`` when they do not fit each other."""
    metadata = bundle.metadata

    def config(network: NetworkMetadata, height: int | None, width: int | None) -> NetworkConfig:
        return NetworkConfig(Encoder(network.encoder), decoder=network.decoder, height=height, width=width)

    weights = bundle.weights(metadata.levels), bundle.weights(metadata.fractures)
    try:
        levels = build_unet(config(metadata.levels, None, None))
        levels.set_weights(weights[0])
        crops = metadata.crops
        fractures = build_fracture_network(config(metadata.fractures, crops.rows, crops.columns), CROP_CHANNELS)
        fractures.set_weights(weights[1])
    except ValueError as error:
        raise BundleError(f"bundle {bundle.name}: the weights do not fit the network: {error}") from error
    return levels, fractures


class Predictor:
    """A bundle kept in memory; ``predict`` may be called again and again, from one thread.

    ``runtime``: what runs the networks; None takes the fastest that is there. ``before_batch`` is called before each
    batch; what it raises ends the prediction.
    """

    def __init__(
        self, bundle: Bundle, runtime: Runtime | None = None, before_batch: Callable[[], None] | None = None
    ) -> None:
        self.bundle = bundle
        levels, fractures = load_networks(bundle)
        chosen = runtime or default_runtime()
        self._levels: Engine = build_engine(levels, chosen)
        self._slices: Engine = build_engine(fractures.slices, chosen)
        if before_batch is not None:
            self._levels = WatchedEngine(self._levels, before_batch)
            self._slices = WatchedEngine(self._slices, before_batch)
        self._pooling = fractures.pooling
        self._memory_errors = out_of_memory_errors()
        self._score(np.zeros((4, int(self._pooling.inputs[0].shape[-1])), dtype=np.float32))

    def predict(self, hu: Volume, spacing_mm: Spacing) -> Prediction:
        """Levels and fractures of a volume in the standard frame (slices head to feet, front to back, right to left).

        ``spacing_mm`` is (slice, row, column). Raises ``UnusableVolume`` (permanent) and ``PredictorOutOfMemory``
        (transient, after a second try with half the batch).
        """
        metadata = self.bundle.metadata
        clock = _Clock()
        prepared = prepare(hu, spacing_mm, metadata.preprocess)
        clock.lap("preprocess")
        levels = self.probabilities(prepared)
        clock.lap("levels")
        found = solve_levels(levels, prepared.hu, prepared.spacing_mm, metadata.naming)
        labels = restore_labels(found.labels, prepared)
        clock.lap("naming")
        crops = level_crops(hu, labels, spacing_mm, metadata.crops)
        found = _kept(found, crops)
        judged = self.judge(crops)
        clock.lap("fractures")
        answer = self._findings(found, judged, hu, labels, spacing_mm)
        lesions, activation = explanation(judged, answer, labels)
        clock.lap("postprocess")
        return Prediction(labels, answer, clock.seconds, lesions, activation)

    def _findings(
        self, found: Levels, judged: Sequence[Judged], hu: Volume, labels: NDArray[np.uint8], spacing_mm: Spacing
    ) -> StudyFindings:
        voxel_mm3 = float(np.prod(spacing_mm))
        volumes = {
            Vertebra(one.crop.level): float(np.count_nonzero(labels[one.crop.grid.box] == one.crop.level)) * voxel_mm3
            for one in judged
        }
        scores = {Vertebra(one.crop.level): one.score for one in judged}
        answer = findings(found, scores, volumes, self.bundle.metadata.calibration)
        return answer.with_limitations(*limitations(found, spacing_mm[0]), *limitations_of(hu, spacing_mm, labels))

    def probabilities(self, prepared: Prepared) -> NDArray[np.float16]:
        """Level probabilities (slice, row, column, 8) at network spacing."""
        config, memory_errors = self.bundle.metadata.preprocess, self._memory_errors
        return level_probabilities(self._levels, prepared, config, memory_errors)

    def judge(self, crops: Sequence[Crop]) -> tuple[Judged, ...]:
        """Every crop's fracture score, mask and activation."""
        if not crops:
            return ()
        images = np.concatenate([crop.images for crop in crops])
        parts: dict[str, list[Any]] = {"mask": [], "features": [], "activation": []}
        for wanted, answer in _batches(self._slices, lambda index: images[index], len(images), self._memory_errors):
            for name, kept in parts.items():
                kept.append(answer[name][: len(wanted)])
        mask, features, activation = (np.concatenate(parts[name]) for name in ("mask", "features", "activation"))
        ends = np.cumsum([len(crop.images) for crop in crops])
        spans = [slice(end - len(crop.images), end) for end, crop in zip(ends, crops, strict=True)]
        return tuple(
            Judged(crop, self._score(features[span]), mask[span, :, :, 0], activation[span, :, :, 0])
            for crop, span in zip(crops, spans, strict=True)
        )

    def _score(self, features: Field) -> float:
        """The fracture score of one vertebra from the features of its slices."""
        answer = self._pooling(features[None], training=False)
        return float(np.asarray(keras.ops.convert_to_numpy(answer)).ravel()[0])


def level_probabilities(
    engine: Engine, prepared: Prepared, config: PreprocessConfig, memory_errors: MemoryErrors = (MemoryError,)
) -> NDArray[np.float16]:
    """Level probabilities (slice, row, column, 8) at network spacing from every sagittal slice."""
    height, width, count = prepared.field.shape
    levels = np.empty((count, height, width, len(Vertebra) + 1), dtype=np.float16)

    def stack(wanted: NDArray[np.intp]) -> Field:
        return sagittal_stack(prepared.field, wanted, config)

    for wanted, answer in _batches(engine, stack, count, memory_errors):
        levels[wanted] = answer["levels"][: len(wanted), :height, :width]
    return levels.transpose(1, 2, 0, 3)


def _batches(engine: Engine, stack: Stack, count: int, memory_errors: MemoryErrors) -> list[Answered]:
    """Indices and answers, batch by batch; half the batch when memory runs out."""
    try:
        return _run(engine, stack, count, BATCH)
    except memory_errors:
        pass
    try:
        return _run(engine, stack, count, BATCH // 2)
    except memory_errors as error:
        raise PredictorOutOfMemory("the network ran out of memory, with half the batch too") from error


class _Clock:
    """Seconds of each step, named when it ends."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def _run(engine: Engine, stack: Stack, count: int, batch: int) -> list[Answered]:
    """All answers of ``count`` items in batches of one size, the last one filled up."""
    answers = []
    for first in range(0, count, batch):
        filled = np.minimum(np.arange(first, first + batch), count - 1)
        wanted = np.arange(first, min(first + batch, count))
        answers.append((wanted, engine(stack(filled))))
    return answers


def _kept(found: Levels, crops: Sequence[Crop]) -> Levels:
    """The levels that the label map on the source grid holds: one that a coarse grid loses has no crop."""
    there = {crop.level for crop in crops}
    kept = tuple(level for level in found.found if level in there)
    return Levels(found.labels, kept, found.cut & frozenset(kept))


def explanation(
    judged: Sequence[Judged], answer: StudyFindings, labels: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Fracture mask (0 or the level's number) and activation map (0..255) of the suspected levels, on the source grid.

    The activation map (Zhou et al. 2016) is the positive part of the evidence for a fracture, scaled to each level's
    highest value.
    """
    lesions, activation = np.zeros(labels.shape, np.uint8), np.zeros(labels.shape, np.uint8)
    suspected = {finding.vertebra for finding in answer.fractured}
    for one in judged:
        if one.crop.level not in suspected:
            continue
        first, second, third = (
            slice(max(0, part.start - LESION_REACH_VOXELS), min(part.stop + LESION_REACH_VOXELS, size))
            for part, size in zip(one.crop.grid.box, labels.shape, strict=True)
        )
        wide = (first, second, third)
        mine = (labels[wide] == one.crop.level) | (labels[wide] == 0)
        shown = restored(one.mask, one.crop, wide)
        level = min(LESION_FROM, 0.8 * float(shown[mine].max(initial=0.0)))
        lesions[wide][mine & (shown >= max(level, 0.05))] = one.crop.level
        heat = restored(np.maximum(one.activation, 0), one.crop, wide)
        top = float(heat.max(initial=0.0))
        if top > 0:
            np.maximum(activation[wide], np.rint(heat * (255 / top)).astype(np.uint8), out=activation[wide])
    return lesions, activation
