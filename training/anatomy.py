"""What a synthetic neck is made of before contrast is chosen: tissues, distance to bone, labels and lesions."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.shapes import Field


class Tissue(IntEnum):
    """What fills a voxel that is not bone."""

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


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One neck in the standard frame; all arrays have the same shape.

    ``depth_mm``: signed distance to the nearest bone surface (negative inside bone); ``labels``: 0 background,
    1..7 C1..C7, 8, 9 T1, T2; ``tissue``: values of ``Tissue``; ``fracture``: voxels of fractures.
    """

    labels: NDArray[np.uint8]
    depth_mm: NDArray[np.floating[Any]]
    tissue: NDArray[np.uint8]
    fracture: NDArray[np.bool_]


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


def smooth_noise(shape: tuple[int, ...], cell: tuple[float, ...], rng: np.random.Generator) -> Field:
    """Smooth random field of unit amplitude whose features are about ``cell`` voxels wide."""
    coarse = tuple(max(2, int(np.ceil(count / width)) + 1) for count, width in zip(shape, cell, strict=True))
    field = rng.uniform(-1, 1, size=coarse).astype(np.float32)
    zoomed = field
    for axis, count in enumerate(shape):
        at = np.linspace(0, zoomed.shape[axis] - 1, count, dtype=np.float32)
        below = np.minimum(at.astype(np.intp), zoomed.shape[axis] - 2)
        part = (at - below).reshape([-1 if k == axis else 1 for k in range(len(shape))])
        zoomed = np.take(zoomed, below, axis) * (1 - part) + np.take(zoomed, below + 1, axis) * part
    return np.asarray(zoomed, dtype=np.float32)


def blurred(field: Field, sigma: tuple[float, ...]) -> Field:
    """The field after a Gaussian of these widths in voxels."""
    if max(sigma) <= 0:
        return field
    return np.asarray(ndimage.gaussian_filter(field, sigma, truncate=2.5), dtype=np.float32)
