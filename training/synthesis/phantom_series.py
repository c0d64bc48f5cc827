"""A bare HU array as the DICOM CT series that a scanner would have made of it (PS3.3 A.3, A.38, A.70).

The array is (slice, row, column) in the standard frame "FPL": its indices grow toward feet, posterior and left. Every
choice that real series differ in is an option: orientation, tilt, order, transfer syntax, names, single or multi-frame.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from scipy import ndimage
from scipy.spatial.transform import Rotation

from training.synthesis.phantom_encoding import TransferSyntax, encode_frames
from training.synthesis.phantom_multiframe import enhanced_dataset, legacy_converted_dataset
from training.synthesis.phantom_options import (
    STANDARD_ORIENTATION,
    Encoding,
    Geometry,
    Identity,
    SeriesForm,
    SeriesOptions,
    SliceOrder,
)


def write_series(
    phantom_hu: NDArray[np.int16],
    spacing_mm: tuple[float, float, float],
    folder: Path,
    options: SeriesOptions | None = None,
) -> tuple[Path, ...]:
    """Write the standard-frame HU array as Part 10 files into ``folder`` (made if missing); paths in file order.

    ``spacing_mm`` is (slice, row, column). ValueError for an impossible option.
    """
    options = options or SeriesOptions()
    folder.mkdir(parents=True, exist_ok=True)
    datasets = make_series(phantom_hu, spacing_mm, options)
    paths = []
    for number, dataset in enumerate(datasets, start=1):
        path = folder / f"IM{number:05d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return tuple(paths)


def make_series(
    phantom_hu: NDArray[np.int16], spacing_mm: tuple[float, float, float], options: SeriesOptions | None = None
) -> tuple[Dataset, ...]:
    """The data sets that `write_series` writes, encoded, with File Meta Information, in file order."""
    options = options or SeriesOptions()
    volume = native_volume(phantom_hu, spacing_mm, options)
    stored = _stored_values(volume.array, options.encoding)
    slices = [index for index in range(stored.shape[0]) if index not in options.geometry.missing_slices]
    datasets = [_slice_dataset(volume, index, options) for index in slices]
    for number, dataset in zip(_instance_numbers(len(slices), options), datasets, strict=True):
        dataset.InstanceNumber = number
    if options.form is SeriesForm.SINGLE_FRAME:
        for index, dataset in zip(slices, datasets, strict=True):
            _set_pixels(dataset, stored[index : index + 1], options.encoding)
        return tuple(sorted(datasets, key=lambda dataset: int(dataset.InstanceNumber)))
    for index, dataset in zip(slices, datasets, strict=True):
        native = replace(options.encoding, transfer_syntax=TransferSyntax.EXPLICIT_LE)
        _set_pixels(dataset, stored[index : index + 1], native)
    frames = stored[slices]
    if options.form is SeriesForm.LEGACY_CONVERTED:
        whole = legacy_converted_dataset(datasets, options.identity.uid("legacy", options.identity.series))
    else:
        whole = enhanced_dataset(datasets, options.identity.uid("enhanced", options.identity.series))
    _set_pixels(whole, frames, options.encoding)
    return (whole,)


def native_volume(
    phantom_hu: NDArray[np.int16], spacing_mm: tuple[float, float, float], options: SeriesOptions | None = None
) -> highdicom.Volume:
    """The volume that the slices are cut from: axes as the options say, before slices are left out or shuffled.

    With gantry tilt the geometry is the one of the first plane; see `Geometry`.
    """
    options = options or SeriesOptions()
    geometry = options.geometry
    turn = Rotation.from_euler("xyz", geometry.oblique_degrees, degrees=True).as_matrix()
    straight = highdicom.VolumeGeometry.from_components(
        phantom_hu.shape,
        spacing=spacing_mm,
        position=geometry.position_mm,
        patient_orientation=STANDARD_ORIENTATION,
        coordinate_system="PATIENT",
    )
    affine = straight.affine.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    volume = highdicom.Volume(
        phantom_hu,
        affine=affine,
        coordinate_system="PATIENT",
        frame_of_reference_uid=options.identity.uid("frame of reference", options.identity.study),
    )
    return _oriented(volume, geometry)


def _oriented(volume: highdicom.Volume, geometry: Geometry) -> highdicom.Volume:
    """The volume with its axes permuted and flipped, then cut along tilted planes where a tilt is asked for."""
    volume = volume.to_patient_orientation(geometry.orientation)
    if geometry.gantry_tilt_degrees:
        tilt = np.deg2rad(geometry.gantry_tilt_degrees)
        slice_mm, row_mm, _ = volume.spacing
        middle = (volume.spatial_shape[1] - 1) / 2.0
        shear = np.sin(tilt) * row_mm / slice_mm
        matrix = np.array([[1.0, shear, 0.0], [0.0, np.cos(tilt), 0.0], [0.0, 0.0, 1.0]])
        offset = np.array([-shear * middle, middle * (1.0 - np.cos(tilt)), 0.0])
        tilted = ndimage.affine_transform(volume.array, matrix, offset, order=1, mode="nearest")
        volume = volume.with_array(tilted)
    return volume


def _plane(volume: highdicom.Volume, index: int, geometry: Geometry) -> tuple[list[float], list[float]]:
    """ImagePositionPatient (mm) and ImageOrientationPatient of one slice (PS3.3 C.7.6.2)."""
    slices, rows, columns = volume.unit_vectors()
    slice_mm, row_mm, _ = volume.spacing
    tilt = np.deg2rad(geometry.gantry_tilt_degrees)
    down = np.cos(tilt) * rows + np.sin(tilt) * slices
    middle = (volume.spatial_shape[1] - 1) / 2.0 * row_mm
    origin = np.asarray(volume.position) + middle * (rows - down) + index * slice_mm * slices
    return _decimals(origin), _decimals([*columns, *down])


def _decimals(values: Iterable[float]) -> list[float]:
    """Numbers that fit the 16 characters of DS (PS3.5 6.2)."""
    return [float(f"{value:.8f}") + 0.0 for value in values]


def _instance_numbers(count: int, options: SeriesOptions) -> list[int]:
    """One InstanceNumber for each slice in position order."""
    numbers = list(range(1, count + 1))
    if options.geometry.order is SliceOrder.REVERSED:
        return numbers[::-1]
    if options.geometry.order is SliceOrder.SHUFFLED:
        generator = np.random.default_rng([options.identity.seed, count])
        return [int(number) for number in generator.permutation(numbers)]
    return numbers


def _stored_values(hu: NDArray[np.int16], encoding: Encoding) -> NDArray[np.int16] | NDArray[np.uint16]:
    """HU to stored values by the inverse rescale, clipped to what the bits can hold (PS3.3 C.7.6.3)."""
    low = -(1 << (encoding.bits_stored - 1)) if encoding.signed else 0
    high = low + (1 << encoding.bits_stored) - 1
    values = np.rint((hu.astype(np.float32) - encoding.rescale_intercept) / encoding.rescale_slope)
    dtype = np.int16 if encoding.signed else np.uint16
    stored: NDArray[np.int16] | NDArray[np.uint16] = np.clip(values, low, high).astype(dtype)
    return stored


def _slice_dataset(volume: highdicom.Volume, index: int, options: SeriesOptions) -> Dataset:
    """One CT Image Storage data set without its pixels (PS3.3 A.3)."""
    dataset = Dataset()
    _set_identity(dataset, options.identity, index)
    position, orientation = _plane(volume, index, options.geometry)
    slice_mm, row_mm, column_mm = volume.spacing
    thickness = options.geometry.slice_thickness_mm
    dataset.FrameOfReferenceUID = volume.frame_of_reference_uid
    dataset.PositionReferenceIndicator = ""
    dataset.ImagePositionPatient = position
    dataset.ImageOrientationPatient = orientation
    dataset.PixelSpacing = _decimals([row_mm, column_mm])
    dataset.SliceThickness = _decimals([slice_mm if thickness is None else thickness])[0]
    dataset.GantryDetectorTilt = options.geometry.gantry_tilt_degrees
    return dataset


def _set_identity(dataset: Dataset, identity: Identity, index: int) -> None:
    """Patient, study, series, equipment and acquisition attributes of one slice."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = list(identity.image_type)
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.SOPInstanceUID = identity.uid("instance", identity.study, identity.series, index)
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, keyword, "20260102")
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(dataset, keyword, "030405")
    dataset.AccessionNumber = identity.accession_number
    dataset.Modality = "CT"
    dataset.Manufacturer = "cspine"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = identity.study_description
    dataset.SeriesDescription = identity.series_description
    dataset.ManufacturerModelName = "phantom"
    dataset.PatientName = identity.patient_name
    dataset.PatientID = identity.patient_id
    dataset.PatientBirthDate = identity.patient_birth_date
    dataset.PatientSex = identity.patient_sex
    dataset.BodyPartExamined = identity.body_part
    dataset.KVP = "120"
    dataset.DeviceSerialNumber = "1"
    dataset.SoftwareVersions = "1"
    dataset.ConvolutionKernel = identity.kernel
    dataset.PatientPosition = "HFS"
    dataset.StudyInstanceUID = identity.uid("study", identity.study)
    dataset.SeriesInstanceUID = identity.uid("series", identity.study, identity.series)
    dataset.StudyID = "1"
    dataset.SeriesNumber = identity.series_number
    dataset.AcquisitionNumber = 1


