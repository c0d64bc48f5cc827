"""Synthetic anatomies from the label map of one real subject (the SPL head and neck atlas), given by its folder.

The atlas is under the 3D Slicer licence; what derives from it carries that notice (NOTICE in the project's root).
"""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.findings import Vertebra
from training.anatomy import Anatomy, Grid, Tissue, smooth_noise
from training.fractures import Cut, random_fracture
from training.shapes import Field, Spot
from training.surroundings import Body, Curve, fill_tissues
from training.vertebrae import AXIS_BUILD, BUILDS

LABELS = {11: 1, 12: 2, 13: 3, 14: 4, 15: 5, 16: 6, 17: 7, 21: 8, 22: 9, 23: 10, 24: 11, 36: 12}
"""Number in the atlas to ours (1..7 = C1..C7, 8.. = T1..)."""
OTHER_BONES = (9, 10, 25, 26, 27, 28, 31, 32, 33, 34, 35)
VESSELS = tuple(range(101, 118))
CARTILAGES = (119, 120)
SPACING_MM = (1.40002444, 0.9765625, 0.9765625)


@dataclass(frozen=True, slots=True)
class Atlas:
    """The atlas in the standard frame: distance to bone in mm, nearest vertebra (0: another bone), tissues, C4."""

    depth_mm: Field
    nearest: NDArray[np.uint8]
    tissue: NDArray[np.uint8]
    middle_mm: Spot


def _read_nrrd(path: Path) -> NDArray[np.int16]:
    """The label map as stored: (slice feet to head, row posterior to anterior, column left to right)."""
    raw = path.read_bytes()
    end = raw.index(b"\n\n")
    header = raw[:end].decode("ascii")
    if "encoding: gzip" not in header or "type: short" not in header or "sizes: 255 255 229" not in header:
        raise ValueError(f"{path.name} is not the SPL head and neck atlas label map")
    return np.frombuffer(gzip.decompress(raw[end + 2 :]), dtype="<i2").reshape(229, 255, 255)


def _signed_mm(mask: NDArray[np.bool_]) -> Field:
    inside = ndimage.distance_transform_edt(mask, sampling=SPACING_MM)
    outside = ndimage.distance_transform_edt(~mask, sampling=SPACING_MM)
    distance = np.where(mask, 0.5 - inside, outside - 0.5).astype(np.float32)
    return np.asarray(ndimage.gaussian_filter(distance, (0.5, 0.7, 0.7)), dtype=np.float32)


def load_atlas(folder: Path) -> Atlas:
    """Read and prepare the atlas (about ten seconds)."""
    stored = _read_nrrd(folder / "HN-Atlas-labels.nrrd")[::-1, ::-1, ::-1]
    shape = (stored.shape[0], stored.shape[1], stored.shape[2])
    best = _signed_mm(np.isin(stored, OTHER_BONES))
    depth = np.minimum(best, np.float32(20))
    nearest = np.zeros(shape, dtype=np.uint8)
    for theirs, ours in LABELS.items():
        where = ndimage.find_objects((stored == theirs).astype(np.uint8))[0]
        box = tuple(slice(max(0, part.start - 12), part.stop + 12) for part in where)
        distance = _signed_mm(stored[box] == theirs)
        closer = distance < best[box]
        best[box][closer] = distance[closer]
        nearest[box][closer] = ours
        np.minimum(depth[box], distance, out=depth[box])
    tissue = np.full(shape, 255, dtype=np.uint8)
    tissue[np.isin(stored, VESSELS)] = Tissue.VESSEL
    tissue[np.isin(stored, CARTILAGES)] = Tissue.CARTILAGE
    centre = np.argwhere(stored == 14).mean(axis=0) * SPACING_MM
    return Atlas(depth, nearest, tissue, Spot(*(float(x) for x in centre)))


class _Warp:
    """From voxels of a grid (origin: C4) to indices of the atlas: size, posture and elastic differences."""

    def __init__(self, atlas: Atlas, grid: Grid, rng: np.random.Generator) -> None:
        self.scale = rng.uniform(0.86, 1.16) * rng.uniform(0.93, 1.07, size=3)
        w, v, u = grid.w[:, None, None], grid.v[None, :, None], grid.u[None, None, :]
        nod, lean = np.radians(rng.normal(0, 9)), np.radians(rng.normal(0, 4))
        bend, sway = rng.normal(0, 8) / 60**2, rng.normal(0, 4) / 60**2
        v0 = v + np.float32(np.sin(nod)) * w + np.float32(bend) * w * np.abs(w)
        v0 = v0 + np.float32(rng.normal(0, 6) / 60**2) * w * w
        u0 = u + np.float32(np.sin(lean)) * w + np.float32(sway) * w * w
        w0 = w - np.float32(np.sin(nod)) * v - np.float32(np.sin(lean)) * u
        steps = []
        for axis, part in enumerate((w0, v0, u0)):
            moved = part / np.float32(self.scale[axis])
            for amplitude, cell in ((2.5, 40.0), (0.8, 13.0)):
                width = (cell / float(grid.w[1] - grid.w[0]),) * 3
                moved = moved + np.float32(amplitude) * smooth_noise(grid.shape, width, rng)
            steps.append((moved + np.float32(atlas.middle_mm[axis])) / np.float32(SPACING_MM[axis]))
        self.index = np.stack(steps)
        self.atlas = atlas

    def depth(self, index: Field) -> Field:
        """Distance to bone in mm at these indices."""
        found = ndimage.map_coordinates(self.atlas.depth_mm, index, order=1, mode="constant", cval=20.0)
        return np.asarray(found * self.scale.mean(), dtype=np.float32)

    def nearest(self, index: Field) -> NDArray[np.uint8]:
        """Number of the nearest vertebra at these indices."""
        found = ndimage.map_coordinates(self.atlas.nearest, index, order=0, mode="constant", cval=0)
        return np.asarray(found, dtype=np.uint8)


