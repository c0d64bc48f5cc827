"""The kinds of result objects, in the order in which they are sent: what is referred to goes first."""

from enum import StrEnum


class ResultKind(StrEnum):
    """A kind of result object; the value names the file that the CLI writes."""

    SEGMENTATION = "segmentation"
    LABELMAP = "labelmap"
    REPORT = "report"
    AIR_REPORT = "air-report"
    ARROWS = "arrows"
    NARRATIVE = "narrative"
    SUMMARY = "summary"
    PDF = "pdf"
    PRESENTATION_STATE = "presentation-state"
    KEY_OBJECTS = "key-objects"

    @property
    def series_number(self) -> int:
        """A Series Number of our own, the same in every study, far from those of scanners."""
        return _SERIES_NUMBERS[self]

    @property
    def refers_to_segmentation(self) -> bool:
        """Whether the object names the segmentation, so that it is another one where that is a LABELMAP."""
        return self in {ResultKind.REPORT, ResultKind.AIR_REPORT}


_SERIES_NUMBERS = {
    ResultKind.SEGMENTATION: 9701,
    ResultKind.REPORT: 9702,
    ResultKind.NARRATIVE: 9703,
    ResultKind.SUMMARY: 9704,
    ResultKind.LABELMAP: 9705,
    ResultKind.AIR_REPORT: 9706,
    ResultKind.ARROWS: 9707,
    ResultKind.PDF: 9708,
    ResultKind.PRESENTATION_STATE: 9709,
    ResultKind.KEY_OBJECTS: 9710,
}

RETRACTION_SERIES_NUMBER = 9711
"""Series Number of Key Objects that withdraw results."""


def variant_name(kind: ResultKind, segmentation: ResultKind | None) -> str:
    """The stable key of an object in one analysis; ``segmentation`` is the kind that the object refers to, if any."""
    on_labelmap = kind.refers_to_segmentation and segmentation is ResultKind.LABELMAP
    return f"{kind.value}-{ResultKind.LABELMAP.value}" if on_labelmap else kind.value
