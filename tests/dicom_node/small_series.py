"""A small head-and-neck-like block of HU as a DICOM series, and how it is read in this process or in the child."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset, config
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.allowed_attributes import COMMON_ATTRIBUTES, FRAME_ATTRIBUTES, NESTED_ATTRIBUTES
from dicom_node.elements import Walk
from dicom_node.encoded_data_set import EncodedDataSet
from dicom_node.header_data_set import data_set_of
from dicom_node.reading_answer import StudyReading, parse_answer
from dicom_node.reading_child import answer
from dicom_node.reading_exchange import ANSWER_NAME, ReadingLimits, ReadingRequest
from dicom_node.sanitize import sanitize
from training.synthesis.phantom_series import SeriesOptions, make_series

SPACING_MM = (1.0, 0.9, 0.8)


def small_hu(shape: tuple[int, int, int] = (48, 44, 40), seed: int = 0) -> NDArray[np.int16]:
    """Air, a cylinder of soft tissue, and an asymmetric bone inside; standard frame."""
    slices, rows, columns = shape
    generator = np.random.default_rng(seed)
    hu = np.full(shape, -1000, dtype=np.int16)
    hu[:, rows // 8 : -rows // 8, columns // 6 : -columns // 6] = 40
    hu[slices // 4 : slices // 2, rows // 4 : rows // 3, columns // 3 : columns // 2] = 900
    hu[slices // 3, rows // 2, columns // 4] = 1500
    noise: NDArray[np.int16] = generator.integers(-20, 20, shape, dtype=np.int16)
    return hu + noise


def write(datasets: Sequence[Dataset], folder: Path) -> tuple[Path, ...]:
    """Write data sets as Part 10 files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04d}.dcm" for number in range(len(datasets))]
    for dataset, path in zip(datasets, paths, strict=True):
        dataset.save_as(path, enforce_file_format=True)
    return tuple(paths)


def write_changed(folder: Path, change: Callable[[int, Dataset], None], options: SeriesOptions | None = None) -> Path:
    """A small series written after ``change`` was made to every data set (by its index in position order)."""
    datasets = sorted(
        make_series(small_hu(), SPACING_MM, options), key=lambda dataset: -float(dataset.ImagePositionPatient[2])
    )
    for index, dataset in enumerate(datasets):
        change(index, dataset)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3")
    write(datasets, folder)
    return folder


def read_here(paths: Sequence[Path], scratch: Path, limits: ReadingLimits | None = None) -> StudyReading:
    """Read in this process, without the child's resource limits, with its answer written, parsed and checked."""
    scratch.mkdir(parents=True, exist_ok=True)
    request = ReadingRequest(tuple(str(path) for path in paths), str(scratch), limits or ReadingLimits())
    (scratch / ANSWER_NAME).write_text(json.dumps(answer(request)))
    return parse_answer(scratch)


def files_of(folder: Path) -> list[Path]:
    """The files of a folder in order."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def reread(path: Path) -> Dataset:
    """A data set out of a file."""
    return pydicom.dcmread(path)


def encoded(dataset: Dataset, *, implicit: bool = False) -> EncodedDataSet:
    """A data set as the reading child sees it: every element of its bytes, in UTF-8 unless it says otherwise."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
    if "SpecificCharacterSet" not in dataset:
        dataset = Dataset(dict(dataset.items()))
        dataset.SpecificCharacterSet = "ISO_IR 192"
    with config.disable_value_validation():
        write_dataset(buffer, dataset)
    view = memoryview(buffer.getvalue())
    walk = Walk(view, str(ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian))
    elements = {
        element.tag: (element.vr, bytes(view[element.start : element.end])) for element in walk.elements(whole=True)
    }
    return EncodedDataSet(elements, explicit=not implicit)


def sanitized(dataset: Dataset) -> Dataset:
    """A header as it comes out of the reading child and its parent."""
    attributes = (*COMMON_ATTRIBUTES, *FRAME_ATTRIBUTES)
    header = sanitize(encoded(dataset).header(attributes, NESTED_ATTRIBUTES), attributes)
    return data_set_of(header, attributes, {})
