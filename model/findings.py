"""The vocabulary of the network's answers: vertebral levels, findings and limitations (pure values, no arrays)."""

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum


class Vertebra(IntEnum):
    """A cervical vertebra; the value is its label in every mask (0 is background)."""

    C1 = 1
    C2 = 2
    C3 = 3
    C4 = 4
    C5 = 5
    C6 = 6
    C7 = 7


class Limitation(StrEnum):
    """Why the answer may be incomplete; the value is the sentence that a radiologist reads."""

    NO_LEVELS = "No cervical vertebra was found."
    FEW_LEVELS = "Fewer than five contiguous cervical levels are in view."
    LEVELS_NOT_CONTIGUOUS = "The cervical levels that were found are not contiguous: level names may be wrong."
    THICK_SLICES = "Slices are thicker than 2 mm: subtle fractures may be missed."
    COARSE_PIXELS = "Pixels are wider than 2 mm: subtle fractures may be missed."
    MISSING_SLICES = "Slices are missing inside the series: fractures there may be missed."
    GANTRY_TILT = "The series was acquired with gantry tilt and was straightened: fine fractures may be missed."
    HU_SCALE = "The HU scale is doubtful: bone may be misjudged."
    CUT_LEVEL = "A vertebra is cut by the edge of the field of view."
    METAL = "Metal in the field of view: its artifacts may hide or imitate fractures."
    HIGH_NOISE = "Noise or streaks hide bone detail: fractures may be missed."


@dataclass(frozen=True, slots=True)
class VertebraFinding:
    """One vertebral level that was found.

    ``probability`` is the estimated probability (0..1) that the level is fractured; ``fractured`` says whether it
    reaches the bundle's threshold; ``volume_mm3`` is the volume of the level's mask.
    """

    vertebra: Vertebra
    probability: float
    fractured: bool
    volume_mm3: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"fracture probability of {self.vertebra.name} is {self.probability}, not within 0..1")
        if not self.volume_mm3 >= 0.0:
            raise ValueError(f"volume of {self.vertebra.name} is {self.volume_mm3} mm3, not a volume")


@dataclass(frozen=True, slots=True)
class StudyFindings:
    """What the network says of one study: its levels from C1 downwards, each at most once.

    ``probability`` (0..1) is that of any cervical fracture, calibrated by itself: it need not be the highest of the
    levels'. ``threshold`` is the operating point that decided ``fractured`` of every level; ``limitations`` are to be
    shown wherever the findings are.
    """

    vertebrae: tuple[VertebraFinding, ...]
    probability: float
    threshold: float
    limitations: tuple[Limitation, ...] = ()

    def __post_init__(self) -> None:
        levels = [finding.vertebra for finding in self.vertebrae]
        if levels != sorted(set(levels)):
            raise ValueError("levels must be unique and ordered from C1 to C7")
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"study probability is {self.probability}, not within 0..1")

    @property
    def fractured(self) -> tuple[VertebraFinding, ...]:
        """The levels whose fracture probability reaches the threshold."""
        return tuple(finding for finding in self.vertebrae if finding.fractured)

    def as_json(self) -> dict[str, object]:
        """The findings as plain JSON values, for manifests, the console and scripts."""
        return {
            "levels": [
                {
                    "vertebra": finding.vertebra.name,
                    "probability": round(finding.probability, 4),
                    "fractured": finding.fractured,
                    "volume_mm3": round(finding.volume_mm3, 1),
                }
                for finding in self.vertebrae
            ],
            "probability": round(self.probability, 4),
            "threshold": self.threshold,
            "limitations": [{"code": limitation.name, "text": limitation.value} for limitation in self.limitations],
        }

    def with_limitations(self, *limitations: Limitation) -> "StudyFindings":
        """The same findings with these limitations put in front, each named once."""
        return replace(self, limitations=tuple(dict.fromkeys((*limitations, *self.limitations))))
