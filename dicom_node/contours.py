"""Key slices and outlines: from a mask to closed polylines in image coordinates (PS3.3 C.18.6.1.2).

Image coordinates are (column, row) with 0.0/0.0 at the top left corner of the top left pixel, so that the center of
pixel (row r, column c) is (c + 0.5, r + 0.5). Outlines run through the middles of the pixel edges between inside and
outside, which is the marching squares contour: every inside center is inside, every outside center outside.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.findings import Vertebra

_EAST, _SOUTH, _WEST, _NORTH = range(4)
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
_TURNS = (1, 0, 3)  # right, straight, left: right first keeps diagonal neighbors apart


@dataclass(frozen=True, slots=True)
class KeySlice:
    """The slice that shows a level best: the one with most of its fracture, or of the level where none is known.

    ``outline`` is the closed polyline of its largest component there: float32 (points, 2), (column, row), the last
    point equal to the first.
    """

    index: int
    outline: NDArray[np.float32]


Region = tuple[slice, slice, slice]


def level_regions(labels: NDArray[np.uint8]) -> Mapping[Vertebra, Region]:
    """The smallest box (slice, row, column) around every level with a voxel in ``labels``, from C1 downwards."""
    rows, columns = np.nonzero(labels.max(axis=0))
    if rows.size == 0:
        return {}
    top, left = int(rows.min()), int(columns.min())
    window = labels[:, top : int(rows.max()) + 1, left : int(columns.max()) + 1]
    regions = {}
    for label, box in enumerate(ndimage.find_objects(window, max_label=max(Vertebra)), start=1):
        if box is not None:
            row, column = box[1], box[2]
            shifted = slice(row.start + top, row.stop + top), slice(column.start + left, column.stop + left)
            regions[Vertebra(label)] = (box[0], *shifted)
    return regions


def key_slices(
    labels: NDArray[np.uint8],
    lesions: NDArray[np.uint8] | None = None,
    regions: Mapping[Vertebra, Region] | None = None,
) -> Mapping[Vertebra, KeySlice]:
    """The key slice of every level with at least one voxel in ``labels`` (slice, row, column), from C1 downwards.

    ``lesions`` holds the fractures' voxels with the numbers of their levels; what is not in ``labels`` does not count.
    ``regions`` are those of the levels, if they are known.
    """
    found = {}
    for level, region in (level_regions(labels) if regions is None else regions).items():
        index = key_index(labels, region, level, lesions)
        mask = labels[index, region[1], region[2]] == level
        offset = np.array([region[2].start, region[1].start], dtype=np.float32)
        found[level] = KeySlice(index, outer_outline(mask) + offset)
    return found


def key_index(
    labels: NDArray[np.uint8], region: Region, level: Vertebra, lesions: NDArray[np.uint8] | None = None
) -> int:
    """The index of the key slice of a level that fills ``region``."""
    mask = labels[region] == level
    broken = mask if lesions is None else mask & (lesions[region] == level)
    areas = np.count_nonzero(broken if broken.any() else mask, axis=(1, 2))
    return int(region[0].start) + int(np.argmax(areas))


def outer_outline(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The outer outline of the largest 4-connected component of a mask (row, column) with at least one pixel."""
    components, _ = ndimage.label(mask)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    loops = outlines(components == np.argmax(sizes))
    return max(loops, key=_area)


def outlines(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float32], ...]:
    """All outlines of a mask (row, column), of components and of their holes, each a closed polyline."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return ()
    top, left = int(rows[0]), int(columns[0])
    return _outlines(mask[top : rows[-1] + 1, left : columns[-1] + 1], np.array([left, top], dtype=np.float32))


def _outlines(mask: NDArray[np.bool_], offset: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """The outlines of a mask that lies at ``offset`` (column, row)."""
    edges = _edges(mask)
    loops = []
    while edges:
        start = next(iter(edges))
        loop = []
        edge: tuple[int, int, int] | None = start
        while edge is not None:
            del edges[edge]
            loop.append(edge)
            edge = _next_edge(edge, edges)
        loops.append(_polyline(loop) + offset)
    return tuple(loops)


def _edges(mask: NDArray[np.bool_]) -> dict[tuple[int, int, int], None]:
    """The pixel edges between inside and outside as (row, column, direction), inside on the right, in stable order."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    neighbors = {_EAST: padded[:-2, 1:-1], _SOUTH: padded[1:-1, 2:], _WEST: padded[2:, 1:-1], _NORTH: padded[1:-1, :-2]}
    starts = {_EAST: (0, 0), _SOUTH: (0, 1), _WEST: (1, 1), _NORTH: (1, 0)}
    edges: dict[tuple[int, int, int], None] = {}
    for direction, neighbor in neighbors.items():
        rows, columns = np.nonzero(inside & ~neighbor)
        row, column = starts[direction]
        pairs = zip((rows + row).tolist(), (columns + column).tolist(), strict=True)
        edges.update(dict.fromkeys((r, c, direction) for r, c in pairs))
    return edges


def _next_edge(edge: tuple[int, int, int], edges: Mapping[tuple[int, int, int], None]) -> tuple[int, int, int] | None:
    """The edge that follows ``edge`` among those left, or None at the end of the loop."""
    row, column, direction = edge
    row, column = row + _STEPS[direction][0], column + _STEPS[direction][1]
    for turn in _TURNS:
        following = (row, column, (direction + turn) % 4)
        if following in edges:
            return following
    return None


def _polyline(loop: list[tuple[int, int, int]]) -> NDArray[np.float32]:
    """The closed polyline through the middles of the edges, without the points on straight runs."""
    edges = np.array(loop)
    steps = np.array(_STEPS)[edges[:, 2]]
    middles = (edges[:, :2] + steps / 2.0)[:, ::-1]
    directions = edges[:, 2]
    straight = (directions == np.roll(directions, 1)) & (directions == np.roll(directions, -1))
    points = middles[~straight].astype(np.float32)
    return np.concatenate([points, points[:1]])


def _area(outline: NDArray[np.float32]) -> float:
    """The area (pixels) that a closed polyline encloses."""
    columns, rows = outline[:, 0].astype(float), outline[:, 1].astype(float)
    return abs(float(np.sum(columns[:-1] * rows[1:] - columns[1:] * rows[:-1]))) / 2.0
