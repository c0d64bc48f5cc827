"""A CT series as a volume of HU with its geometry: out to the standard orientation, and masks home again.

Arrays are (slice, row, column). The native frame holds the source's own slices; the standard frame is "FPL": indices
grow toward feet, posterior and left. Geometry is highdicom's; nothing is resampled, so masks come home voxel by voxel.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_node.hu_scale import AIR_HU
from model.findings import Limitation

STANDARD_ORIENTATION = "FPL"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the native slices lie in a regular grid.

    Most series are the grid. Where slices are missing, the grid has slices that no native slice fills; where the gantry
    was tilted, each slice is shifted in its plane by whole pixels (at most half a pixel from its true place) inside
    a grid that is large enough for all. ``slices``, ``rows`` and ``columns`` are the grid index of the first voxel of
    each native slice.
    """

    geometry: highdicom.VolumeGeometry
    slices: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    def is_whole(self, shape: tuple[int, ...]) -> bool:
        """Whether a native array of this shape is the grid itself."""
        return self.geometry.spatial_shape == shape and self.slices == tuple(range(shape[0]))

    def to_grid(self, hu: NDArray[np.int16]) -> NDArray[np.int16]:
        """The native array in the grid; missing slices are interpolated between their neighbors."""
        if self.is_whole(hu.shape):
            return hu
        grid = np.full(self.geometry.spatial_shape, AIR_HU, dtype=np.int16)
        height, width = hu.shape[1:]
        for plane, index, row, column in zip(hu, self.slices, self.rows, self.columns, strict=True):
            grid[index, row : row + height, column : column + width] = plane
        filled = np.array(sorted(self.slices))
        for below, above in pairwise(filled):
            for index in range(below + 1, above):
                weight = (index - below) / (above - below)
                blend = (1.0 - weight) * grid[below].astype(np.float32) + weight * grid[above].astype(np.float32)
                grid[index] = np.rint(blend).astype(np.int16)
        return grid

    def from_grid(self, mask: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        """The voxels of the native slices out of a mask on the grid; what lies in missing slices is dropped."""
        if self.is_whole(shape):
            return mask
        height, width = shape[1:]
        places = zip(self.slices, self.rows, self.columns, strict=True)
        planes = [mask[index, row : row + height, column : column + width] for index, row, column in places]
        return np.stack(planes)


@dataclass(frozen=True)
class CTSeries:
    """One readable CT series: ``hu`` (int16, native frame) and the sanitized headers that results refer to.

    ``headers`` has one data set per native slice, in order, or a single one for a multi-frame instance, whose frames
    are the native slices in order. ``warnings`` are to be shown with every finding.
    """

    hu: NDArray[np.int16]
    placement: Placement
    headers: tuple[Dataset, ...]
    series_instance_uid: str
    transfer_syntax_uid: str
    warnings: tuple[Limitation, ...] = ()

    @property
    def geometry(self) -> highdicom.VolumeGeometry:
        """Geometry of the regular grid that holds the slices (see `Placement`)."""
        return self.placement.geometry

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel spacing (slice, row, column) of ``hu``."""
        first, second, third = self.geometry.spacing
        return float(first), float(second), float(third)

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID of the source."""
        return str(self.headers[0].StudyInstanceUID)

    @cached_property
    def _standard_geometry(self) -> highdicom.VolumeGeometry:
        placeholder = np.broadcast_to(np.zeros(1, dtype=np.uint8), self.geometry.spatial_shape)
        volume = self.geometry.with_array(placeholder).to_patient_orientation(STANDARD_ORIENTATION)
        return volume.get_geometry()

    def to_standard(self) -> tuple[NDArray[np.int16], tuple[float, float, float]]:
        """HU in the standard frame "FPL", C contiguous, and its spacing in mm (slice, row, column)."""
        volume = self.geometry.with_array(self.placement.to_grid(self.hu)).to_patient_orientation(STANDARD_ORIENTATION)
        first, second, third = volume.spacing
        return np.ascontiguousarray(volume.array), (float(first), float(second), float(third))

    def mask_to_native(self, labels_standard: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask of the standard frame on the native slices; ValueError when its shape is not that of the frame."""
        standard = self._standard_geometry
        if labels_standard.shape != standard.spatial_shape:
            raise ValueError(f"mask of shape {labels_standard.shape} on a volume of shape {standard.spatial_shape}")
        grid = standard.with_array(labels_standard).match_geometry(self.geometry).array
        native: NDArray[np.uint8] = np.ascontiguousarray(self.placement.from_grid(grid, self._native_shape))
        return native

    @property
    def _native_shape(self) -> tuple[int, int, int]:
        first, second, third = self.hu.shape
        return first, second, third
