"""What the results say in words, once for report, narrative and summary (English, ASCII, no identity)."""

from collections.abc import Sequence
from enum import Enum

from pydicom.sr.coding import Code

from dicom_node import codes
from model.findings import Limitation, StudyFindings, Vertebra, VertebraFinding

DISCLAIMER = "AI result, not verified. Not for diagnosis. Not a medical device."

WARNING = "AI, not verified, not for diagnosis; not a medical device."
"""The short form for pictures."""

SUPERSEDES = "This result replaces an earlier one of the same study."


class Answer(Enum):
    """Whether a cervical fracture is present in the study (CID 240)."""

    PRESENT = codes.PRESENT
    ABSENT = codes.ABSENT
    UNDETERMINED = codes.UNDETERMINED

    @property
    def code(self) -> Code:
        """The coded answer."""
        return self.value


def answer(findings: StudyFindings) -> Answer:
    """PRESENT for any suspected level; ABSENT only where all seven levels were seen without any limitation.

    The study's own probability decides nothing: it follows from the highest level's, on a scale of its own.

    No limitation is harmless. Gantry tilt is not either: it is undone by whole pixels, which leaves steps of up to half
    a pixel between slices, as a fine fracture has, and no network of ours was ever measured on such a series.
    """
    if findings.fractured:
        return Answer.PRESENT
    complete = len(findings.vertebrae) == len(Vertebra)
    if complete and not findings.limitations:
        return Answer.ABSENT
    return Answer.UNDETERMINED


def percent(probability: float) -> str:
    """A probability (0..1) in whole percent; the ends are never written as certain."""
    if probability < 0.01:
        return "<1%"
    if probability > 0.99:
        return ">99%"
    return f"{100 * probability:.0f}%"


def level_names(levels: Sequence[Vertebra]) -> str:
    """``C1 to C7``, or ``C1, C2 and C5`` for levels that are not a run of three or more."""
    names = [level.name for level in levels]
    if len(levels) >= 3 and levels[-1] - levels[0] == len(levels) - 1:
        return f"{names[0]} to {names[-1]}"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def conclusion(findings: StudyFindings) -> str:
    """The one sentence that answers the question; says so when the question cannot be answered."""
    if not findings.vertebrae:
        return "Undetermined: no cervical vertebra was found, so nothing can be said about fractures."
    if findings.fractured:
        levels = [f"{finding.vertebra.name} ({percent(finding.probability)})" for finding in findings.fractured]
        return f"Suspected fracture (probability): {', '.join(levels)}."
    negative = f"No suspected fracture of {level_names(negative_levels(findings))}"
    if answer(findings) is Answer.ABSENT:
        return f"{negative}."
    return f"{negative}, but the result is limited: a cervical fracture is not excluded."


def negative_levels(findings: StudyFindings) -> tuple[Vertebra, ...]:
    """The levels that were found and do not reach the threshold."""
    return tuple(finding.vertebra for finding in findings.vertebrae if not finding.fractured)


def missing_levels(findings: StudyFindings) -> tuple[Vertebra, ...]:
    """The cervical levels that were not found."""
    found = {finding.vertebra for finding in findings.vertebrae}
    return tuple(level for level in Vertebra if level not in found)


def level_sentence(finding: VertebraFinding) -> str:
    """One level in words."""
    if finding.fractured:
        return f"{finding.vertebra.name}: suspected fracture, certainty {percent(finding.probability)}."
    return f"{finding.vertebra.name}: no suspected fracture (fracture probability {percent(finding.probability)})."


def negative_summary(findings: StudyFindings) -> str | None:
    """The negative levels with their probabilities in one sentence, or None if there is none."""
    negative = [finding for finding in findings.vertebrae if not finding.fractured]
    if not negative:
        return None
    parts = ", ".join(f"{finding.vertebra.name} ({percent(finding.probability)})" for finding in negative)
    return f"Levels without suspected fracture (fracture probability): {parts}."


def limitation_sentences(findings: StudyFindings) -> tuple[str, ...]:
    """Why the answer may be incomplete: missing levels first, then the limitations as found."""
    missing = missing_levels(findings)
    sentences = [limitation.value for limitation in findings.limitations]
    if not findings.vertebrae:
        return tuple(dict.fromkeys([Limitation.NO_LEVELS.value, *sentences]))
    if missing:
        sentences.insert(0, f"Not found, therefore not assessed: {level_names(missing)}.")
    return tuple(sentences)
