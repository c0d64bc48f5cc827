"""Losses for the level and fracture heads, written with ``keras.ops`` alone."""

from typing import Any

import keras
from keras import ops

LEVEL_WEIGHTS = (0.25, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
"""Weight of background and C1..C7 in the cross-entropy."""


def level_loss(truth: Any, predicted: Any) -> Any:
    """Soft Dice over the levels that occur, plus weighted cross-entropy. ``truth``: (n, row, column) label numbers."""
    hot = ops.one_hot(ops.cast(truth, "int32"), 8, dtype="float32")
    clipped = ops.clip(predicted, 1e-6, 1.0)
    weight = ops.sum(hot * ops.convert_to_tensor(LEVEL_WEIGHTS, dtype="float32"), axis=-1)
    entropy = -ops.sum(hot * ops.log(clipped), axis=-1)
    overlap = ops.sum(hot * predicted, axis=(0, 1, 2))
    size = ops.sum(hot, axis=(0, 1, 2)) + ops.sum(predicted, axis=(0, 1, 2))
    dice = 1.0 - ops.mean(((2.0 * overlap + 20.0) / (size + 20.0))[1:])
    return ops.sum(weight * entropy) / ops.sum(weight) + dice


def fracture_loss(truth: Any, predicted: Any) -> Any:
    """Cross-entropy with positives weighted sixfold, plus soft Dice. ``truth``: (n, row, column, 1) of 0 and 1."""
    truth = ops.cast(truth, "float32")
    clipped = ops.clip(predicted, 1e-6, 1.0 - 1e-6)
    entropy = -(6.0 * truth * ops.log(clipped) + (1.0 - truth) * ops.log(1.0 - clipped))
    overlap = ops.sum(truth * predicted)
    dice = 1.0 - (2.0 * overlap + 20.0) / (ops.sum(truth) + ops.sum(predicted) + 20.0)
    return 4.0 * ops.mean(entropy) + 0.5 * dice


def paper_level_loss(truth: Any, predicted: Any) -> Any:
    """The paper's loss: binary cross-entropy of every level channel. ``truth``: (n, row, column) label numbers."""
    hot = ops.one_hot(ops.cast(truth, "int32"), 8, dtype="float32")
    return ops.mean(keras.losses.binary_crossentropy(hot, predicted))


def paper_fracture_loss(truth: Any, predicted: Any) -> Any:
    """The paper's loss: binary cross-entropy of the fracture channel. ``truth``: (n, row, column, 1) of 0 and 1."""
    return ops.mean(keras.losses.binary_crossentropy(ops.cast(truth, "float32"), predicted))
