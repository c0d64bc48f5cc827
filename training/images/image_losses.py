"""Losses of the image networks' heads, with ``keras.ops`` alone; where a label is unknown (-1) nothing is lost."""

from typing import Any

import keras
from keras import ops

from model.findings import Vertebra
from training.fitting.losses import fracture_mask_loss

LEVELS = len(Vertebra)


def _mean(values: Any, known: Any) -> Any:
    """The mean over what is known; 0 where nothing is."""
    return ops.sum(values * known) / ops.maximum(ops.sum(known), 1.0)


def _hot(truth: Any) -> tuple[Any, Any]:
    """Levels (n, 1; 0 is C1) as (n, 7), and where they are known (n)."""
    number = ops.cast(truth[:, 0], "int32")
    known = ops.cast(number >= 0, "float32")
    return ops.one_hot(ops.maximum(number, 0), LEVELS, dtype="float32"), known


def image_level_loss(truth: Any, predicted: Any) -> Any:
    """Cross-entropy of the level's distribution (n, 7)."""
    hot, known = _hot(truth)
    return _mean(keras.losses.categorical_crossentropy(hot, predicted), known)


def paper_image_level_loss(truth: Any, predicted: Any) -> Any:
    """The paper's loss: binary cross-entropy of every level (n, 7)."""
    hot, known = _hot(truth)
    return _mean(keras.losses.binary_crossentropy(hot, predicted), known)


def image_fracture_loss(truth: Any, predicted: Any) -> Any:
    """Binary cross-entropy of the fracture probability (n, 1)."""
    truth = ops.cast(truth, "float32")
    known = ops.cast(truth[:, 0] >= 0, "float32")
    return _mean(keras.losses.binary_crossentropy(ops.maximum(truth, 0.0), predicted), known)


def image_evidence_loss(truth: Any, logits: Any) -> Any:
    """What the fracture masks of volumes cost (``fitting/losses.py``), of a map of logits, (n, row, column, 1)."""
    return fracture_mask_loss(truth, ops.sigmoid(logits))
