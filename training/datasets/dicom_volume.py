"""A CT study for training, read by the code that serves, and masks of its native slices in the standard frame.

Data sets come with less than a PACS sends: instances without SOP class, modality or frame of reference. These are
filled in in copies, so that the serving code reads them; nothing else is changed.
"""

import errno
from collections.abc import Iterable, Sequence
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage, generate_uid

from dicom_node.errors import DicomNodeError, OutOfResources
from dicom_node.frames import frames_of
from dicom_node.instance_file import read_instance
from dicom_node.malformed import MALFORMED
from dicom_node.pixels import pixel_problem, write_hu
from dicom_node.reading import StudyReading, read_study
from dicom_node.series import STANDARD_ORIENTATION, CTSeries
from model.findings import Limitation
from training.datasets.nifti import StandardGrid
from training.datasets.studies import DataSetError

ADVICE = "get the file again or name the study in leave_out"
MAXIMUM_FRAMES = 5_000
_FILLED = ("SOPClassUID", "Modality", "FrameOfReferenceUID")


def read_header(path: Path, *keywords: str) -> Dataset:
    """Some attributes of an instance; ``DataSetError`` when the file is none."""
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(keywords))
    except (OSError, InvalidDicomError, *MALFORMED) as error:
        raise DataSetError(f"{path} cannot be read as DICOM ({_reason(error)}): {ADVICE}") from error


def read_ct(paths: Sequence[Path], scratch: Path) -> CTSeries:
    """The CT series that serving would choose among these files of one study, mapped from ``scratch``.

    Raises ``DataSetError`` that names every broken file, or the study's folder and what is wrong with it; ``OSError``
    when ``scratch`` cannot be written.
    """
    files = completed(paths, scratch / "completed")
    try:
        reading = read_study(files, scratch / "reading")
    except OutOfResources as error:
        raise OSError(errno.ENOSPC, f"{error} Free some space and go on", str(scratch)) from error
    except DicomNodeError as error:
        _raise_for_broken(paths, files)
        raise DataSetError(f"{paths[0].parent} cannot be read: {error} Name the study in leave_out") from error
    if _may_be_broken(reading):
        _raise_for_broken(paths, files)
    return reading.series


def completed(paths: Iterable[Path], folder: Path) -> list[Path]:
    """The files, or copies in ``folder`` of those that lack what serving needs; ``DataSetError`` for a broken one."""
    files = []
    for number, path in enumerate(paths, start=1):
        header = read_header(path, *_FILLED)
        if all(header.get(keyword) for keyword in _FILLED):
            files.append(path)
            continue
        folder.mkdir(parents=True, exist_ok=True)
        files.append(folder / f"{number:05d}.dcm")
        try:
            _complete(pydicom.dcmread(path)).save_as(files[-1], enforce_file_format=True)
        except MALFORMED as error:
            raise DataSetError(f"{path} cannot be read as DICOM ({_reason(error)}): {ADVICE}") from error
    return files


def _complete(dataset: Dataset) -> Dataset:
    series_uid = str(dataset.get("SeriesInstanceUID", ""))
    frame_of_reference = generate_uid(entropy_srcs=["frame of reference", series_uid])
    for keyword, value in zip(_FILLED, (CTImageStorage, "CT", frame_of_reference), strict=True):
        if not dataset.get(keyword):
            setattr(dataset, keyword, value)
    return dataset


def _may_be_broken(reading: StudyReading) -> bool:
    """Whether serving made do with less than all files."""
    return bool(reading.notes) or Limitation.MISSING_SLICES in reading.warnings


def _raise_for_broken(paths: Sequence[Path], files: Sequence[Path]) -> None:
    """``DataSetError`` with every path whose file cannot be decoded, if there is one."""
    problems = [(path, _problem(file)) for path, file in zip(paths, files, strict=True)]
    told = [f"{path} cannot be decoded ({problem}): {ADVICE}" for path, problem in problems if problem]
    if told:
        raise DataSetError(*told)


def _problem(path: Path) -> str:
    """Why the pixels of a file cannot be read; empty when they can, or when it lacks more than its pixels."""
    try:
        file = read_instance(path)
        frames = frames_of(file, MAXIMUM_FRAMES)
        problem = pixel_problem(file, len(frames))
        if not problem and frames[0].rescale is not None:
            write_hu(frames, np.empty((len(frames), frames[0].rows, frames[0].columns), dtype=np.int16))
    except (DicomNodeError, OSError, *MALFORMED) as error:
        return _reason(error)
    return problem


def _reason(error: Exception) -> str:
    """An error of ours in words; of others, whose texts may hold a patient's data, the name alone."""
    return str(error).rstrip(".") if isinstance(error, DicomNodeError) else type(error).__name__


def standard_grid(series: CTSeries) -> StandardGrid:
    """The grid of ``series.to_standard()``."""
    placeholder = np.broadcast_to(np.zeros(1, dtype=np.uint8), series.geometry.spatial_shape)
    geometry = series.geometry.with_array(placeholder).to_patient_orientation(STANDARD_ORIENTATION).get_geometry()
    first, second, third = geometry.spatial_shape
    return StandardGrid((first, second, third), np.array(geometry.affine))


def mask_to_standard(series: CTSeries, native: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask of the native slices in the standard frame; where slices are missing it is that of the nearest one."""
    placement = series.placement
    grid = np.zeros(series.geometry.spatial_shape, dtype=np.uint8)
    height, width = native.shape[1:]
    slices = np.array(placement.slices)
    for index, target in enumerate(grid):
        nearest = int(np.abs(slices - index).argmin())
        row, column = placement.rows[nearest], placement.columns[nearest]
        target[row : row + height, column : column + width] = native[nearest]
    volume: highdicom.Volume = series.geometry.with_array(grid)
    standard: NDArray[np.uint8] = np.ascontiguousarray(volume.to_patient_orientation(STANDARD_ORIENTATION).array)
    return standard
