"""What geometry and selection need to know of one CT frame, read from its header and validated (PS3.3 C.7.6.2)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dicom_node.encoded_data_set import EncodedDataSet
from dicom_node.errors import InvalidInstance
from dicom_node.instance_file import InstanceFile

MULTI_FRAME_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"})
_COSINE_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Plane:
    """Where a frame lies: position (mm), unit cosines of rows then columns, pixel spacing (row, column) in mm."""

    position: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]
    pixel_spacing_mm: tuple[float, float]
    thickness_mm: float | None


@dataclass(frozen=True, slots=True)
class Rescale:
    """HU = slope × stored value + intercept (PS3.3 C.11.1.1.2); ``unit`` is Rescale Type, empty when unsaid."""

    slope: float
    intercept: float
    unit: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of one file; ``plane`` and ``rescale`` are None where the header lacks or garbles them."""

    file: InstanceFile
    index: int
    plane: Plane | None
    rescale: Rescale | None
    rows: int
    columns: int
    frame_of_reference_uid: str
    acquisition: str
    kernel: str
    image_type: tuple[str, ...]

    @property
    def multi_frame(self) -> bool:
        """Whether the frame is one of several in its file."""
        return text(self.file.dataset, "SOPClassUID") in MULTI_FRAME_CLASSES


def text(dataset: EncodedDataSet, keyword: str) -> str:
    """The attribute as stripped text, empty when it is missing; several values joined by spaces."""
    return " ".join(str(value).strip(" \0") for value in dataset.values(keyword) or ())


def numbers(dataset: EncodedDataSet, keyword: str, count: int) -> tuple[float, ...] | None:
    """The attribute as exactly ``count`` finite numbers, or None."""
    values = dataset.values(keyword)
    if values is None or len(values) != count:
        return None
    texts = [str(value).strip(" \0") for value in values]
    if any("_" in item for item in texts):  # a number for Python, not for DICOM
        return None
    try:
        result = tuple(float(item) for item in texts)
    except ValueError:
        return None
    return result if all(math.isfinite(item) and abs(item) < 1e7 for item in result) else None


def frames_of(file: InstanceFile, maximum_frames: int) -> list[Frame]:
    """The frames of a file; InvalidInstance when it claims more than ``maximum_frames`` or lacks their description."""
    dataset = file.dataset
    if text(dataset, "SOPClassUID") not in MULTI_FRAME_CLASSES:
        return [_frame(file, 0, (dataset,))]
    count = numbers(dataset, "NumberOfFrames", 1) or (1.0,)
    if not 1 <= count[0] <= maximum_frames:
        raise InvalidInstance("Number of Frames is beyond the limit")
    groups = dataset.items("PerFrameFunctionalGroupsSequence")
    if len(groups) != int(count[0]):
        raise InvalidInstance("The functional groups do not match the Number of Frames")
    shared = dataset.items("SharedFunctionalGroupsSequence")[:1]
    common = (*(part for group in shared for part in group.first_items()), dataset)
    return [_frame(file, index, (*group.first_items(), *common)) for index, group in enumerate(groups)]


def _frame(file: InstanceFile, index: int, parts: Sequence[EncodedDataSet]) -> Frame:
    """One frame whose attributes are looked up in ``parts``, the nearest first."""

    def holder(keyword: str) -> EncodedDataSet:
        return next((part for part in parts if keyword in part), file.dataset)

    image_type = text(holder("FrameType"), "FrameType") or text(file.dataset, "ImageType")
    return Frame(
        file=file,
        index=index,
        plane=_plane(*(holder(keyword) for keyword in _PLANE_KEYWORDS)),
        rescale=_rescale(holder("RescaleSlope")),
        rows=file.dataset.integer("Rows") or 0,
        columns=file.dataset.integer("Columns") or 0,
        frame_of_reference_uid=text(file.dataset, "FrameOfReferenceUID"),
        acquisition=text(file.dataset, "AcquisitionNumber"),
        kernel=text(holder("ConvolutionKernel"), "ConvolutionKernel"),
        image_type=tuple(image_type.split()),
    )


_PLANE_KEYWORDS = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")


def _plane(
    position: EncodedDataSet, orientation: EncodedDataSet, spacing: EncodedDataSet, thickness: EncodedDataSet
) -> Plane | None:
    """The plane that four header parts describe, or None unless it is complete and possible."""
    where = numbers(position, "ImagePositionPatient", 3)
    cosines = numbers(orientation, "ImageOrientationPatient", 6)
    pixel = numbers(spacing, "PixelSpacing", 2)
    if where is None or cosines is None or pixel is None or min(pixel) < 0.01 or max(pixel) > 20.0:
        return None
    unit = _orthonormal(cosines)
    if unit is None:
        return None
    thick = numbers(thickness, "SliceThickness", 1)
    measured = thick[0] if thick is not None and 0.0 < thick[0] < 100.0 else None
    return Plane((where[0], where[1], where[2]), unit, (pixel[0], pixel[1]), measured)


def _orthonormal(cosines: Sequence[float]) -> tuple[float, float, float, float, float, float] | None:
    """The cosines freed of the rounding that headers carry, or None when they are no direction cosines."""
    rows, columns = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = np.linalg.norm(rows), np.linalg.norm(columns)
    if max(abs(length - 1.0) for length in lengths) > _COSINE_TOLERANCE or abs(rows @ columns) > _COSINE_TOLERANCE:
        return None
    rows = rows / lengths[0]
    columns = columns - (columns @ rows) * rows
    columns = columns / np.linalg.norm(columns)
    values = [float(value) for value in (*rows, *columns)]
    return values[0], values[1], values[2], values[3], values[4], values[5]


def _rescale(part: EncodedDataSet) -> Rescale | None:
    """The rescale of a header part, or None when slope or intercept is missing, not finite or zero."""
    slope = numbers(part, "RescaleSlope", 1)
    intercept = numbers(part, "RescaleIntercept", 1)
    if slope is None or intercept is None or slope[0] == 0.0:
        return None
    return Rescale(slope[0], intercept[0], text(part, "RescaleType").upper())
