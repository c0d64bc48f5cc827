"""Losses for the level and fracture heads, written with ``keras.ops`` alone.

Where the truth is unknown (``truth.py``) nothing is lost or gained: neither the value nor the gradient hears it.
"""

from typing import Any

import keras
from keras import ops

from training.fitting.truth import UNKNOWN_LEVEL

LEVEL_WEIGHTS = (0.25, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
"""Weight of background and C1..C7 in the cross-entropy."""


def _hot(truth: Any) -> tuple[Any, Any]:
    """Levels (n, row, column) as channels (n, row, column, 8), all zero where unknown; and where they are known."""
    truth = ops.cast(truth, "int32")
    known = ops.cast(ops.not_equal(truth, UNKNOWN_LEVEL), "float32")
    hot = ops.one_hot(ops.where(known > 0, truth, 0), 8, dtype="float32")
    return hot * known[..., None], known


def _known(truth: Any) -> tuple[Any, Any]:
    """A truth of 0 to 1, zero where unknown; and where it is known."""
    truth = ops.cast(truth, "float32")
    return ops.maximum(truth, 0.0), ops.cast(truth >= 0.0, "float32")


def _mean(values: Any, known: Any) -> Any:
    """The mean over what is known; 0 where nothing is."""
    return ops.sum(values * known) / ops.maximum(ops.sum(known), 1.0)


def level_loss(truth: Any, predicted: Any) -> Any:
    """Soft Dice over the levels that occur, plus weighted cross-entropy. ``truth``: (n, row, column) label numbers."""
    hot, known = _hot(truth)
    clipped = ops.clip(predicted, 1e-6, 1.0)
    weight = ops.sum(hot * ops.convert_to_tensor(LEVEL_WEIGHTS, dtype="float32"), axis=-1)
    entropy = -ops.sum(hot * ops.log(clipped), axis=-1)
    overlap = ops.sum(hot * predicted, axis=(0, 1, 2))
    size = ops.sum(hot, axis=(0, 1, 2)) + ops.sum(predicted * known[..., None], axis=(0, 1, 2))
    dice = 1.0 - ops.mean(((2.0 * overlap + 20.0) / (size + 20.0))[1:])
    return ops.sum(weight * entropy) / ops.maximum(ops.sum(weight), 1e-6) + dice


def fracture_mask_loss(truth: Any, predicted: Any) -> Any:
    """Cross-entropy in which all of the fracture weighs a tenth, plus soft Dice. Both: (..., row, column, 1), 0 to 1.

    A fracture covers a few of a thousand pixels: without its own share in the mean a network finds none for very long.
    """
    truth, known = _known(truth)
    clipped = ops.clip(predicted, 1e-6, 1.0 - 1e-6)
    broken, whole = -truth * ops.log(clipped), -(1.0 - truth) * ops.log(1.0 - clipped)
    share = 0.1 * ops.sum(broken) / (ops.sum(truth) + 50.0) + _mean(whole, known)
    overlap = ops.sum(truth * predicted)
    dice = 1.0 - (2.0 * overlap + 20.0) / (ops.sum(truth) + ops.sum(predicted * known) + 20.0)
    return 3.0 * share + dice


def slice_loss(truth: Any, logits: Any) -> Any:
    """Binary cross-entropy of each slice's evidence (a logit): whether any fracture shows in it."""
    truth, known = _known(truth)
    return _mean(ops.binary_crossentropy(truth, logits, from_logits=True), known)


def fracture_loss(truth: Any, predicted: Any) -> Any:
    """Binary cross-entropy of a vertebra's fracture probability, (n, 1)."""
    return ops.mean(keras.losses.binary_crossentropy(ops.cast(truth, "float32"), predicted))


def paper_level_loss(truth: Any, predicted: Any) -> Any:
    """The paper's loss: binary cross-entropy of every level channel. ``truth``: (n, row, column) label numbers."""
    hot, known = _hot(truth)
    return _mean(keras.losses.binary_crossentropy(hot, predicted), known)


def paper_mask_loss(truth: Any, predicted: Any) -> Any:
    """The paper's loss: binary cross-entropy of the fracture mask. Both: (..., row, column, 1)."""
    truth, known = _known(truth)
    return _mean(ops.binary_crossentropy(truth, predicted), known)
