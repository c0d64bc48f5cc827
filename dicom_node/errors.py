"""The errors of the DICOM side, each permanent (the input or the peer's answer will not change) or transient."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dicom_node.selection import SeriesVerdict


class DicomNodeError(Exception):
    """Base of all errors of this package.

    ``code`` is a short stable identifier that the operator finds in OPERATIONS.md; ``permanent`` says that trying
    again without a change is useless. The message never holds a patient's identity.
    """

    code = "DICOM_NODE"
    permanent = True

    def __init__(self, message: str, *, code: str | None = None, permanent: bool | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        if permanent is not None:
            self.permanent = permanent


class InvalidInstance(DicomNodeError):
    """Received bytes that are not an acceptable instance: answered with a C-STORE failure status."""

    code = "INVALID_INSTANCE"


class InstanceMismatch(InvalidInstance):
    """A data set whose SOP class or instance is not the one announced: C-STORE status 0xA900."""

    code = "INSTANCE_MISMATCH"


class OutOfResources(DicomNodeError):
    """The spool cannot take more at present (disk full, quota, fsync failed): C-STORE status 0xA700."""

    code = "OUT_OF_RESOURCES"
    permanent = False


class ReadingError(DicomNodeError):
    """Base of what ends the reading of a study.

    ``verdicts`` say of each series why it was not analyzed, ``notes`` which files were left out; both may be empty.
    """

    verdicts: "tuple[SeriesVerdict, ...]" = ()
    notes: tuple[str, ...] = ()


class Ineligible(ReadingError):
    """Nothing in the study is for this product (no CT, a localizer only, ...): the study ends SKIPPED."""

    code = "INELIGIBLE"


class UnusableSeries(ReadingError):
    """The chosen series cannot be read as a volume (truncated, no pixel data, ...): the study ends FAILED."""

    code = "UNUSABLE_SERIES"


class ReadingAborted(ReadingError):
    """The reading child exceeded its time or memory limit or died: the study ends FAILED, the input is kept."""

    code = "READING_ABORTED"


class PeerError(DicomNodeError):
    """A peer could not be reached, rejected the association, or refused an instance."""

    code = "PEER"
