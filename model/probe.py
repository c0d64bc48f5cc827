"""Does a bundle answer at all? Asked before it may serve: both networks, a small volume, answers that are numbers.

``model.engine`` compares the runtime with Keras while the networks are loaded. Imports Keras.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.crops import level_crops
from model.errors import BundleError
from model.findings import Vertebra
from model.predictor import Predictor
from model.preprocess import Volume, prepare

SPACING_MM = (3.0, 1.5, 1.5)


def probe_volume() -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """HU of a cylinder of soft tissue with a column of seven pieces of bone, and their labels (standard frame)."""
    slices, rows, columns = np.indices((48, 72, 72))
    hu = np.where(np.hypot(rows - 36, columns - 36) < 30, 40, -1000)
    bone = (np.hypot(rows - 40, columns - 36) < 9) & (slices >= 3) & (slices < 45) & ((slices - 3) % 6 < 5)
    labels = np.where(bone, (slices - 3) // 6 + 1, 0)
    return np.where(bone, 450, hu).astype(np.int16), labels.astype(np.uint8)


def check_answers(predictor: Predictor) -> None:
    """Raise ``BundleError`` when the predictor does not answer the probe, or with what is no number."""
    bundle = predictor.bundle
    name = f"model {bundle.name} {bundle.version}"
    hu, labels = probe_volume()
    try:
        finite = _answers_are_numbers(predictor, hu, labels)
        found = predictor.predict(hu, SPACING_MM).findings
    except (ValueError, ArithmeticError, MemoryError) as error:
        raise BundleError(f"{name} does not answer a probe ({type(error).__name__}): it is not used") from error
    if not finite or not math.isfinite(found.probability):
        raise BundleError(f"{name} answers a probe with what is no number: it is not used")


def _answers_are_numbers(predictor: Predictor, hu: Volume, labels: NDArray[np.uint8]) -> bool:
    """Whether level probabilities, fracture scores and fracture masks of the probe are numbers within 0..1."""
    metadata = predictor.bundle.metadata
    levels = predictor.probabilities(prepare(hu, SPACING_MM, metadata.preprocess))
    judged = predictor.judge(level_crops(hu, labels, SPACING_MM, metadata.crops))
    answers: list[NDArray[Any]] = [levels, *(one.mask for one in judged), np.array([one.score for one in judged])]
    within = all(bool(np.all((answer >= -1e-3) & (answer <= 1 + 1e-3))) for answer in answers)
    return within and len(judged) == len(Vertebra) and all(np.isfinite(one.activation).all() for one in judged)