def atlas_anatomy(atlas: Atlas, rng: np.random.Generator, grid: Grid, fractured: frozenset[Vertebra]) -> Anatomy:
    """A random variation of the atlas's subject on this grid (origin: about the middle of C4)."""
    warp = _Warp(atlas, grid, rng)
    spacing = float(grid.w[1] - grid.w[0])
    depth = warp.depth(warp.index) + np.float32(0.5) * smooth_noise(grid.shape, (8 / spacing,) * 3, rng)
    depth += np.float32(rng.uniform(-0.4, 0.3))
    nearest = warp.nearest(warp.index)
    labels = np.where(depth < 0, nearest, 0).astype(np.uint8)
    curve, middles = _curve(labels, grid)
    body = Body.random(rng, table=bool(rng.random() < 0.3))
    tissue = fill_tissues(grid, curve, body, (middles[1], middles[7]), rng)
    if rng.random() < 0.7:
        soft = ndimage.map_coordinates(atlas.tissue, warp.index, order=0, mode="constant", cval=255)
        tissue = np.where(soft == 255, tissue, soft).astype(np.uint8)
    fracture = np.zeros(grid.shape, dtype=np.bool_)
    for level in sorted(fractured):
        build = AXIS_BUILD if level <= 2 else BUILDS[int(level)]
        for cut in random_fracture(int(level), build, rng).cuts:
            _apply(cut, int(level), middles[int(level)], grid, warp, (depth, labels, fracture))
    labels[labels > 9] = 0
    return Anatomy(labels, depth, tissue, fracture)


def _curve(labels: NDArray[np.uint8], grid: Grid) -> tuple[Curve, dict[int, Spot]]:
    """The line of the bodies and the middle of every level's body, from labeled voxels."""
    middles: dict[int, Spot] = {}
    for label, where in enumerate(ndimage.find_objects(labels, max_label=9), start=1):
        if where is None:
            continue
        at = np.argwhere(labels[where] == label).mean(axis=0)
        spot = [float(axis[part][int(k)]) for axis, part, k in zip((grid.w, grid.v, grid.u), where, at, strict=True)]
        forward = 8.0 if label == 1 else 11.0
        middles[label] = Spot(spot[0], spot[1] - forward, spot[2])
    spots = sorted(middles.values())
    w, v, u = (np.array(axis, dtype=np.float32) for axis in zip(*spots, strict=True))
    for label, away in ((1, -60.0), (7, 60.0)):
        middles.setdefault(label, Spot(away, float(v.mean()), float(u.mean())))
    return Curve(w, v, u), middles


def _apply(
    cut: Cut,
    level: int,
    middle: Spot,
    grid: Grid,
    warp: _Warp,
    truth: tuple[Field, NDArray[np.uint8], NDArray[np.bool_]],
) -> None:
    """Break one level in place: move the fragment behind the plane, open the gap, mark the lesion."""
    depth, labels, fracture = truth
    spot = Spot(*(a + b for a, b in zip(middle, cut.spot, strict=True)))
    reach = cut.radius_mm + 2
    box = grid.box((spot.w - reach, spot.v - reach, spot.u - reach), (spot.w + reach, spot.v + reach, spot.u + reach))
    if not all(part.stop - part.start > 3 for part in box):
        return
    w = grid.w[box[0]][:, None, None] - np.float32(spot.w)
    v = grid.v[box[1]][None, :, None] - np.float32(spot.v)
    u = grid.u[box[2]][None, None, :] - np.float32(spot.u)
    plane = np.asarray(cut.normal.w * w + cut.normal.v * v + cut.normal.u * u, dtype=np.float32)
    inside = (w * w + v * v + u * u) < cut.radius_mm**2
    moved = np.array(cut.moved) / warp.scale / SPACING_MM
    index = warp.index[(slice(None), *box)] - moved[:, None, None, None].astype(np.float32)
    fragment, owner = warp.depth(index), warp.nearest(index)
    shift = inside & (plane > 0) & (owner == level)
    depth[box] = np.where(shift, fragment, depth[box])
    mine = np.where(shift, fragment < 0, labels[box] == level)
    labels[box] = np.where(
        mine & inside, level, np.where((labels[box] == level) & inside & (plane > 0), 0, labels[box])
    )
    lesion = inside & (labels[box] == level)
    fracture[box] |= lesion & (np.abs(plane) < 2.5)
    gap = np.float32(cut.gap_mm / 2) - np.abs(plane)
    depth[box] = np.where(lesion, np.maximum(depth[box], gap), depth[box])
