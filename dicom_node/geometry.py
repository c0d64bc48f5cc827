"""The grid of a stack as a geometry of highdicom's: no affine is written by hand (PS3.3 C.7.6.2)."""

import highdicom

from dicom_node.grid import Grid
from dicom_node.series import Placement


def placement_of(grid: Grid) -> Placement:
    """The slices in the geometry of their grid; ValueError when no slice has grid index 0."""
    geometry = highdicom.VolumeGeometry.from_attributes(
        image_position=grid.position,
        image_orientation=grid.orientation,
        rows=grid.matrix[0],
        columns=grid.matrix[1],
        pixel_spacing=grid.pixel_spacing_mm,
        spacing_between_slices=grid.slice_spacing_mm,
        number_of_frames=grid.shape[0],
        coordinate_system="PATIENT",
        frame_of_reference_uid=grid.frame_of_reference_uid or None,
    )
    first = grid.slices.index(0)
    shifts = ((grid.rows[first], max(grid.rows)), (grid.columns[first], max(grid.columns)))
    if any(largest for _, largest in shifts):
        geometry = geometry.pad([(0, 0), *((before, largest - before) for before, largest in shifts)])
    return Placement(geometry, grid.slices, grid.rows, grid.columns)
