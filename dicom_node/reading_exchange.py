"""What the parent asks of the reading child and what the child answers: plain JSON beside an .npy file of the voxels.

Loads neither pydicom nor highdicom, for the child's sake; `dicom_node.reading_answer` checks what the child says.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dicom_node.errors import DicomNodeError
from dicom_node.grid import Grid
from dicom_node.sanitize import Header
from dicom_node.selection import SeriesVerdict
from model.findings import Limitation

ANSWER_NAME = "reading.json"
VOLUME_NAME = "volume.npy"


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """What reading one study may cost; beyond it the child ends and the study fails with READING_ABORTED.

    ``address_space_bytes`` and ``cpu_seconds`` are the child's resource limits, ``wall_seconds`` is the parent's
    patience; files, frames and voxels are counted before anything is decoded.
    """

    address_space_bytes: int = 4 << 30
    cpu_seconds: int = 300
    wall_seconds: float = 600.0
    files: int = 20_000
    frames: int = 5_000
    voxels: int = 1 << 30


@dataclass(frozen=True, slots=True)
class ReadingRequest:
    """The files of one study, where the answer goes, and the limits."""

    paths: tuple[str, ...]
    scratch: str
    limits: ReadingLimits

    def to_json(self) -> str:
        """The request as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ReadingRequest":
        """The request out of JSON that the parent wrote."""
        values = json.loads(text)
        return cls(tuple(values["paths"]), values["scratch"], ReadingLimits(**values["limits"]))


@dataclass(frozen=True, slots=True)
class ReadSeries:
    """The chosen series as the child tells of it: sanitized headers, grid and shape; its voxels are in a file.

    ``headers`` has the attributes of each native slice, or of the one multi-frame instance; ``common`` all others.
    """

    uid: str
    transfer_syntax_uid: str
    warnings: tuple[Limitation, ...]
    shape: tuple[int, int, int]
    grid: Grid
    common: Header
    headers: tuple[Header, ...]


def error_answer(error: DicomNodeError, verdicts: Sequence[SeriesVerdict], notes: Sequence[str]) -> dict[str, Any]:
    """An error as JSON values."""
    return {
        "error": {"kind": type(error).__name__, "code": error.code, "message": str(error)},
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "notes": list(notes),
    }


def reading_answer(series: ReadSeries, verdicts: Sequence[SeriesVerdict], notes: Sequence[str]) -> dict[str, Any]:
    """A reading as JSON values; its voxels are in the volume file already."""
    return {
        "series": {
            "uid": series.uid,
            "transfer_syntax_uid": series.transfer_syntax_uid,
            "warnings": [warning.name for warning in series.warnings],
            "shape": series.shape,
            "grid": asdict(series.grid),
            "common": series.common,
            "headers": series.headers,
        },
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "notes": list(notes),
    }
