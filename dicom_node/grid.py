"""Where the slices of a stack lie in a regular grid, in the words of their headers (PS3.3 C.7.6.2).

The reading child finds the grid without loading highdicom; the parent has it made a geometry (`dicom_node.geometry`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grid:
    """The plane of the slice with grid index 0, the distance of the slices, and where each native slice lies.

    ``slices``, ``rows`` and ``columns`` are the grid index of the first voxel of each native slice (see `Placement`).
    """

    position: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]
    pixel_spacing_mm: tuple[float, float]
    slice_spacing_mm: float
    matrix: tuple[int, int]
    frame_of_reference_uid: str
    slices: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel spacing (slice, row, column)."""
        return self.slice_spacing_mm, *self.pixel_spacing_mm

    @property
    def shape(self) -> tuple[int, int, int]:
        """How many voxels the grid has: enough for every slice with its shift."""
        return 1 + max(self.slices), max(self.rows) + self.matrix[0], max(self.columns) + self.matrix[1]
