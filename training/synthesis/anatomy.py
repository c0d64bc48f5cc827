"""What a synthetic neck is made of before contrast is chosen: tissues, distance to bone, labels and lesions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.findings import Vertebra
from training.synthesis.fractures import FractureKind
from training.synthesis.shapes import Field


class Tissue(IntEnum):
    """What fills a voxel outside bone; ``METAL`` also covers bone, ``BONE`` is mineral without a depth."""

    AIR = 0
    MUSCLE = 1
    FAT = 2
    DISC = 3
    NERVE = 4
    VESSEL = 5
    CARTILAGE = 6
    BRAIN = 7
    TOOTH = 8
    TABLE = 9
    METAL = 10
    FOAM = 11
    BONE = 12
    VEIN = 13


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One neck in the standard frame; all arrays have the same shape.

    ``depth_mm``: signed distance to the nearest bone surface (negative inside bone); ``labels``: 0 background,
    1..7 C1..C7, 8, 9 T1, T2; ``tissue``: values of ``Tissue``; ``fracture``: voxels of fractures; ``cleft``: above 0
    the share of a voxel that is an open fracture gap, below 0 the share by which impacted bone is denser.
    """

    labels: NDArray[np.uint8]
    depth_mm: NDArray[np.floating[Any]]
    tissue: NDArray[np.uint8]
    fracture: NDArray[np.bool_]
    cleft: NDArray[np.floating[Any]]
    kinds: Mapping[Vertebra, FractureKind] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grid:
    """Voxel centres in mm along the three axes of the standard frame (toward feet, backward, to the left)."""

    w: Field
    v: Field
    u: Field

    @classmethod
    def centred(
        cls, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], origin_mm: tuple[float, float, float]
    ) -> "Grid":
        """A grid of this shape whose voxel (0, 0, 0) lies at ``origin_mm``."""
        axes = (
            (np.arange(count, dtype=np.float32) * np.float32(step) + np.float32(start))
            for count, step, start in zip(shape, spacing_mm, origin_mm, strict=True)
        )
        return cls(*axes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels (slice, row, column)."""
        return len(self.w), len(self.v), len(self.u)

    def box(self, low: tuple[float, float, float], high: tuple[float, float, float]) -> tuple[slice, slice, slice]:
        """Indices of the voxels between two corners in mm (clipped to the grid; may be empty)."""
        found = []
        for axis, start, stop in zip((self.w, self.v, self.u), low, high, strict=True):
            found.append(slice(int(np.searchsorted(axis, start)), int(np.searchsorted(axis, stop))))
        return found[0], found[1], found[2]


SEEN_MM3 = 20.0
"""A fracture of less volume does not show: its level counts as intact."""


def seen(
    kinds: Mapping[Vertebra, FractureKind], labels: NDArray[np.uint8], fracture: NDArray[np.bool_], grid: Grid
) -> dict[Vertebra, FractureKind]:
    """Of the fractures that were planned, those that broke bone in the field of view."""
    voxel_mm3 = float(np.prod([axis[1] - axis[0] for axis in (grid.w, grid.v, grid.u)]))
    counts = np.bincount(labels[fracture], minlength=8)
    return {level: kind for level, kind in kinds.items() if counts[level] * voxel_mm3 >= SEEN_MM3}


def smooth_noise(shape: tuple[int, ...], cell: tuple[float, ...], rng: np.random.Generator) -> Field:
    """Smooth random field of unit amplitude whose features are about ``cell`` voxels wide."""
    coarse = tuple(max(2, int(np.ceil(count / width)) + 1) for count, width in zip(shape, cell, strict=True))
    return stretched(rng.random(size=coarse, dtype=np.float32) * 2 - 1, shape)


def stretched(field: Field, shape: tuple[int, ...]) -> Field:
    """The field on another shape by linear interpolation, corner to corner; every axis needs two values."""
    order = sorted(range(len(shape)), key=lambda axis: shape[axis] / field.shape[axis])
    for axis in order:
        count = shape[axis]
        at = np.linspace(0, field.shape[axis] - 1, count, dtype=np.float32)
        below = np.minimum(at.astype(np.intp), field.shape[axis] - 2)
        part = (at - below).reshape([-1 if k == axis else 1 for k in range(len(shape))])
        low = np.take(field, below, axis)
        step = np.take(field, below + 1, axis)
        step -= low
        step *= part
        low += step
        field = low
    return np.asarray(field, dtype=np.float32)


def blurred(field: Field, sigma: tuple[float, ...]) -> Field:
    """The field after a Gaussian of these widths in voxels."""
    if max(sigma) <= 0:
        return field
    return np.asarray(ndimage.gaussian_filter(field, sigma, truncate=2.5), dtype=np.float32)
