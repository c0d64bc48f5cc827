"""Chooses the series of a study that shows the cervical spine best, and says why each other one was not chosen. Pure.

First come reasons to leave a series out (not CT, a localizer, secondary images, one slice, thick slices, ...); what
remains is compared criterion by criterion in a fixed order, down to the UID, so that the choice is deterministic. Axial
series always win; a sagittal or coronal volume is used only when it is alone and its slices are at most 2 mm apart.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dicom_node.transfer_syntaxes import STORAGE_CLASSES

AXIAL_DEGREES = 30.0
MAXIMUM_SPACING_MM = 3.5
MAXIMUM_PIXEL_MM = 3.5
MAXIMUM_NON_AXIAL_SPACING_MM = 2.0
MINIMUM_SLICES = 10
MINIMUM_COVERAGE_MM = 30.0

_NOT_VOLUMES = frozenset({"LOCALIZER", "SCOUT", "SECONDARY", "MIP", "MINIP", "AVERAGE", "3D", "VRT", "DOSE_INFO"})
_NECK = re.compile(
    r"\b(?:C[ -]?SP(?:INE)?|CSPINE|NECK|CERV\w*|HWS|HALS\w*|RACHIS CERV\w*|COU|COLLO|CUELLO|COLUMNA CERV\w*|SZYJ\w*)\b"
)
_ELSEWHERE = re.compile(
    r"\b(?:L[ -]?SP(?:INE)?|LSPINE|LUMB\w*|LWS|PELVIS|BECKEN|HIP|KNEE|FOOT|ANKLE|LEG|HAND|WRIST|ELBOW|ARM|EXTREMITY)\b"
)
_FAR = re.compile(r"\b(?:ABDOMEN|T[ -]?SP(?:INE)?|TSPINE|BWS|HEART)\b")
_BONE_TEXT = re.compile(r"BONE|KNOCHEN|\bOSS?\b|OSSEUX|HUESO|EDGE|SHARP")
_SIEMENS = re.compile(r"\b[BHUJI]?[RVP]?(\d\d)[A-Z]?(?:\\\d|\b)")
_TOSHIBA = re.compile(r"\bFC(\d\d)")
_PHILIPS = re.compile(r"^(?:D|E|F|YD|YE|YF|YC|L)$")


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """The header facts of one stack of slices that the choice rests on.

    ``stack`` counts the stacks of a series from 0; ``degrees_from_axial`` is the angle between the slices' normal and
    the patient's long axis; ``problem`` is a sentence that says why the stack is no volume, with its ``problem_code``.
    """

    series_instance_uid: str
    modality: str = "CT"
    sop_class_uid: str = STORAGE_CLASSES[0]
    stack: int = 0
    image_type: tuple[str, ...] = ()
    slices: int = 0
    spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    degrees_from_axial: float = 0.0
    kernel: str = ""
    body_part: str = ""
    description: str = ""
    unit: str = ""
    series_number: int = 0
    problem: str = ""
    problem_code: str = ""

    @property
    def coverage_mm(self) -> float:
        """Distance from the first to the last slice, one spacing included."""
        return self.slices * self.spacing_mm[0]

    @property
    def axial(self) -> bool:
        """Whether the slices are axial within 30 degrees."""
        return self.degrees_from_axial <= AXIAL_DEGREES

    @property
    def bone_kernel(self) -> int:
        """2 when the kernel is a sharp one by the vendors' naming habits, 1 when only the description says so."""
        return 2 if is_bone_kernel(self.kernel) else int(bool(_BONE_TEXT.search(self.description.upper())))

    @property
    def anatomy(self) -> int:
        """3 when the neck is named, 2 when nothing is said against it, 1 when a region beside it is named."""
        words = f"{self.body_part} {self.description}".upper().replace("_", " ")
        if _NECK.search(words):
            return 3
        return 1 if _FAR.search(words) else 2


@dataclass(frozen=True, slots=True)
class SeriesVerdict:
    """Whether a series (or one stack of it) was chosen, and the sentence that says why or why not."""

    series_instance_uid: str
    chosen: bool
    reason: str
    stack: int = 0


@dataclass(frozen=True, slots=True)
class Selection:
    """The choice: ``chosen`` is None when no series is eligible; ``problem_code`` then names an unusable candidate."""

    chosen: str | None
    verdicts: tuple[SeriesVerdict, ...]
    stack: int = 0
    problem_code: str = ""


def choose(summaries: Sequence[SeriesSummary]) -> Selection:
    """Choose among the stacks of a study; verdicts come in the order of the summaries."""
    reasons = [exclusion(summary) for summary in summaries]
    eligible = [summary for summary, reason in zip(summaries, reasons, strict=True) if not reason]
    if not eligible:
        verdicts = [
            SeriesVerdict(summary.series_instance_uid, False, reason, summary.stack)
            for summary, reason in zip(summaries, reasons, strict=True)
        ]
        codes = [s.problem_code for s, reason in zip(summaries, reasons, strict=True) if reason == s.problem]
        return Selection(None, tuple(verdicts), problem_code=codes[0] if codes else "")
    best = min(eligible, key=_rank)
    verdicts = []
    for summary, reason in zip(summaries, reasons, strict=True):
        chosen = summary is best
        sentence = _praise(summary) if chosen else reason or _comparison(summary, best)
        verdicts.append(SeriesVerdict(summary.series_instance_uid, chosen, sentence, summary.stack))
    return Selection(best.series_instance_uid, tuple(verdicts), best.stack)


def exclusion(summary: SeriesSummary) -> str:
    """The sentence that says why a stack cannot be used at all, or an empty one."""
    for test, sentence in _EXCLUSIONS:
        if test(summary):
            return sentence(summary)
    return ""


