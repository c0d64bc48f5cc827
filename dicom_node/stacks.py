"""A stack of slices placed in a regular grid: order, spacing, gaps, repetitions, gantry tilt (PS3.3 C.7.6.2.1.1).

Few missing slices are bridged: highdicom's volumes and the network need regular spacing, and naming levels needs the
whole spine, so leaving out what lies beyond a gap would be worse than two interpolated slices. The warning
MISSING_SLICES is shown, and masks are never written where no slice is. Longer gaps are refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import UnusableSeries
from dicom_node.frames import Frame, Plane
from dicom_node.grid import Grid
from model.findings import Limitation

SAME_POSITION_MM = 0.01
POSITION_TOLERANCE_MM = 0.1
POSITION_TOLERANCE_FRACTION = 0.01
MAXIMUM_MISSING_IN_A_ROW = 3
MAXIMUM_GAP_MM = 5.0
MAXIMUM_MISSING_FRACTION = 0.1
TILT_TO_NAME_DEGREES = 1.0
MAXIMUM_TILT_DEGREES = 35.0
COARSE_MM = 2.0
"""Larger slice distance, slice thickness or pixels are limitations; `dicom_node.selection` says what is too large."""
ROUNDING_MM = 0.01


@dataclass(frozen=True, slots=True)
class Spread:
    """How the frames of a stack lie along their normal.

    ``order`` sorts the frames; ``kept`` says which of the sorted ones lie at a new position; ``steps`` counts grid
    slices from each kept frame to the next; ``offsets`` are in-plane shifts (row, column) in pixels of each kept frame.
    """

    order: NDArray[np.intp]
    kept: NDArray[np.bool_]
    spacing_mm: float
    steps: NDArray[np.intp]
    offsets: NDArray[np.float64]
    distances_mm: NDArray[np.float64]
    residual_mm: float

    @property
    def regular(self) -> bool:
        """Whether the positions fit a regular grid."""
        return self.residual_mm <= max(POSITION_TOLERANCE_MM, POSITION_TOLERANCE_FRACTION * self.spacing_mm)

    @property
    def bridgeable(self) -> bool:
        """Whether the missing slices are few and close enough to their neighbors to be interpolated."""
        missing = int(self.steps.sum()) - self.steps.size
        longest = int(self.steps.max(initial=1))
        if missing == 0:
            return True
        return (
            longest - 1 <= MAXIMUM_MISSING_IN_A_ROW
            and longest * self.spacing_mm <= MAXIMUM_GAP_MM
            and missing <= MAXIMUM_MISSING_FRACTION * self.steps.size
        )

    @property
    def clean(self) -> bool:
        """Whether the stack is a volume without further ado."""
        return bool(self.kept.all()) and self.regular and self.bridgeable


@dataclass(frozen=True, slots=True)
class PlacedStack:
    """A stack in its grid: native frames in order, and pairs of frames at one position that must be equal."""

    frames: tuple[Frame, ...]
    grid: Grid
    duplicates: tuple[tuple[Frame, Frame], ...]
    warnings: tuple[Limitation, ...]


def spread(frames: Sequence[Frame]) -> Spread:
    """How the frames (two or more, all with planes of one orientation) lie along their normal."""
    planes = [frame.plane for frame in frames if frame.plane is not None]
    indices = indices_of(planes)
    order = np.argsort(indices[:, 0], kind="stable")
    distances = indices[order, 0]
    kept = np.concatenate([[True], np.diff(distances) > SAME_POSITION_MM])
    distances = distances[kept]
    gaps = np.diff(distances)
    if gaps.size == 0:
        return Spread(order, kept, 0.0, np.zeros(0, np.intp), indices[order][kept][:, 1:], distances, 0.0)
    steps = np.maximum(np.rint(gaps / np.median(gaps)), 1.0).astype(np.intp)
    counts = np.concatenate([[0], np.cumsum(steps)])
    slope, start = np.polyfit(counts, distances, 1)
    residual = float(np.abs(distances - (start + slope * counts)).max())
    return Spread(order, kept, float(slope), steps, indices[order][kept][:, 1:], distances, residual)


def indices_of(planes: Sequence[Plane]) -> NDArray[np.float64]:
    """Where the planes' first voxels lie as seen from the first plane: (mm along the normal, rows, columns).

    The normal is that of highdicom's geometries, columns × rows, which a test holds against them (PS3.3 C.7.6.2.1.1).
    """
    first = planes[0]
    right, down = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    row_mm, column_mm = first.pixel_spacing_mm
    axes = np.stack([np.cross(down, right), down / row_mm, right / column_mm], axis=1)
    positions = np.array([plane.position for plane in planes])
    indices: NDArray[np.float64] = (positions - positions[0]) @ axes
    return indices


def place(frames: Sequence[Frame]) -> PlacedStack:
    """The stack in a regular grid; UnusableSeries with a named reason where that cannot be done honestly."""
    lie = spread(frames)
    if not lie.regular:
        raise UnusableSeries("The slices are not regularly spaced.", code="IRREGULAR_SPACING")
    if not lie.bridgeable:
        raise UnusableSeries("Too many slices are missing inside the series.", code="MISSING_SLICES")
    ordered = [frames[index] for index in lie.order]
    kept = [frame for frame, keep in zip(ordered, lie.kept, strict=True) if keep]
    rows, columns, tilted = _in_plane(lie, kept[0])
    steps = tuple(int(step) for step in np.concatenate([[0], np.cumsum(lie.steps)]))
    first = kept[0]
    if first.plane is None:
        raise UnusableSeries("The slices have no position.", code="NO_POSITION")
    grid = Grid(
        position=first.plane.position,
        orientation=first.plane.orientation,
        pixel_spacing_mm=first.plane.pixel_spacing_mm,
        slice_spacing_mm=lie.spacing_mm or 1.0,
        matrix=(first.rows, first.columns),
        frame_of_reference_uid=first.frame_of_reference_uid,
        slices=steps,
        rows=rows,
        columns=columns,
    )
    placed = PlacedStack(tuple(kept), grid, _duplicates(ordered, lie.kept), _warnings(lie, kept, tilted=tilted))
    return _in_file_order(placed) if first.multi_frame else placed


def _in_file_order(stack: PlacedStack) -> PlacedStack:
    """A multi-frame stack whose native slices are the frames of the file in their order."""
    if stack.duplicates:
        raise UnusableSeries("Frames of the multi-frame instance share a position.", code="DUPLICATE_POSITIONS")
    order = sorted(range(len(stack.frames)), key=lambda index: stack.frames[index].index)
    slices, rows, columns = (
        tuple(values[index] for index in order) for values in (stack.grid.slices, stack.grid.rows, stack.grid.columns)
    )
    frames = tuple(stack.frames[index] for index in order)
    return replace(stack, frames=frames, grid=replace(stack.grid, slices=slices, rows=rows, columns=columns))


def _in_plane(lie: Spread, first: Frame) -> tuple[tuple[int, ...], tuple[int, ...], bool]:
    """Whole-pixel shifts of each slice in its plane, none below half a pixel, and whether the gantry was tilted."""
    offsets = lie.offsets - lie.offsets.min(axis=0)
    count = len(offsets)
    if first.plane is None or count < 2 or float(offsets.max()) < 0.5:
        return (0,) * count, (0,) * count, False
    ends = lie.offsets[-1] - lie.offsets[0]
    line = lie.offsets[0] + np.outer((lie.distances_mm - lie.distances_mm[0]) / np.ptp(lie.distances_mm), ends)
    if float(np.abs(lie.offsets - line).max()) > 1.0:
        raise UnusableSeries("Slices are shifted sideways against each other.", code="SHIFTED_SLICES")
    sideways = float(np.linalg.norm(ends * np.array(first.plane.pixel_spacing_mm)))
    degrees = float(np.degrees(np.arctan2(sideways, np.ptp(lie.distances_mm))))
    if degrees > MAXIMUM_TILT_DEGREES:
        raise UnusableSeries("The gantry tilt is too large.", code="GANTRY_TILT")
    whole = np.rint(lie.offsets - lie.offsets[0]).astype(int)
    whole -= whole.min(axis=0)
    rows, columns = (tuple(int(value) for value in whole[:, axis]) for axis in (0, 1))
    return rows, columns, degrees >= TILT_TO_NAME_DEGREES


def _warnings(lie: Spread, frames: Sequence[Frame], *, tilted: bool) -> tuple[Limitation, ...]:
    """What the geometry makes a radiologist want to know."""
    planes = [frame.plane for frame in frames if frame.plane is not None]
    thickness = max((plane.thickness_mm or 0.0 for plane in planes), default=0.0)
    pixel = max((max(plane.pixel_spacing_mm) for plane in planes), default=0.0)
    found = {
        Limitation.MISSING_SLICES: int(lie.steps.sum()) > lie.steps.size,
        Limitation.GANTRY_TILT: tilted,
        Limitation.THICK_SLICES: max(thickness, lie.spacing_mm) > COARSE_MM + ROUNDING_MM,
        Limitation.COARSE_PIXELS: pixel > COARSE_MM + ROUNDING_MM,
    }
    return tuple(limitation for limitation, holds in found.items() if holds)


def _duplicates(ordered: Sequence[Frame], kept: NDArray[np.bool_]) -> tuple[tuple[Frame, Frame], ...]:
    """Each frame that is not kept with the kept one at its position."""
    pairs = []
    holder = ordered[0]
    for frame, keep in zip(ordered, kept, strict=True):
        if keep:
            holder = frame
        else:
            pairs.append((holder, frame))
    return tuple(pairs)
