"""The files of a study: which are CT instances, whether they belong together, and the stacks they make.

Used in the reading child only.
"""

import contextlib
import errno
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dicom_node.errors import InvalidInstance, UnusableSeries
from dicom_node.frames import Frame, frames_of, numbers, text
from dicom_node.grouping import split
from dicom_node.header import is_uid
from dicom_node.instance_file import InstanceFile, NotDicom, read_instance
from dicom_node.malformed import MALFORMED
from dicom_node.pixels import pixel_problem
from dicom_node.reading_exchange import ReadingLimits
from dicom_node.selection import SeriesSummary
from dicom_node.stacks import PlacedStack, place
from dicom_node.transfer_syntaxes import STORAGE_CLASSES

_HEAD_BYTES = 64 * 1024
"""Where headers end, but for those of multi-frame instances."""
_IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_PIXEL_CODES = {
    "Pixel Data is missing or truncated": "NO_PIXEL_DATA",
    "Pixel Data is truncated": "TRUNCATED",
    "The matrix is beyond the limit": "TOO_LARGE",
}


@dataclass
class StudyFiles:
    """What was found: instances by Series Instance UID, and how many files were left out for which reason."""

    series: dict[str, list[InstanceFile]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def instances(self) -> Iterable[InstanceFile]:
        """Every readable instance."""
        return (file for files in self.series.values() for file in files)

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each reason why files were left out."""
        return tuple(
            f"{count} file{'s were' if count > 1 else ' was'} left out: {reason.rstrip('.')}."
            for reason, count in sorted(self.left_out.items())
        )


@dataclass(frozen=True, slots=True)
class Stack:
    """One stack of a series: its summary and, when it is a volume, its place in a grid."""

    summary: SeriesSummary
    placed: PlacedStack | None


def read_files(paths: Sequence[Path]) -> StudyFiles:
    """Read the headers of all files; what is no usable instance is counted by its reason.

    The kernel fetches all heads at the same time: from a cold disk that takes a quarter of the time, and the walk over
    a header that is in memory takes 0.2 ms, for which no second process is worth starting.
    """
    for path in paths:
        _fetch_head(path)
    study = StudyFiles()
    for path in paths:
        try:
            file = read_instance(path)
            series_uid = text(file.dataset, "SeriesInstanceUID")
            if not all(is_uid(text(file.dataset, keyword)) for keyword in _IDENTITY):
                raise InvalidInstance("A UID is missing or malformed")  # noqa: TRY301 - counted like the others
        except NotDicom as error:
            study.left_out[str(error)] += 1
        except InvalidInstance as error:
            study.left_out[f"The instance is malformed ({str(error).rstrip('.')})"] += 1
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise
            study.left_out["The file cannot be read"] += 1
        except MALFORMED:
            study.left_out["The instance is malformed"] += 1
        else:
            study.series.setdefault(series_uid, []).append(file)
    return study


def _fetch_head(path: Path) -> None:
    """Ask the kernel for the beginning of a file, without waiting for it."""
    with contextlib.suppress(OSError):  # reading it says what is wrong
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.posix_fadvise(descriptor, 0, _HEAD_BYTES, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)


def check_identity(study: StudyFiles) -> None:
    """UnusableSeries when the instances belong to several studies or patients (PS3.3 C.7.1.1)."""
    uids = {text(file.dataset, "StudyInstanceUID") for file in study.instances}
    if len(uids) > 1:
        raise UnusableSeries("The files belong to more than one study.", code="MIXED_STUDIES")
    patients = {text(file.dataset, "PatientID") for file in study.instances} - {""}
    names = {_name_words(text(file.dataset, "PatientName")) for file in study.instances} - {frozenset[str]()}
    strangers = bool(names) and not frozenset.intersection(*names)
    if len(patients) > 1 or strangers:
        raise UnusableSeries("The study holds instances of more than one patient.", code="MIXED_PATIENTS")


def _name_words(name: str) -> frozenset[str]:
    """The words of a person name, whatever their order and writing of separators."""
    return frozenset(name.replace("^", " ").replace("=", " ").replace(",", " ").casefold().split())


def stacks_of(files: Sequence[InstanceFile], limits: ReadingLimits) -> tuple[list[Stack], bool]:
    """The stacks of one series, and whether instances of it had to be left out because their pixels are incomplete."""
    first = files[0].dataset
    if text(first, "Modality") != "CT" or text(first, "SOPClassUID") not in STORAGE_CLASSES:
        return [Stack(_summary(files[0], slices=len(files)), None)], False
    frames: list[Frame] = []
    problems: Counter[str] = Counter()
    for file in sorted(files, key=lambda item: (text(item.dataset, "SOPInstanceUID"), str(item.path))):
        try:
            found = frames_of(file, limits.frames)
        except InvalidInstance as error:
            problems[str(error)] += 1
            continue
        problem = pixel_problem(file, len(found))
        if problem:
            problems[problem] += 1
        else:
            frames += found
    if not frames:
        problem = problems.most_common(1)[0][0]
        code = _PIXEL_CODES.get(problem, "UNUSABLE_SERIES")
        return [Stack(_summary(files[0], problem=f"{problem}.", problem_code=code), None)], True
    stacks = [_stack(group, number, limits) for number, group in enumerate(split(frames))]
    return stacks, bool(problems)


def _stack(frames: Sequence[Frame], number: int, limits: ReadingLimits) -> Stack:
    """One stack placed in its grid, or with the sentence that says why it cannot be."""
    problem, code, placed = "", "", None
    first = frames[0]
    if first.plane is None:
        problem, code = "Its slices have no valid position, orientation or pixel spacing.", "NO_POSITION"
    elif not is_uid(first.frame_of_reference_uid):
        problem, code = "Its slices have no frame of reference.", "NO_FRAME_OF_REFERENCE"
    elif len(frames) > limits.frames or len(frames) * first.rows * first.columns > limits.voxels:
        problem, code = "It has more voxels than can be analyzed.", "TOO_LARGE"
    elif any(frame.rescale is None for frame in frames):
        problem, code = "Rescale Slope or Rescale Intercept is missing.", "NO_RESCALE"
    elif len(frames) > 1:
        try:
            placed = _placed(frames)
        except UnusableSeries as error:
            problem, code = str(error), error.code
    return Stack(_stack_summary(frames, number, placed, (problem, code)), placed)


def _placed(frames: Sequence[Frame]) -> PlacedStack:
    """The placed stack; UnusableSeries when results could not refer to each of its slices."""
    placed = place(frames)
    file = frames[0].file
    if frames[0].multi_frame and (numbers(file.dataset, "NumberOfFrames", 1) or (1.0,))[0] != len(frames):
        raise UnusableSeries("The multi-frame instance holds more than one stack.", code="ENHANCED_UNSUPPORTED")
    uids = [text(frame.file.dataset, "SOPInstanceUID") for frame in placed.frames]
    if not frames[0].multi_frame and len(set(uids)) != len(uids):
        raise UnusableSeries("Different slices have the same SOP Instance UID.", code="DUPLICATE_UID")
    return placed


def _stack_summary(
    frames: Sequence[Frame], number: int, placed: PlacedStack | None, problem: tuple[str, str]
) -> SeriesSummary:
    """The facts of a stack that selection needs."""
    first = frames[0]
    spacing = (0.0, 0.0, 0.0)
    degrees = 0.0
    if first.plane is not None:
        spacing = (0.0, *first.plane.pixel_spacing_mm)
        degrees = _degrees_from_axial(first.plane.orientation)
    if placed is not None:
        spacing = placed.grid.spacing_mm
    return _summary(
        first.file,
        stack=number,
        slices=len(frames) if placed is None else len(placed.frames),
        spacing_mm=spacing,
        degrees_from_axial=degrees,
        kernel=first.kernel,
        image_type=first.image_type,
        unit="" if first.rescale is None else first.rescale.unit,
        problem=problem[0],
        problem_code=problem[1],
    )


def _summary(file: InstanceFile, **facts: object) -> SeriesSummary:
    """A summary with the facts of a file's header and these."""
    dataset = file.dataset
    number = numbers(dataset, "SeriesNumber", 1) or (0.0,)
    values: dict[str, object] = {
        "series_instance_uid": text(dataset, "SeriesInstanceUID"),
        "modality": text(dataset, "Modality"),
        "sop_class_uid": text(dataset, "SOPClassUID"),
        "image_type": tuple(text(dataset, "ImageType").split()),
        "body_part": text(dataset, "BodyPartExamined"),
        "description": f"{text(dataset, 'SeriesDescription')} {text(dataset, 'ProtocolName')}",
        "series_number": int(number[0]),
    }
    return SeriesSummary(**{**values, **facts})  # type: ignore[arg-type] # the keys are the fields named above


def _degrees_from_axial(orientation: tuple[float, ...]) -> float:
    """The angle between the plane's normal and the patient's long axis."""
    normal = np.cross(orientation[:3], orientation[3:])
    return float(np.degrees(np.arccos(min(1.0, abs(float(normal[2]))))))
