"""What the parent asks of the reading child and what the child answers: plain JSON beside an .npy file of the voxels.

The child has read what strangers wrote, so the parent takes nothing of the answer on trust: every value is checked and
the headers are sanitized again.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_node.allowed_attributes import COMMON_ATTRIBUTES, FRAME_ATTRIBUTES
from dicom_node.errors import DicomNodeError, Ineligible, OutOfResources, ReadingAborted, ReadingError, UnusableSeries
from dicom_node.header import is_uid
from dicom_node.sanitize import sanitize
from dicom_node.selection import SeriesVerdict
from dicom_node.series import CTSeries, Placement
from dicom_node.transfer_syntaxes import STORAGE_SYNTAXES
from model.findings import Limitation

ANSWER_NAME = "reading.json"
VOLUME_NAME = "volume.npy"
MAXIMUM_ANSWER_BYTES = 256 * 1024 * 1024
MAXIMUM_SENTENCE = 300
_ERRORS: Mapping[str, type[DicomNodeError]] = {
    error.__name__: error for error in (Ineligible, UnusableSeries, ReadingAborted, OutOfResources)
}


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
class StudyReading:
    """The chosen series of a study, a verdict for each series, and sentences about files that were left out."""

    series: CTSeries
    verdicts: tuple[SeriesVerdict, ...]
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[Limitation, ...]:
        """What is to be shown with every finding."""
        return self.series.warnings


def error_answer(error: DicomNodeError, verdicts: Sequence[SeriesVerdict], notes: Sequence[str]) -> dict[str, Any]:
    """An error as JSON values."""
    return {
        "error": {"kind": type(error).__name__, "code": error.code, "message": str(error)},
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "notes": list(notes),
    }


def reading_answer(reading: StudyReading) -> dict[str, Any]:
    """A reading as JSON values; its voxels are in the volume file already."""
    series = reading.series
    common = sanitize(series.headers[0], COMMON_ATTRIBUTES)
    geometry = series.geometry
    return {
        "series": {
            "uid": series.series_instance_uid,
            "transfer_syntax_uid": series.transfer_syntax_uid,
            "warnings": [warning.name for warning in series.warnings],
            "shape": list(series.hu.shape),
            "grid_shape": list(geometry.spatial_shape),
            "affine": geometry.affine.tolist(),
            "frame_of_reference_uid": geometry.frame_of_reference_uid,
            "slices": list(series.placement.slices),
            "rows": list(series.placement.rows),
            "columns": list(series.placement.columns),
            "common": common.to_json_dict(),
            "headers": [sanitize(header, FRAME_ATTRIBUTES).to_json_dict() for header in series.headers],
        },
        "verdicts": [asdict(verdict) for verdict in reading.verdicts],
        "notes": list(reading.notes),
    }


def parse_answer(scratch: Path) -> StudyReading:
    """The child's answer as a reading, or the error that it reports; ReadingAborted when it is no answer at all."""
    try:
        answer = _load(scratch / ANSWER_NAME)
        verdicts = tuple(_verdict(item) for item in answer["verdicts"])
        notes = tuple(_sentence(note) for note in answer["notes"])
        if "error" in answer:
            raise _error(answer["error"], verdicts, notes)
        return StudyReading(_series(answer["series"], scratch / VOLUME_NAME), verdicts, notes)
    except (ValueError, TypeError, LookupError, AttributeError, OSError) as error:
        raise ReadingAborted("The reading process gave no usable answer.") from error


def _load(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAXIMUM_ANSWER_BYTES:
        raise ValueError("the answer is too long")
    answer = json.loads(path.read_text("utf-8"))
    if not isinstance(answer, dict):
        raise TypeError("the answer is no object")
    return answer


def _verdict(item: Mapping[str, Any]) -> SeriesVerdict:
    uid = str(item["series_instance_uid"])
    return SeriesVerdict(
        uid if is_uid(uid) else "", item["chosen"] is True, _sentence(item["reason"]), int(item["stack"])
    )


def _sentence(text: object) -> str:
    """A sentence of the child, cut and free of control characters."""
    return "".join(character for character in str(text)[:MAXIMUM_SENTENCE] if character.isprintable())


def _error(item: Mapping[str, Any], verdicts: tuple[SeriesVerdict, ...], notes: tuple[str, ...]) -> DicomNodeError:
    code = "".join(
        character for character in str(item["code"])[:40] if character.isupper() or character in "_0123456789"
    )
    error = _ERRORS[item["kind"]](_sentence(item["message"]), code=code or None)
    if isinstance(error, ReadingError):
        error.verdicts = verdicts
        error.notes = notes
    return error


def _series(item: Mapping[str, Any], volume_path: Path) -> CTSeries:
    """The series that the answer describes, with voxels mapped from the volume file."""
    shape = tuple(int(size) for size in item["shape"])
    hu = np.load(volume_path, mmap_mode="c", allow_pickle=False)
    if hu.dtype != np.int16 or hu.shape != shape or hu.ndim != 3 or not hu.flags.c_contiguous:
        raise ValueError("the volume is not what the answer says")
    common = sanitize(Dataset.from_json(item["common"]), COMMON_ATTRIBUTES)
    headers = tuple(_header(common, header) for header in item["headers"])
    if len(headers) != hu.shape[0] and not (len(headers) == 1 and "PerFrameFunctionalGroupsSequence" in common):
        raise ValueError("there is no header for each slice")
    if item["uid"] != common.SeriesInstanceUID or item["transfer_syntax_uid"] not in STORAGE_SYNTAXES:
        raise ValueError("the series has no identity")
    return CTSeries(
        hu=hu,
        placement=_placement(item, hu),
        headers=headers,
        series_instance_uid=str(common.SeriesInstanceUID),
        transfer_syntax_uid=str(item["transfer_syntax_uid"]),
        warnings=tuple(Limitation[name] for name in item["warnings"]),
    )


def _header(common: Dataset, frame: Mapping[str, Any]) -> Dataset:
    """One header: the attributes of the series and those of the frame."""
    header = Dataset()
    header.update(common)
    header.update(sanitize(Dataset.from_json(dict(frame)), FRAME_ATTRIBUTES))
    if "PerFrameFunctionalGroupsSequence" in header:
        for keyword in [name for name in _PLANE if name in header]:
            delattr(header, keyword)
    return header


_PLANE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")


def _placement(item: Mapping[str, Any], hu: NDArray[np.int16]) -> Placement:
    """The placement, checked to lie inside its grid."""
    affine = np.array(item["affine"], dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise ValueError("the affine is no affine")
    shape = tuple(int(size) for size in item["grid_shape"])
    parts = [tuple(int(value) for value in item[name]) for name in ("slices", "rows", "columns")]
    for values, size, extent in zip(parts, shape, (1, *hu.shape[1:]), strict=True):
        if len(values) != hu.shape[0] or min(values) < 0 or max(values) + extent > size:
            raise ValueError("a slice lies outside of the grid")
    if math.prod(shape) > 4 * hu.size + 64 * math.prod(hu.shape[1:]) or len(set(parts[0])) != len(parts[0]):
        raise ValueError("the grid is out of proportion")
    uid = item["frame_of_reference_uid"]
    geometry = highdicom.VolumeGeometry(
        affine, shape, coordinate_system="PATIENT", frame_of_reference_uid=uid if uid and is_uid(uid) else None
    )
    return Placement(geometry, *parts)
