"""A crop around each vertebra for the fracture network, and its maps back on the source grid (pure: numpy and scipy).

Arrays are (slice, row, column) in the standard frame. A crop is axis-aligned and centred on its level's mask. Its four
channels are the slice above, the slice itself, the slice below, and the share of the level in each pixel: the mask
tells the network which of the bones in the crop is meant.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.findings import Vertebra
from model.preprocess import Field, PreprocessConfig, Spacing, Volume, normalize

CROP_CHANNELS = 4
MARGIN_SLICES = 1


@dataclass(frozen=True, slots=True)
class CropConfig:
    """Size of a crop: ``rows`` x ``columns`` pixels of ``pixel_mm``, slices ``slice_mm`` apart, at most ``slices``."""

    pixel_mm: float = 0.9
    slice_mm: float = 1.5
    rows: int = 80
    columns: int = 96
    slices: int = 32
    low_hu: float = -250.0
    high_hu: float = 1450.0

    @property
    def window(self) -> PreprocessConfig:
        """The window of HU, as ``normalize`` takes it."""
        return PreprocessConfig(low_hu=self.low_hu, high_hu=self.high_hu)


Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class CropGrid:
    """Where a crop lies: source index (fractional) of crop index k is ``first + k * step``, for each axis.

    ``box`` is the level's own in the source, ``parts`` are the source voxels that the crop needs, ``weights`` (new,
    part) how they are mixed along each axis.
    """

    box: Box
    first: tuple[float, ...]
    step: tuple[float, ...]
    parts: Box
    weights: tuple[Field, Field, Field]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of the crop."""
        return len(self.weights[0]), len(self.weights[1]), len(self.weights[2])

    def sample(self, values: NDArray[np.generic]) -> Field:
        """A source array on the crop's grid; zero outside the source."""
        slices, rows, columns = self.weights
        part = np.asarray(values[self.parts], dtype=np.float32)
        flat = np.matmul(slices, part.reshape(part.shape[0], -1)).reshape(len(slices), *part.shape[1:])
        return np.asarray(np.matmul(np.matmul(rows, flat), columns.T), dtype=np.float32)

    def covered(self) -> Field:
        """One inside the source, zero outside."""
        slices, rows, columns = (weight.sum(axis=1) for weight in self.weights)
        return np.asarray(slices[:, None, None] * rows[:, None] * columns, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Crop:
    """The crop of one level: network input (slice, row, column, 4) and its grid."""

    level: int
    images: Field
    grid: CropGrid


def level_boxes(labels: NDArray[np.uint8]) -> Mapping[int, Box]:
    """The smallest box around each level (1..7) that has a voxel."""
    found = ndimage.find_objects(labels, max_label=len(Vertebra))
    return {level: box for level, box in enumerate(found, start=1) if box is not None}


def sampling(count: int, at: NDArray[np.float64], step: float) -> tuple[slice, Field]:
    """How to sample an axis of ``count`` voxels at fractional indices: the part needed and weights (new, part).

    Linear where the new axis is finer, averaging over ``step`` voxels where it is coarser; zero outside the source.
    """
    width = max(1.0, step)
    low = int(np.clip(np.floor(at[0] - width), 0, count - 1))
    high = int(np.clip(np.ceil(at[-1] + width) + 1, low + 1, count))
    distance = np.abs(at[:, None] - np.arange(low, high)[None, :]) / width
    weights = np.clip(1 - distance, 0, None)
    total = weights.sum(axis=1, keepdims=True)
    inside = ((at > -0.5) & (at < count - 0.5))[:, None]
    scaled = np.where(inside, weights / np.maximum(total, 1e-6), 0)
    return slice(low, high), scaled.astype(np.float32)


def crop_grid(shape: tuple[int, ...], box: Box, spacing_mm: Spacing, config: CropConfig) -> CropGrid:
    """The grid of the crop of a level whose voxels lie in ``box`` of a volume of this shape."""
    target = (config.slice_mm, config.pixel_mm, config.pixel_mm)
    step = tuple(new / old for new, old in zip(target, spacing_mm, strict=True))
    extent = int(np.ceil((box[0].stop - box[0].start) / step[0])) + 2 * MARGIN_SLICES
    sizes = (min(config.slices, max(3, extent)), config.rows, config.columns)
    first, parts, weights = [], [], []
    for axis in range(3):
        start = (box[axis].start + box[axis].stop - 1) / 2 - (sizes[axis] - 1) / 2 * step[axis]
        part, weight = sampling(shape[axis], start + np.arange(sizes[axis]) * step[axis], step[axis])
        first.append(float(start))
        parts.append(part)
        weights.append(weight)
    return CropGrid(box, tuple(first), step, (parts[0], parts[1], parts[2]), (weights[0], weights[1], weights[2]))


def crop_level(hu: Volume, labels: NDArray[np.uint8], level: int, grid: CropGrid, config: CropConfig) -> Crop:
    """The crop of a level: HU normalized, air outside the volume."""
    shown = grid.sample(hu) + np.float32(config.low_hu) * (1 - grid.covered())
    mine = np.zeros(labels.shape, dtype=np.bool_)
    mine[grid.parts] = labels[grid.parts] == level
    return Crop(level, _channels(normalize(shown, config.window), grid.sample(mine)), grid)


def _channels(shown: Field, mine: Field) -> Field:
    """Network input of normalized slices (slice, row, column) and the level's share."""
    above = np.concatenate([shown[:1], shown[:-1]])
    below = np.concatenate([shown[1:], shown[-1:]])
    return np.ascontiguousarray(np.stack([above, shown, below, mine], axis=-1))


def level_crops(hu: Volume, labels: NDArray[np.uint8], spacing_mm: Spacing, config: CropConfig) -> tuple[Crop, ...]:
    """The crops of all levels in ``labels``, from C1 downwards."""
    return tuple(
        crop_level(hu, labels, level, crop_grid(hu.shape, box, spacing_mm, config), config)
        for level, box in sorted(level_boxes(labels).items())
    )


def restored(values: Field, crop: Crop, box: Box) -> Field:
    """A map (slice, row, column) that covers the crop, on the source grid within ``box``, linearly; zero beyond it.

    Rows and columns of ``values`` may be fewer than the crop's (a network's coarser output): it is stretched.
    """
    sizes, grid = crop.grid.shape, crop.grid
    result = values
    for axis in (2, 1, 0):
        at = (np.arange(box[axis].start, box[axis].stop) - grid.first[axis]) / grid.step[axis]
        ratio = values.shape[axis] / sizes[axis]
        inner = np.clip((at + 0.5) * ratio - 0.5, 0, values.shape[axis] - 1)
        low = np.minimum(inner.astype(np.intp), max(0, values.shape[axis] - 2))
        part = (inner - low).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
        high = np.minimum(low + 1, values.shape[axis] - 1)
        inside = ((at >= -0.5) & (at <= sizes[axis] - 0.5)).reshape(part.shape)
        result = (np.take(result, low, axis) * (1 - part) + np.take(result, high, axis) * part) * inside
    return np.asarray(result, dtype=np.float32)
