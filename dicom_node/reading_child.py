"""The process that parses and decodes what strangers sent: ``python -m dicom_node.reading_child``, within hard limits.

It reads one request as JSON from standard input, limits itself before it opens the first file, and leaves its answer
and the voxels in the scratch folder. However it dies, the parent says so in a sentence (see `dicom_node.reading`).
"""

import errno
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from dicom_node.allowed_attributes import COMMON_ATTRIBUTES, FRAME_ATTRIBUTES, NESTED_ATTRIBUTES
from dicom_node.child_process import limit_process, unexpected
from dicom_node.errors import DicomNodeError, Ineligible, OutOfResources, ReadingAborted, UnusableSeries
from dicom_node.frames import Frame, numbers, text
from dicom_node.hu_scale import HUScale, judge
from dicom_node.pixels import write_hu
from dicom_node.reading_exchange import (
    ANSWER_NAME,
    VOLUME_NAME,
    ReadingLimits,
    ReadingRequest,
    ReadSeries,
    error_answer,
    reading_answer,
)
from dicom_node.sanitize import Header, HeaderValue, sanitize
from dicom_node.selection import Selection, SeriesVerdict, choose
from dicom_node.stacks import PlacedStack
from dicom_node.study_files import Stack, StudyFiles, check_identity, read_files, stacks_of
from model.findings import Limitation


class Reading:
    """One study on its way from files to a volume; remembers what it found for the answer, also when it fails."""

    def __init__(self, request: ReadingRequest) -> None:
        self._request = request
        self.verdicts: tuple[SeriesVerdict, ...] = ()
        self.notes: tuple[str, ...] = ()

    def run(self) -> ReadSeries:
        """Read, choose, decode; raises the errors of `dicom_node.errors`."""
        limits = self._request.limits
        if len(self._request.paths) > limits.files:
            raise UnusableSeries("The study has more files than can be analyzed.", code="TOO_LARGE")
        study = read_files([Path(path) for path in self._request.paths])
        self.notes = study.notes
        check_identity(study)
        stacks, incomplete = self._stacks(study, limits)
        selection = choose([stack.summary for stack in stacks])
        self.verdicts = selection.verdicts
        placed = _chosen(stacks, selection, self.notes)
        return self._series(placed, incomplete=selection.chosen in incomplete)

    @staticmethod
    def _stacks(study: StudyFiles, limits: ReadingLimits) -> tuple[list[Stack], set[str]]:
        """Every stack of the study, series by series in the order of their UIDs, and the incomplete series."""
        stacks: list[Stack] = []
        incomplete: set[str] = set()
        for uid in sorted(study.series):
            found, missing = stacks_of(study.series[uid], limits)
            stacks += found
            incomplete |= {uid} if missing else set()
        return stacks, incomplete

    def _series(self, placed: PlacedStack, *, incomplete: bool) -> ReadSeries:
        """The placed stack as a series, its headers sanitized, with its voxels in the volume file."""
        first = placed.frames[0]
        shape = (len(placed.frames), first.rows, first.columns)
        volume = self._volume(shape)
        write_hu(placed.frames, volume)
        self._drop_duplicates(placed)
        warnings = list(placed.warnings)
        scale = judge(volume)
        if scale is HUScale.WRONG:
            raise UnusableSeries(
                "The values are not Hounsfield units: air or soft tissue is not where it must be.", code="HU_SCALE"
            )
        if scale is HUScale.DOUBTFUL:
            warnings.append(Limitation.HU_SCALE)
        if incomplete and Limitation.MISSING_SLICES not in warnings:
            warnings.append(Limitation.MISSING_SLICES)
        dataset = first.file.dataset
        return ReadSeries(
            uid=text(dataset, "SeriesInstanceUID"),
            transfer_syntax_uid=first.file.transfer_syntax_uid,
            warnings=tuple(warnings),
            shape=shape,
            grid=placed.grid,
            common=sanitize(dataset.header(COMMON_ATTRIBUTES, NESTED_ATTRIBUTES), COMMON_ATTRIBUTES),
            headers=frame_headers(placed.frames),
        )

    def _volume(self, shape: tuple[int, int, int]) -> np.memmap[Any, np.dtype[np.int16]]:
        """An .npy file of zeros in the scratch folder whose space on disk is taken in advance."""
        path = Path(self._request.scratch) / VOLUME_NAME
        volume = np.lib.format.open_memmap(path, mode="w+", dtype=np.int16, shape=shape)
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return volume

    def _drop_duplicates(self, placed: PlacedStack) -> None:
        """Note frames at one position when they are equal; UnusableSeries when they differ."""
        for kept, other in placed.duplicates:
            pair = np.empty((2, kept.rows, kept.columns), dtype=np.int16)
            write_hu((kept, other), pair)
            if not np.array_equal(pair[0], pair[1]):
                raise UnusableSeries("Different slices lie at the same position.", code="DUPLICATE_POSITIONS")
        if placed.duplicates:
            self.notes += (f"{len(placed.duplicates)} repeated slices were dropped.",)