def _set_pixels(dataset: Dataset, frames: NDArray[np.int16] | NDArray[np.uint16], encoding: Encoding) -> None:
    """Image Pixel and rescale attributes, Pixel Data and File Meta Information (PS3.3 C.7.6.3, PS3.5 A)."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = frames.shape[1:]
    dataset.BitsAllocated = 16
    dataset.BitsStored = encoding.bits_stored
    dataset.HighBit = encoding.bits_stored - 1
    dataset.PixelRepresentation = int(encoding.signed)
    if "NumberOfFrames" not in dataset:
        dataset.RescaleIntercept = encoding.rescale_intercept
        dataset.RescaleSlope = encoding.rescale_slope
        dataset.RescaleType = "HU"
    encode_frames(dataset, frames, encoding.transfer_syntax)


def all_orientations() -> Sequence[str]:
    """The 48 signed axis orders as three letters, for tests that try each."""
    pairs = (("R", "L"), ("A", "P"), ("F", "H"))
    letters: list[str] = []
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        first, second, third = (pairs[axis] for axis in order)
        letters += [a + b + c for a in first for b in second for c in third]
    return tuple(letters)


__all__ = [
    "Encoding",
    "Geometry",
    "Identity",
    "SeriesForm",
    "SeriesOptions",
    "SliceOrder",
    "TransferSyntax",
    "all_orientations",
    "make_series",
    "native_volume",
    "write_series",
]
