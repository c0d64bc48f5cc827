"""The parent's side of a reading child's answer: the headers, the grid and the voxels, checked, as a `StudyReading`.

The child has read what strangers wrote, so nothing of its answer is taken on trust: every value is checked and the
headers are sanitized again.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.tag import Tag

from dicom_node.allowed_attributes import COMMON_ATTRIBUTES, FRAME_ATTRIBUTES
from dicom_node.attributes import ATTRIBUTES
from dicom_node.errors import DicomNodeError, Ineligible, OutOfResources, ReadingAborted, ReadingError, UnusableSeries
from dicom_node.geometry import placement_of
from dicom_node.grid import Grid
from dicom_node.header import is_uid
from dicom_node.header_data_set import KnownElements, data_set_of
from dicom_node.reading_exchange import ANSWER_NAME, VOLUME_NAME
from dicom_node.sanitize import Header
from dicom_node.selection import SeriesVerdict
from dicom_node.series import CTSeries
from dicom_node.transfer_syntaxes import STORAGE_SYNTAXES
from model.findings import Limitation

MAXIMUM_ANSWER_BYTES = 256 * 1024 * 1024
MAXIMUM_SENTENCE = 300
_ERRORS: Mapping[str, type[DicomNodeError]] = {
    error.__name__: error for error in (Ineligible, UnusableSeries, ReadingAborted, OutOfResources)
}


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


def parse_answer(scratch: Path) -> StudyReading:
    """The child's answer as a reading, or the error that it reports; ReadingAborted when it is no answer at all."""
    try:
        answer = _load(scratch / ANSWER_NAME)
        verdicts = tuple(_verdict(item) for item in answer["verdicts"])
        notes = tuple(_sentence(note) for note in answer["notes"])
        if "error" in answer:
            raise _error(answer["error"], verdicts, notes)
        return StudyReading(_series(answer["series"], scratch / VOLUME_NAME), verdicts, notes)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, OSError, RecursionError) as error:
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
    known: KnownElements = {}
    common = data_set_of(item["common"], COMMON_ATTRIBUTES, known)
    headers = tuple(_header(common, header, known) for header in item["headers"])
    if len(headers) != hu.shape[0] and not (len(headers) == 1 and "PerFrameFunctionalGroupsSequence" in common):
        raise ValueError("there is no header for each slice")
    if item["uid"] != common.SeriesInstanceUID or item["transfer_syntax_uid"] not in STORAGE_SYNTAXES:
        raise ValueError("the series has no identity")
    return CTSeries(
        hu=hu,
        placement=placement_of(_grid(item["grid"], hu)),
        headers=headers,
        series_instance_uid=str(common.SeriesInstanceUID),
        transfer_syntax_uid=str(item["transfer_syntax_uid"]),
        warnings=tuple(Limitation[name] for name in item["warnings"]),
    )


def _header(common: Dataset, frame: Header, known: KnownElements) -> Dataset:
    """One header: the attributes of the series and those of the frame."""
    header = data_set_of(frame, FRAME_ATTRIBUTES, known)
    elements = {**dict(common.items()), **dict(header.items())}
    if "PerFrameFunctionalGroupsSequence" in common:
        for keyword in _PLANE:
            elements.pop(Tag(ATTRIBUTES[keyword].tag), None)
    return Dataset(elements)


_PLANE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")


def _grid(item: Mapping[str, Any], hu: NDArray[np.int16]) -> Grid:
    """The grid, checked to be possible and to hold the slices."""
    px, py, pz = _numbers(item["position"])
    rx, ry, rz, cx, cy, cz = _numbers(item["orientation"])
    row_mm, column_mm = _numbers(item["pixel_spacing_mm"])
    (slice_mm,) = _numbers([item["slice_spacing_mm"]])
    axes = np.array([[rx, ry, rz], [cx, cy, cz]])
    if min(slice_mm, row_mm, column_mm) <= 0.0 or not np.allclose(axes @ axes.T, np.eye(2), rtol=0.0, atol=1e-6):
        raise ValueError("the plane is no plane")
    uid = item["frame_of_reference_uid"]
    slices, rows, columns = (tuple(int(value) for value in item[name]) for name in ("slices", "rows", "columns"))
    grid = Grid(
        position=(px, py, pz),
        orientation=(rx, ry, rz, cx, cy, cz),
        pixel_spacing_mm=(row_mm, column_mm),
        slice_spacing_mm=slice_mm,
        matrix=(hu.shape[1], hu.shape[2]),
        frame_of_reference_uid=uid if is_uid(uid) else "",
        slices=slices,
        rows=rows,
        columns=columns,
    )
    for values in (grid.slices, grid.rows, grid.columns):
        if len(values) != hu.shape[0] or min(values) < 0:
            raise ValueError("a slice lies outside of the grid")
    if len(set(grid.slices)) != len(grid.slices) or min(grid.slices):
        raise ValueError("slices share a place, or none is the first")
    if math.prod(grid.shape) > 4 * hu.size + 64 * math.prod(hu.shape[1:]):
        raise ValueError("the grid is out of proportion")
    return grid


def _numbers(values: Sequence[object]) -> tuple[float, ...]:
    """Finite numbers."""
    numbers = tuple(float(str(value)) for value in values)
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("a number is not finite")
    return numbers
