"""What became of each file that was sent to a peer, by whatever service."""

from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import InvalidInstance
from dicom_node.part10 import FileMeta, read_file_meta


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of one file.

    ``status`` is the peer's C-STORE status or STOW-RS failure reason, None when there was none; ``permanent`` says that
    sending again is useless; ``comment`` is in our words, never the peer's, which may name a patient.
    ``sop_instance_uid`` is empty when the file is no DICOM file.
    """

    path: Path
    sop_instance_uid: str
    status: int | None
    accepted: bool
    permanent: bool
    comment: str


def unreadable(path: Path) -> SendOutcome:
    """Return the outcome of a file that is none of DICOM's."""
    return SendOutcome(path, "", None, False, True, "The file is not a readable DICOM file")


def file_meta(path: Path) -> FileMeta | None:
    """Return the file meta information, or None when ``path`` is no readable DICOM file."""
    try:
        with path.open("rb") as file:
            return read_file_meta(file)
    except (OSError, InvalidInstance):
        return None