def _chosen(stacks: Sequence[Stack], selection: Selection, notes: Sequence[str]) -> PlacedStack:
    """The chosen stack; Ineligible when there is none, UnusableSeries when the only candidates are broken."""
    for stack in stacks:
        if (stack.summary.series_instance_uid, stack.summary.stack) == (selection.chosen, selection.stack):
            if stack.placed is not None:
                return stack.placed
            break
    reasons = tuple(dict.fromkeys(verdict.reason for verdict in selection.verdicts))
    if selection.problem_code:
        problem = next(s.summary.problem for s in stacks if s.summary.problem_code == selection.problem_code)
        raise UnusableSeries(problem, code=selection.problem_code)
    raise Ineligible(" ".join(["No series of the study can be analyzed.", *(reasons or tuple(notes))[:3]]))


def frame_headers(frames: Sequence[Frame]) -> tuple[Header, ...]:
    """The attributes of each slice of a stack, or of its one multi-frame instance, sanitized.

    Slices get the same orientation and pixel spacing, free of the rounding that scanners add: highdicom takes slices
    for one grid only when these are equal; they are, within 0.001, or the stack was split.
    """
    first = frames[0]
    if first.multi_frame:
        return (sanitize(first.file.dataset.header(FRAME_ATTRIBUTES), FRAME_ATTRIBUTES),)
    unified: dict[str, HeaderValue] = {}
    if first.plane is not None:
        raw = numbers(first.file.dataset, "ImageOrientationPatient", 6) or ()
        exact = bool(raw) and np.allclose(raw, first.plane.orientation, rtol=0.0, atol=1e-6)
        cosines = list(raw) if exact else [float(f"{value:.9f}") for value in first.plane.orientation]
        unified = {
            "ImageOrientationPatient": [f"{value:.10g}" for value in cosines],
            "PixelSpacing": [f"{value:.10g}" for value in first.plane.pixel_spacing_mm],
        }
    own = [keyword for keyword in FRAME_ATTRIBUTES if keyword not in unified]
    return tuple(sanitize({**frame.file.dataset.header(own), **unified}, FRAME_ATTRIBUTES) for frame in frames)


def limit_resources(limits: ReadingLimits) -> None:
    """Bind this process to its limits."""
    limit_process(limits.address_space_bytes, limits.cpu_seconds, 4 * limits.voxels + (1 << 30))


def answer(request: ReadingRequest) -> dict[str, Any]:
    """The answer to a request: a reading, or the error that ended it."""
    reading = Reading(request)
    try:
        return reading_answer(reading.run(), reading.verdicts, reading.notes)
    except DicomNodeError as error:
        return error_answer(error, reading.verdicts, reading.notes)
    except MemoryError:
        ending: DicomNodeError = ReadingAborted("Reading needs more memory than is allowed.", code="READING_MEMORY")
    except OSError as error:
        if error.errno == errno.ENOMEM:
            ending = ReadingAborted("Reading needs more memory than is allowed.", code="READING_MEMORY")
        else:
            ending = OutOfResources("The scratch folder cannot take the volume.")
    return error_answer(ending, reading.verdicts, reading.notes)


def main() -> None:
    """Serve one request."""
    request = ReadingRequest.from_json(sys.stdin.read())
    limit_resources(request.limits)
    path = Path(request.scratch) / ANSWER_NAME

    def say_how_it_ended(kind: type[BaseException], _: BaseException, __: TracebackType | None) -> None:
        """The name of what ended the process."""
        path.write_text(json.dumps(error_answer(unexpected(kind), (), ())), "utf-8")

    sys.excepthook = say_how_it_ended
    path.write_text(json.dumps(answer(request)), "utf-8")


if __name__ == "__main__":
    main()
