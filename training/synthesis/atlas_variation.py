"""Random variations of the atlas's subject: size, posture, each level's own size and turn, elastic differences."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.findings import Vertebra
from training.synthesis.anatomy import Anatomy, Grid, seen, smooth_noise
from training.synthesis.atlas import FINE_MM, Atlas
from training.synthesis.fractures import LESION_MM, Cut, FractureKind, gap_share, plan_fracture
from training.synthesis.mimics import random_mimics
from training.synthesis.shapes import Field, Points, Spot
from training.synthesis.surroundings import Body, Curve, fill_tissues
from training.synthesis.vertebrae import AXIS_BUILD, BUILDS, RING_BUILD, Build


def build_of(label: int) -> Build:
    """Usual proportions of a level (1..11)."""
    return RING_BUILD if label == 1 else AXIS_BUILD if label == 2 else BUILDS[min(label, max(BUILDS))]


class AtlasVariation:
    """One variation: where its levels are, and its anatomy on any grid (origin: about the middle of C4's body)."""

    def __init__(self, atlas: Atlas, rng: np.random.Generator) -> None:
        self.atlas = atlas
        self.scale = rng.uniform(0.86, 1.16) * rng.uniform(0.93, 1.07, size=3)
        self._nod, self._lean = np.radians(rng.normal(0, 9)), np.radians(rng.normal(0, 4))
        self._bend, self._sway = rng.normal(0, 8) / 60**2, rng.normal(0, 4) / 60**2
        self._lordosis = rng.normal(0, 6) / 60**2
        levels = sorted(atlas.middles)
        self._places = np.array([atlas.middles[level] for level in levels], dtype=np.float32)
        self._turns = np.radians(rng.normal(0, 2.5, size=(3, len(levels)))).astype(np.float32)
        self._sizes = rng.uniform(0.93, 1.07, size=(2, len(levels))).astype(np.float32)
        steps = np.diff(self._places[:, 0]) * rng.uniform(0.93, 1.07, size=len(levels) - 1)
        heights = np.concatenate([[0.0], np.cumsum(steps)])
        self._heights = (heights - heights[levels.index(4)]).astype(np.float32)
        self._local = np.random.default_rng(rng.integers(2**63))

    def _to_atlas(self, w: Field, v: Field, u: Field) -> tuple[Field, Field, Field]:
        """Points of the variation as points of the atlas, without elastic differences."""
        v0 = v + np.float32(np.sin(self._nod)) * w + np.float32(self._bend) * w * np.abs(w)
        v0 = v0 + np.float32(self._lordosis) * w * w
        u0 = u + np.float32(np.sin(self._lean)) * w + np.float32(self._sway) * w * w
        w0 = w - np.float32(np.sin(self._nod)) * v - np.float32(np.sin(self._lean)) * u
        w0, v0, u0 = (part / np.float32(s) for part, s in zip((w0, v0, u0), self.scale, strict=True))
        w0 = _along(w0, self._heights, self._places[:, 0])
        at = self._places[:, 0]
        v0 = v0 - np.interp(w0, at, self._places[:, 1]).astype(np.float32)
        u0 = u0 - np.interp(w0, at, self._places[:, 2]).astype(np.float32)
        tilt, turn, lean = (np.interp(w0, at, angles).astype(np.float32) for angles in self._turns)
        deep, wide = (np.interp(w0, at, sizes).astype(np.float32) for sizes in self._sizes)
        moved_w = w0 + tilt * v0 + lean * u0
        moved_v = v0 * deep + turn * u0 + np.interp(w0, at, self._places[:, 1]).astype(np.float32)
        moved_u = u0 * wide - turn * v0 + np.interp(w0, at, self._places[:, 2]).astype(np.float32)
        return moved_w, moved_v, moved_u

    def middle(self, level: int) -> Spot:
        """Where the middle of this level's body lies in the variation (mm), but for elastic differences."""
        target = np.array(self.atlas.middles[level])
        place = target * self.scale
        for _ in range(25):
            w, v, u = (np.array([x], dtype=np.float32) for x in place)
            reached = np.array([float(part[0]) for part in self._to_atlas(w, v, u)])
            place = place + 0.8 * (target - reached) * self.scale
        return Spot(*(float(x) for x in place))

    def _index(self, grid: Grid) -> Field:
        """Indices (3, slice, row, column) into the atlas of every voxel of the grid."""
        parts = self._to_atlas(grid.w[:, None, None], grid.v[None, :, None], grid.u[None, None, :])
        indices = []
        for axis, part in enumerate(parts):
            moved = np.broadcast_to(part, grid.shape).astype(np.float32)
            for amplitude, cell in ((2.5, 40.0), (0.8, 13.0)):
                width = tuple(cell / float(step[1] - step[0]) for step in (grid.w, grid.v, grid.u))
                moved = moved + np.float32(amplitude) * smooth_noise(grid.shape, width, self._local)
            indices.append((moved - np.float32(self.atlas.origin_mm[axis])) / np.float32(FINE_MM))
        return np.stack(indices)

    def depth_at(self, index: Field) -> Field:
        """Distance to bone in mm at these indices."""
        found = ndimage.map_coordinates(self.atlas.depth_mm, index, order=1, mode="constant", cval=20.0)
        return np.asarray(found * self.scale.mean(), dtype=np.float32)

    def nearest_at(self, index: Field) -> NDArray[np.uint8]:
        """Number of the nearest vertebra at these indices."""
        found = ndimage.map_coordinates(self.atlas.nearest, index, order=0, mode="constant", cval=0)
        return np.asarray(found, dtype=np.uint8)

    def anatomy(self, grid: Grid, kinds: dict[Vertebra, FractureKind], rng: np.random.Generator) -> Anatomy:
        """The tissues on this grid, with these fractures; draw it once: a second call differs elastically."""
        index = self._index(grid)
        cell = tuple(8 / float(step[1] - step[0]) for step in (grid.w, grid.v, grid.u))
        depth = self.depth_at(index) + np.float32(0.5) * smooth_noise(grid.shape, cell, rng)
        depth += np.float32(rng.uniform(-0.4, 0.3))
        nearest = self.nearest_at(index)
        labels = np.where(depth < 0, nearest, 0).astype(np.uint8)
        middles = {level: self.middle(level) for level in self.atlas.middles}
        spots = sorted(middles.values())
        curve = Curve(*(np.array(axis, dtype=np.float32) for axis in zip(*spots, strict=True)))
        body = Body.random(rng, table=bool(rng.random() < 0.3))
        tissue = fill_tissues(grid, curve, body, (middles[1], middles[7]), rng)
        if rng.random() < 0.7:
            soft = ndimage.map_coordinates(self.atlas.tissue, index, order=0, mode="constant", cval=255)
            tissue = np.where(soft == 255, tissue, soft).astype(np.uint8)
        empty = np.zeros(grid.shape, dtype=np.bool_)
        made = Anatomy(labels, depth, tissue, empty, np.zeros(grid.shape, dtype=np.float32))
        for level in Vertebra:
            _mimic(made, grid, int(level), middles[int(level)], rng)
        for level in sorted(kinds):
            plan = plan_fracture(kinds[level], build_of(int(level)), rng)
            for cut in plan.cuts:
                _Break(self, made, grid, index).apply(cut, int(level), middles[int(level)], rng)
        made.labels[made.labels > 9] = 0
        return replace(made, kinds=seen(kinds, made.labels, made.fracture, grid))


def _along(values: Field, known: Field, wanted: Field) -> Field:
    """Piecewise linear through (known, wanted), going on beyond the ends at the pace of one."""
    inside = np.interp(values, known, wanted).astype(np.float32)
    inside += np.minimum(values - known[0], 0) + np.maximum(values - known[-1], 0)
    return np.asarray(inside, dtype=np.float32)


def _local_points(grid: Grid, box: tuple[slice, slice, slice], spot: Spot) -> Points:
    w = grid.w[box[0]][:, None, None] - np.float32(spot.w)
    v = grid.v[box[1]][None, :, None] - np.float32(spot.v)
    u = grid.u[box[2]][None, None, :] - np.float32(spot.u)
    return Points(w, v, u)


def _around(grid: Grid, spot: Spot, reach: float) -> tuple[slice, slice, slice] | None:
    low = (spot.w - reach, spot.v - reach, spot.u - reach)
    box = grid.box(low, (spot.w + reach, spot.v + reach, spot.u + reach))
    return box if all(part.stop - part.start > 3 for part in box) else None


def _mimic(made: Anatomy, grid: Grid, level: int, middle: Spot, rng: np.random.Generator) -> None:
    """Give one level its foramina, clefts and ossicles, in place; its label keeps the closed outline."""
    mimics = random_mimics(level, build_of(level), rng)
    low = (middle.w - 30, middle.v - 16, middle.u - 34)
    box = grid.box(low, (middle.w + 22, middle.v + 60, middle.u + 34))
    if not all(part.stop - part.start > 3 for part in box):
        return
    points = _local_points(grid, box, middle)
    changed = mimics.applied(made.depth_mm[box].astype(np.float32), points)
    others = (made.labels[box] != level) & (made.labels[box] > 0)
    made.depth_mm[box] = np.where(others, made.depth_mm[box], changed)


class _Break:
    """Breaks one level of a variation in place."""

    def __init__(self, variation: AtlasVariation, made: Anatomy, grid: Grid, index: Field) -> None:
        self._variation, self._made, self._grid, self._index = variation, made, grid, index

    def _on_bone(self, spot: Spot, level: int) -> Spot | None:
        """The voxel of the level nearest to the spot, where it is near."""
        box = _around(self._grid, spot, 9.0)
        if box is None:
            return None
        w, v, u = (np.broadcast_to(axis, self._made.labels[box].shape) for axis in _local_points(self._grid, box, spot))
        mine = self._made.labels[box] == level
        if not mine.any():
            return None
        inside = np.where(mine, w * w + v * v + u * u, np.float32(1e6))
        at = np.unravel_index(int(inside.argmin()), inside.shape)
        return Spot(spot.w + float(w[at]), spot.v + float(v[at]), spot.u + float(u[at]))

    def apply(self, cut: Cut, level: int, middle: Spot, rng: np.random.Generator) -> None:
        """Move the fragment behind the plane, open the gap, mark the lesion."""
        wanted = Spot(*(a + b for a, b in zip(middle, cut.spot, strict=True)))
        spot = self._on_bone(wanted, level)
        box = _around(self._grid, spot, cut.radius_mm + 2) if spot else None
        if spot is None or box is None:
            return
        made, points = self._made, _local_points(self._grid, box, spot)
        inside = (points.w**2 + points.v**2 + points.u**2) < cut.radius_mm**2
        spacing = float(self._grid.v[1] - self._grid.v[0])
        rough = np.float32(1.2) * smooth_noise(inside.shape, (7 / spacing,) * 3, rng)
        plane = np.asarray(cut.normal.w * points.w + cut.normal.v * points.v + cut.normal.u * points.u + rough)
        moved = (np.array(cut.moved) / self._variation.scale / FINE_MM).astype(np.float32)
        index = self._index[(slice(None), *box)] - moved[:, None, None, None]
        fragment, owner = self._variation.depth_at(index), self._variation.nearest_at(index)
        behind = inside & (plane > 0)
        shift = behind & (owner == level)
        before = made.labels[box] == level
        made.depth_mm[box] = np.where(shift, fragment, np.where(behind & before, np.float32(1.0), made.depth_mm[box]))
        made.labels[box] = np.where(shift & (fragment < 0), level, np.where(behind & before, 0, made.labels[box]))
        mine = inside & (made.labels[box] == level)
        made.fracture[box] |= mine & (np.abs(plane) < LESION_MM)
        share = np.where(mine, gap_share(np.abs(plane).astype(np.float32), cut, spacing), 0)
        made.cleft[box] = np.where(np.abs(share) > np.abs(made.cleft[box]), share, made.cleft[box])
