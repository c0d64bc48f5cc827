"""How a network is fitted, by name: phases with a learning rate each, of which the first may freeze the encoder.

``paper`` is what the source paper prints: stochastic gradient descent and binary cross-entropy, and transfer learning
with a pretrained InceptionResNetV2 whose weights are first kept as they are and then fine-tuned. ``dice`` is ours: Adam
with Dice besides the cross-entropy, all weights from the beginning. No Keras here, so that commands start at once.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

WARM_UP = 0.03
"""Share of a phase in which its rate rises."""
FROZEN_SHARE = 0.3
"""Share of the budget in which the paper's recipe keeps a pretrained encoder as it is."""
FINE_TUNING = 0.1
"""The rate of fine-tuning, as a share of that before it."""


class Recipe(StrEnum):
    """The paper's SGD and binary cross-entropy, or Adam with Dice besides."""

    PAPER = "paper"
    DICE = "dice"


RATES = {Recipe.PAPER: 0.01, Recipe.DICE: 2e-3}
"""The usual peak learning rate of each recipe."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run: from where the last one ended to ``until`` (share of the budget, 0..1), with its peak rate.

    ``frozen``: the encoder's weights stay as they are, the statistics of its normalization too.
    """

    name: str
    until: float
    learning_rate: float
    frozen: bool = False


def phases_of(
    recipe: Recipe,
    rate: float,
    *,
    pretrained: bool,
    frozen_share: float | None = None,
    fine_tuning: float | None = None,
) -> tuple[Phase, ...]:
    """The phases of a recipe at a peak ``rate``.

    ``frozen_share`` None: the recipe's own, for encoders that are pretrained; others have nothing to keep.
    ``fine_tuning``: the peak rate after the frozen phase, None: a tenth of ``rate``.
    """
    share = frozen_share
    if share is None:
        share = FROZEN_SHARE if recipe is Recipe.PAPER and pretrained else 0.0
    if share <= 0:
        return (Phase("all weights", 1.0, rate),)
    tuned = Phase("fine-tuning", 1.0, rate * FINE_TUNING if fine_tuning is None else fine_tuning)
    return (Phase("frozen encoder", share, rate, frozen=True), tuned)


def phase_at(phases: tuple[Phase, ...], progress: float) -> int:
    """The number of the phase at this share (0..1) of the budget; a phase holds the step that ends it."""
    return next((place for place, phase in enumerate(phases) if progress <= phase.until), len(phases) - 1)


def rate_at(phases: tuple[Phase, ...], progress: float) -> float:
    """The rate at this share (0..1) of the budget: in each phase a short warm-up, then a cosine to a fiftieth."""
    place = phase_at(phases, progress)
    phase, begin = phases[place], phases[place - 1].until if place else 0.0
    inner = min(1.0, (progress - begin) / (phase.until - begin))
    if inner < WARM_UP:
        return phase.learning_rate * (0.05 + 0.95 * inner / WARM_UP)
    turned = 0.5 * (1 + float(np.cos(np.pi * (inner - WARM_UP) / (1 - WARM_UP))))
    return phase.learning_rate * (0.02 + 0.98 * turned)


def freeze_encoder(network: Any, *, frozen: bool) -> None:
    """Keep the encoder's weights as they are, or no longer; the network must be compiled again afterwards.

    ``network``: a level network, or a sequence network, whose slices' network holds the encoder. Raises ValueError
    where there is no encoder.
    """
    inner = next((layer for layer in network.layers if layer.name == "slices" and hasattr(layer, "layers")), network)
    encoder = [layer for layer in inner.layers if layer.name.startswith("encoder") and layer.weights]
    if not encoder:
        raise ValueError(f"the network {network.name} has no encoder that could be frozen")
    for layer in encoder:
        layer.trainable = not frozen
