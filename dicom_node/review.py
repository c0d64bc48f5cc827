"""What a reader said of one version of our results: accepted, rejected, at the wrong level, with a corrected mask.

Plain values, free of anybody's identity; `dicom_node.review_rules` says how objects that came back are read as such.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from model.findings import Vertebra


class Verdict(StrEnum):
    """What becomes of a result, the gravest first."""

    REJECTED = "REJECTED"
    """Wrong: a suspected fracture that is none, a fracture that was not suspected, a level that is not there."""
    WRONG_LEVEL = "WRONG_LEVEL"
    """It belongs to another level."""
    CORRECTED_MASK = "CORRECTED_MASK"
    """The level is right, its mask was drawn anew."""
    ACCEPTED = "ACCEPTED"
    """A verified document says the same."""


class Presence(StrEnum):
    """Whether there is a fracture (CID 240)."""

    PRESENT = "PRESENT"
    UNDETERMINED = "UNDETERMINED"
    ABSENT = "ABSENT"


@dataclass(frozen=True, slots=True)
class LevelReview:
    """What was said of one level of our result.

    ``level`` is that of our result, or the reader's where we had none. ``fracture`` holds for ``corrected_level``
    where there is one. ``segment`` is the number of the level's segment in a segmentation that came back, ``overlap``
    (0..1, Dice) how much it shares with ours; None where they have no slice in common.
    """

    level: Vertebra
    verdict: Verdict | None = None
    fracture: Presence | None = None
    corrected_level: Vertebra | None = None
    segment: int | None = None
    overlap: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "level": self.level.name,
            "verdict": self.verdict,
            "fracture": self.fracture,
            "corrected_level": None if self.corrected_level is None else self.corrected_level.name,
            "segment": self.segment,
            "overlap": self.overlap,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The value out of JSON; ``ValueError``, ``TypeError`` or ``LookupError`` where it is none."""
        corrected, segment, overlap = values["corrected_level"], values["segment"], values["overlap"]
        if overlap is not None and not 0.0 <= float(overlap) <= 1.0:
            raise ValueError("an overlap is not within 0..1")
        return cls(
            level=Vertebra[values["level"]],
            verdict=_verdict(values["verdict"]),
            fracture=_presence(values["fracture"]),
            corrected_level=None if corrected is None else Vertebra[corrected],
            segment=None if segment is None else int(segment),
            overlap=None if overlap is None else float(overlap),
        )


@dataclass(frozen=True, slots=True)
class Review:
    """What one object says: of the results as a whole, and level by level.

    ``version`` counts the versions of our results that it was compared with. ``verified`` is the document's own word
    (PS3.3 C.17.2); a segmentation has none. ``verdict`` is the gravest of the levels, or of the whole; None where the
    object speaks of our results and says nothing that can be read. ``fracture`` is its answer for the cervical spine.
    """

    version: int
    verified: bool
    verdict: Verdict | None = None
    fracture: Presence | None = None
    levels: tuple[LevelReview, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "version": self.version,
            "verified": self.verified,
            "verdict": self.verdict,
            "fracture": self.fracture,
            "levels": [level.as_json() for level in self.levels],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The value out of JSON; ``ValueError``, ``TypeError`` or ``LookupError`` where it is none."""
        return cls(
            version=int(values["version"]),
            verified=values["verified"] is True,
            verdict=_verdict(values["verdict"]),
            fracture=_presence(values["fracture"]),
            levels=tuple(LevelReview.from_json(level) for level in values["levels"]),
        )

    def as_line(self) -> str:
        """One line for a timeline."""
        words = [_words(level) for level in self.levels if level.verdict is not Verdict.ACCEPTED]
        accepted = [level.level.name for level in self.levels if level.verdict is Verdict.ACCEPTED]
        words += [f"{', '.join(accepted)} accepted"] if accepted else []
        if not words or self.verdict not in {level.verdict for level in self.levels}:
            words.insert(0, "no verdict" if self.verdict is None else f"results {_plain(self.verdict)}")
        return f"{'; '.join(words)} ({'verified' if self.verified else 'not verified'})"


def gravest(verdicts: "list[Verdict | None]") -> Verdict | None:
    """The gravest of some verdicts; None when there is none."""
    return next((verdict for verdict in Verdict if verdict in verdicts), None)


def _words(level: LevelReview) -> str:
    """``C5 rejected, fracture absent``."""
    words = f"{level.level.name} {'no verdict' if level.verdict is None else _plain(level.verdict)}"
    if level.corrected_level is not None:
        words += f", is {level.corrected_level.name}"
    if level.overlap is not None:
        words += f", overlap {level.overlap:.2f}"
    return words if level.fracture is None else f"{words}, fracture {level.fracture.lower()}"


def _plain(verdict: Verdict) -> str:
    return verdict.replace("_", " ").lower()


def _verdict(value: Any) -> Verdict | None:
    return None if value is None else Verdict(value)


def _presence(value: Any) -> Presence | None:
    return None if value is None else Presence(value)
