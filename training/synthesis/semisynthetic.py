"""Fractures inserted into the real bone of a CT whose levels are known: semi-synthetic cases, labeled as such.

The volume is warped (a fragment moves, a body loses height) and the gap is filled with blood; texture, noise and
everything else stay the scanner's own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.findings import Vertebra
from training.synthesis.anatomy import blurred, smooth_noise
from training.synthesis.fractures import LESION_MM, Cut, FractureKind, gap_share, plan_fracture
from training.synthesis.shapes import Field, Points, Spot
from training.synthesis.vertebrae import AXIS_BUILD, BUILDS, RING_BUILD

Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class RealBone:
    """A real CT (HU, float32) with the voxels of the bone that is to be broken; spacing is (slice, row, column)."""

    hu: Field
    bone: Mask
    spacing_mm: tuple[float, float, float]

    def points(self, box: Box, spot: Spot) -> Points:
        """The voxels of the box in mm as seen from a spot (mm from voxel (0, 0, 0))."""
        axes = []
        for axis, (part, step, at) in enumerate(zip(box, self.spacing_mm, spot, strict=True)):
            shape = [-1 if k == axis else 1 for k in range(3)]
            axes.append((np.arange(part.start, part.stop) * step - at).astype(np.float32).reshape(shape))
        return Points(*axes)

    def around(self, spot: Spot, reach_mm: float) -> Box:
        """The voxels within a distance along the axes, clipped to the volume."""
        parts = [
            slice(max(0, int((at - reach_mm) / step)), min(count, int((at + reach_mm) / step) + 2))
            for at, step, count in zip(spot, self.spacing_mm, self.hu.shape, strict=True)
        ]
        return parts[0], parts[1], parts[2]

    def nearest_bone(self, spot: Spot, reach_mm: float = 12.0) -> Spot | None:
        """The bone voxel that is nearest to the spot, where one is within reach."""
        box = self.around(spot, reach_mm)
        mine = self.bone[box]
        if not mine.any():
            return None
        w, v, u = self.points(box, spot)
        away = np.where(mine, w * w + v * v + u * u, np.float32(1e9))
        at = np.unravel_index(int(away.argmin()), away.shape)
        index = [part.start + int(k) for part, k in zip(box, at, strict=True)]
        return Spot(*(k * step for k, step in zip(index, self.spacing_mm, strict=True)))


def break_bone(real: RealBone, cut: Cut, spot: Spot, rng: np.random.Generator) -> tuple[Field, Mask]:
    """The HU and the lesion after one cut through ``spot`` (mm): the fragment behind it moves, the gap fills up."""
    hu, lesion = real.hu.copy(), np.zeros(real.hu.shape, dtype=np.bool_)
    box = real.around(spot, cut.radius_mm + 3)
    w, v, u = real.points(box, spot)
    voxel_mm = max(real.spacing_mm[1], 0.5)
    inside = (w * w + v * v + u * u) < cut.radius_mm**2
    rough = np.float32(1.0) * smooth_noise(inside.shape, tuple(6.0 / step for step in real.spacing_mm), rng)
    plane = np.asarray(cut.normal.w * w + cut.normal.v * v + cut.normal.u * u + rough, dtype=np.float32)
    grids = list(np.meshgrid(*(np.arange(part.start, part.stop, dtype=np.float32) for part in box), indexing="ij"))
    moved = np.stack([g - np.float32(m / s) for g, m, s in zip(grids, cut.moved, real.spacing_mm, strict=True)])
    fragment = ndimage.map_coordinates(real.hu, moved, order=1, mode="nearest")
    owner = ndimage.map_coordinates(real.bone.astype(np.float32), moved, order=1, mode="nearest")
    before = real.bone[box]
    soft = float(rng.uniform(25, 75))
    behind = blurred((inside & (plane > 0)).astype(np.float32), tuple(0.4 / step for step in real.spacing_mm))
    left_behind = blurred(before.astype(np.float32), tuple(0.4 / step for step in real.spacing_mm))
    grain = real.hu[box] - blurred(real.hu[box], tuple(1.0 / step for step in real.spacing_mm))
    emptied = np.where(real.hu[box] > soft, soft + grain, real.hu[box])
    kept = real.hu[box] + (emptied - real.hu[box]) * left_behind * behind
    new = kept + (fragment - kept) * behind * owner
    mine = np.where(plane > 0, owner > 0.5, before) & inside
    share = gap_share(np.abs(plane), cut, voxel_mm) * blurred(mine.astype(np.float32), (0.5,) * 3)
    filled = new + np.maximum(share, 0) * (np.minimum(new, soft + grain) - new)
    filled += np.maximum(-share, 0) * np.maximum(new, 0) * 0.6
    hu[box] = filled
    lesion[box] = mine & (np.abs(plane) < LESION_MM)
    return np.asarray(hu, dtype=np.float32), lesion


def _lowered(real: RealBone, middle: Spot, loss: float) -> tuple[Field, Mask]:
    """The body around ``middle`` after its front lost this share of its height; what lies above follows a little."""
    half, depth, width = 7.0, 8.0, 12.0
    box = real.around(middle, 24.0)
    w, v, u = real.points(box, middle)
    front = np.clip((0.6 * depth - v) / (1.6 * depth), 0, 1) * np.clip((width + 3 - np.abs(u)) / 3, 0, 1)
    front = front * np.clip((v + depth + 6) / 4, 0, 1)
    rise = np.clip((half - w) / (2 * half), 0, 1) * np.clip((w + half + 8) / 8, 0, 1)
    shift = np.float32(loss * 2 * half) * front * rise
    grids = list(np.meshgrid(*(np.arange(part.start, part.stop, dtype=np.float32) for part in box), indexing="ij"))
    grids[0] = grids[0] - shift / np.float32(real.spacing_mm[0])
    hu, bone = real.hu.copy(), real.bone.copy()
    hu[box] = ndimage.map_coordinates(real.hu, np.stack(grids), order=1, mode="nearest")
    bone[box] = ndimage.map_coordinates(real.bone.astype(np.float32), np.stack(grids), order=1, mode="nearest") > 0.5
    return hu, bone


def insert_fracture(
    hu: NDArray[np.int16],
    labels: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    fracture: tuple[Vertebra, FractureKind],
    rng: np.random.Generator,
) -> tuple[NDArray[np.int16], Mask]:
    """Break one level of a real CT in the standard frame; returns the new HU and the lesion.

    ``labels`` (0, 1..7) names the levels' voxels. Raises ValueError when the level is not there or too little of it
    that a fracture of this type fits.
    """
    vertebra, kind = fracture
    bone = labels == vertebra
    if not bone.any():
        raise ValueError(f"{vertebra.name} is not in view")
    real = RealBone(hu.astype(np.float32), bone, spacing_mm)
    at = np.argwhere(bone).mean(axis=0) * spacing_mm
    middle = Spot(float(at[0]), float(at[1]) - (8.0 if vertebra == Vertebra.C1 else 11.0), float(at[2]))
    build = RING_BUILD if vertebra == 1 else AXIS_BUILD if vertebra == 2 else BUILDS[int(vertebra)]
    plan = plan_fracture(kind, build, rng)
    if plan.height_loss > 0:
        lowered, bone = _lowered(real, middle, plan.height_loss)
        real = RealBone(lowered, bone, spacing_mm)
    lesion = np.zeros(hu.shape, dtype=np.bool_)
    for cut in plan.cuts:
        wanted = Spot(*(a + b for a, b in zip(middle, cut.spot, strict=True)))
        spot = real.nearest_bone(wanted)
        if spot is None:
            continue
        broken, place = break_bone(real, cut, spot, rng)
        real = RealBone(broken, real.bone, spacing_mm)
        lesion |= place
    if not lesion.any():
        raise ValueError(f"no {kind} fracture fits what is in view of {vertebra.name}")
    return np.clip(np.rint(real.hu), -1024, 3071).astype(np.int16), lesion