def is_bone_kernel(kernel: str) -> bool:
    """Whether a Convolution Kernel (0018,1210) is a sharp one."""
    name = kernel.upper().strip()
    if _BONE_TEXT.search(name) or _PHILIPS.match(name):
        return True
    toshiba = _TOSHIBA.search(name)
    if toshiba:
        return int(toshiba[1]) in {30, 31, 35} or int(toshiba[1]) >= 80
    siemens = _SIEMENS.search(name)
    return bool(siemens) and int(siemens[1]) >= 55 if siemens else False


def _modality(summary: SeriesSummary) -> str:
    return f"Its modality is {_code(summary.modality) or 'not given'}, not CT."


def _code(text: str) -> str:
    """A code string that may be shown: capitals, digits and spaces only."""
    return "".join(
        character for character in text.upper() if character.isascii() and (character.isalnum() or character == " ")
    )[:16]


def _named(words: frozenset[str], summary: SeriesSummary) -> str:
    """The first Image Type value that is one of the words, or an empty text."""
    return next((value for value in summary.image_type if value.upper() in words), "")


_EXCLUSIONS: tuple[tuple[Callable[[SeriesSummary], bool], Callable[[SeriesSummary], str]], ...] = (
    (lambda s: s.modality != "CT", _modality),
    (lambda s: s.sop_class_uid not in STORAGE_CLASSES, lambda _: "Its instances are not CT images."),
    (
        lambda s: bool(_named(_NOT_VOLUMES, s)),
        lambda s: f"Its image type is {_code(_named(_NOT_VOLUMES, s))}: not an original volume.",
    ),
    (
        lambda s: s.unit not in {"", "HU", "US"},
        lambda s: f"Its values are in {_code(s.unit)}, not in Hounsfield units.",
    ),
    (lambda s: s.slices == 1 and not s.problem, lambda _: "It has one slice only."),
    (lambda s: bool(s.problem), lambda s: s.problem),
    (
        lambda s: bool(_ELSEWHERE.search(f"{s.body_part} {s.description}".upper())) and s.anatomy < 3,
        lambda _: "It is labeled as a body part far from the neck.",
    ),
    (
        lambda s: s.slices < MINIMUM_SLICES or s.coverage_mm < MINIMUM_COVERAGE_MM,
        lambda s: f"It has {s.slices} slices over {s.coverage_mm:.0f} mm: too few for a spine.",
    ),
    (
        lambda s: s.spacing_mm[0] > MAXIMUM_SPACING_MM,
        lambda s: f"Its slices are {s.spacing_mm[0]:.1f} mm apart; at most {MAXIMUM_SPACING_MM} mm can be analyzed.",
    ),
    (
        lambda s: max(s.spacing_mm[1:]) > MAXIMUM_PIXEL_MM,
        lambda s: f"Its pixels are {max(s.spacing_mm[1:]):.1f} mm wide; at most {MAXIMUM_PIXEL_MM} mm can be analyzed.",
    ),
    (
        lambda s: not s.axial and s.spacing_mm[0] > MAXIMUM_NON_AXIAL_SPACING_MM,
        lambda s: f"It is not axial and its slices are {s.spacing_mm[0]:.1f} mm apart.",
    ),
)


def _coverage_class(summary: SeriesSummary) -> int:
    """0 for a whole cervical spine (120 mm or more), 1 for most of one, 2 for less."""
    return 0 if summary.coverage_mm >= 120.0 else 1 if summary.coverage_mm >= 80.0 else 2


def _spacing_class(summary: SeriesSummary) -> int:
    """0 for slices at most 1.25 mm apart, 1 up to 2 mm, 2 beyond."""
    return 0 if summary.spacing_mm[0] <= 1.25 else 1 if summary.spacing_mm[0] <= 2.0 else 2


def _derived(summary: SeriesSummary) -> bool:
    return bool(summary.image_type) and summary.image_type[0].upper() == "DERIVED"


_CRITERIA: tuple[tuple[Callable[[SeriesSummary], float], str], ...] = (
    (lambda s: not s.axial, "It is not axial."),
    (lambda s: -s.anatomy, "The chosen series names the neck more clearly."),
    (_coverage_class, "It covers less of the spine."),
    (_spacing_class, "Its slices are farther apart."),
    (_derived, "Its images are derived, those of the chosen series original."),
    (lambda s: -s.bone_kernel, "It is not reconstructed with a bone kernel."),
    (lambda s: round(s.spacing_mm[0], 3), "Its slices are farther apart."),
    (lambda s: -s.slices, "It has fewer slices."),
)


def _rank(summary: SeriesSummary) -> tuple[object, ...]:
    """A sort key, best first; ends in number, UID and stack so that no two stacks are equal."""
    values = [criterion(summary) for criterion, _ in _CRITERIA]
    return (*values, summary.series_number, summary.series_instance_uid, summary.stack)


def _comparison(summary: SeriesSummary, best: SeriesSummary) -> str:
    """The first criterion by which a stack lost."""
    for criterion, sentence in _CRITERIA:
        if criterion(summary) != criterion(best):
            return sentence
    return "It is as good as the chosen series, which comes first by its number."


def _praise(summary: SeriesSummary) -> str:
    """Why the chosen stack was chosen."""
    kind = "axial" if summary.axial else "not axial but the only volume"
    kernel = ", bone kernel" if summary.bone_kernel else ""
    return (
        f"Chosen: {kind}, {summary.slices} slices {summary.spacing_mm[0]:.2f} mm apart over "
        f"{summary.coverage_mm:.0f} mm{kernel}."
    )
