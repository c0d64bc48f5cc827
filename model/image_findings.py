"""The vocabulary of an answer for one image: levels by probability, fracture or not, limitations (pure values)."""

from dataclasses import dataclass
from enum import StrEnum

from model.findings import Vertebra


class ImageLimitation(StrEnum):
    """Why the answer may be wrong; the value is the sentence that a reader is shown."""

    SINGLE_IMAGE = (
        "A single image cannot be checked against its neighbors: the level is a guess from its shape, and a fracture "
        "beside it is not seen."
    )
    NOT_HU = "A picture holds no HU: density cannot be measured, and its window may hide a fracture."
    SYNTHETIC = "The network was trained on synthetic images alone: what it does on patients is unknown."
    LEVELS_UNKNOWN = "The network was trained without level names: no level is given."
    LEVELS_MISSING = "The network never saw an example of some levels: it cannot name them."
    LEVEL_UNSURE = "No level is more likely than all others together."
    NOT_CT_LIKE = "The image does not look like those that the network was trained on: do not rely on the answer."
    COLORED = "The image has color: it may be a photograph or carry drawings that mislead the network."
    LOW_CONTRAST = "The image has little contrast: a fracture may not show."
    TOO_SMALL = "The image has few pixels: a fine fracture cannot show."


@dataclass(frozen=True, slots=True)
class LevelProbability:
    """How likely (0..1) the image shows this level."""

    vertebra: Vertebra
    probability: float


@dataclass(frozen=True, slots=True)
class ImageFindings:
    """What the network says of one image.

    ``levels`` are sorted, the likeliest first; empty where the network knows no levels. ``probability`` (0..1) is that
    of a fracture, ``fractured`` whether it reaches ``threshold``. ``limitations`` are to be shown with the answer.
    """

    levels: tuple[LevelProbability, ...]
    probability: float
    threshold: float
    limitations: tuple[ImageLimitation, ...]

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"fracture probability is {self.probability}, not within 0..1")
        order = [level.probability for level in self.levels]
        if order != sorted(order, reverse=True):
            raise ValueError("levels must be sorted, the likeliest first")

    @property
    def fractured(self) -> bool:
        """Whether the fracture probability reaches the threshold."""
        return self.probability >= self.threshold

    @property
    def level(self) -> Vertebra | None:
        """The likeliest level; None where the network knows no levels."""
        return self.levels[0].vertebra if self.levels else None

    def as_json(self) -> dict[str, object]:
        """The findings as plain JSON values, for the console and scripts."""
        return {
            "levels": [
                {"vertebra": one.vertebra.name, "probability": round(one.probability, 4)} for one in self.levels
            ],
            "probability": round(self.probability, 4),
            "threshold": self.threshold,
            "fractured": self.fractured,
            "limitations": [{"code": limitation.name, "text": limitation.value} for limitation in self.limitations],
        }
