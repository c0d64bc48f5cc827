"""Native arrays in the standard frame for pictures, by highdicom's volumes: never resampled (PS3.3 C.7.6.2)."""

from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dicom_node.result_context import SourceSeries
from dicom_node.series import STANDARD_ORIENTATION, Placement

Voxel = TypeVar("Voxel", bound=np.generic)


def hu_in_standard_frame(series: SourceSeries) -> tuple[NDArray[np.int16], tuple[float, float, float]]:
    """HU in the standard frame, a view where the series is a regular grid; spacing (slice, row, column) in mm."""
    return _oriented(series, series.placement.to_grid(series.hu))


def labels_in_standard_frame(series: SourceSeries, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A native mask in the standard frame; missing slices take the mask of the slice before them."""
    return _oriented(series, _on_grid(series.placement, labels))[0]


def _oriented(series: SourceSeries, grid: NDArray[Voxel]) -> tuple[NDArray[Voxel], tuple[float, float, float]]:
    """An array on the grid, permuted and flipped into the standard frame."""
    volume = series.placement.geometry.with_array(grid).to_patient_orientation(STANDARD_ORIENTATION)
    slice_mm, row_mm, column_mm = (float(value) for value in volume.spacing)
    return volume.array, (slice_mm, row_mm, column_mm)


def _on_grid(placement: Placement, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A native mask in the grid that holds the native slices."""
    if placement.is_whole(labels.shape):
        return labels
    grid = np.zeros(placement.geometry.spatial_shape, np.uint8)
    height, width = labels.shape[1:]
    for plane, index, row, column in zip(labels, placement.slices, placement.rows, placement.columns, strict=True):
        grid[index, row : row + height, column : column + width] = plane
    filled = sorted(placement.slices)
    for below, above in pairwise(filled):
        grid[below + 1 : above] = grid[below]
    return grid
