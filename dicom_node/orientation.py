"""Native arrays in the standard frame, by highdicom's volumes: permuted, flipped, never resampled (PS3.3 C.7.6.2)."""

from typing import Any, TypeVar

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_node.result_context import SourceSeries

STANDARD_ORIENTATION = "FPL"
"""Indices grow toward feet, posterior, left."""

Voxel = TypeVar("Voxel", bound=np.generic)


def to_standard(series: SourceSeries, array: NDArray[Voxel]) -> tuple[NDArray[Voxel], tuple[float, float, float]]:
    """A view of a native ``array`` in the standard frame, and its spacing (slice, row, column) in mm."""
    orientation = np.array(_attribute(series.headers, 0, "ImageOrientationPatient"), float)
    column_direction, row_direction = orientation[:3], orientation[3:]
    normal = np.cross(column_direction, row_direction)
    first, last = (_attribute(series.headers, index, "ImagePositionPatient") for index in (0, -1))
    if np.dot(np.subtract(last, first, dtype=float), normal) < 0:
        normal = -normal
    axes = [_unit(normal), _unit(row_direction), _unit(column_direction)]
    volume = highdicom.Volume.from_components(
        array,
        spacing=series.spacing_mm,
        coordinate_system="PATIENT",
        position=[float(value) for value in first],
        direction=np.stack(axes, axis=1).ravel().tolist(),
    ).to_patient_orientation(STANDARD_ORIENTATION)
    slice_mm, row_mm, column_mm = volume.spacing
    return volume.array, (slice_mm, row_mm, column_mm)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """The vector at length 1, free of the rounding of headers."""
    return np.asarray(vector / np.linalg.norm(vector))


def _attribute(headers: tuple[Dataset, ...], index: int, keyword: str) -> Any:
    """A plane attribute of the first or last slice, from its header or from functional groups (PS3.3 C.7.6.16)."""
    header = headers[index]
    if keyword in header:
        return header[keyword].value
    groups = (header.PerFrameFunctionalGroupsSequence[index], header.SharedFunctionalGroupsSequence[0])
    for group in groups:
        for element in group:
            if element.VR == "SQ" and element.value and keyword in element.value[0]:
                return element.value[0][keyword].value
    raise ValueError(f"the source header has no {keyword}")
