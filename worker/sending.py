"""``cspine send`` and the demo's sender: a folder of DICOM files to a peer by C-STORE."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.node import Peer
from dicom_node.scu import SendOutcome, send
from worker.errors import StartupError


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a folder: how many instances were accepted, of which studies, and why others were not."""

    accepted: int
    files: int
    study_instance_uids: tuple[str, ...]
    refusals: tuple[str, ...]


def files_below(folder: Path) -> Sequence[Path]:
    """The files below a folder (or the one file), sorted; raises ``StartupError`` when there is none."""
    files = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise StartupError(f"{folder} holds no files: name a folder with the DICOM files of one study")
    return files


def send_folder(folder: Path, peer: Peer, ae_title: str) -> Sent:
    """Send every DICOM file below ``folder``; other files are named among the refusals.

    Raises ``PeerError`` when the association fails, ``StartupError`` when there is nothing to send.
    """
    files = files_below(folder)
    studies: dict[Path, str] = {}
    refusals = []
    for path in files:
        try:
            studies[path] = str(
                dcmread(path, specific_tags=["StudyInstanceUID"], stop_before_pixels=True).StudyInstanceUID
            )
        except (InvalidDicomError, AttributeError, OSError):
            refusals.append(f"{path.name}: not a DICOM file with a Study Instance UID")
    if not studies:
        raise StartupError(f"{folder} holds no DICOM files")
    outcomes = send(list(studies), peer, ae_title)
    refusals += [f"{outcome.path.name}: {_reason(outcome)}" for outcome in outcomes if not outcome.accepted]
    accepted = [outcome.path for outcome in outcomes if outcome.accepted]
    uids = tuple(dict.fromkeys(studies[path] for path in accepted))
    return Sent(len(accepted), len(files), uids, tuple(refusals))


def _reason(outcome: SendOutcome) -> str:
    status = "no answer" if outcome.status is None else f"status 0x{outcome.status:04X}"
    return f"{status} {outcome.comment or ''}".strip()
