"""Sequences of crop slices for training, drawn and changed at random from prepared crops."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.preprocess import Field


@dataclass(frozen=True, slots=True)
class CropCase:
    """One prepared crop: normalized slices (slice, row, column), the level's share and the fracture mask as 0..255.

    Crops of ``prepare`` hold slices and share as float32, exactly as the network is fed in serving; synthetic ones
    hold float16 and 0..255, which takes less room: ``level_share`` reads both. ``mask`` has half the rows and columns.
    ``kind`` is empty for an intact level; ``source`` names where it comes from.
    ``masked`` is False where the fracture's voxels are not marked: then only the crop as a whole is trained on.
    """

    shown: NDArray[np.float32] | NDArray[np.float16]
    mine: NDArray[np.float32] | NDArray[np.uint8]
    mask: NDArray[np.uint8]
    level: int
    kind: str
    source: str
    masked: bool = True


@dataclass(frozen=True, slots=True)
class SampleConfig:
    """How sequences are drawn: ``slices`` a sequence; ``positive_share`` of them from fractured levels.

    A slice counts as fractured where the mask covers ``seen_pixels`` pixels, a sequence where any slice does.
    ``mask_shape``: rows and columns of the network's mask. ``least_contrast``: fractures that stand out less from the
    bone around them (normalized HU) are left out, because a network that begins learns nothing from them.
    ``patch``: rows and columns of a piece around bone that is cut out of every crop, so that a beginning sees more
    fractures for the same work; None: all of it.
    """

    slices: int = 8
    positive_share: float = 0.5
    seen_pixels: float = 3.0
    largest_shift: int = 5
    mask_shape: tuple[int, int] = (80, 96)
    least_contrast: float | None = None
    patch: int | None = None


def write_shard(path: Path, cases: Sequence[CropCase]) -> None:
    """Write crops as one file of plain arrays."""
    arrays: dict[str, Any] = {
        "slices": np.array([len(case.shown) for case in cases]),
        "level": np.array([case.level for case in cases]),
        "kind": np.array([case.kind for case in cases]),
        "source": np.array([case.source for case in cases]),
        "masked": np.array([case.masked for case in cases]),
    }
    for name in ("shown", "mine", "mask"):
        arrays[name] = np.concatenate([getattr(case, name) for case in cases])
    np.savez(path, **arrays)


def read_shard(path: Path) -> list[CropCase]:
    """The crops of one file; those of a file without ``masked`` have their fractures marked."""
    with np.load(path, allow_pickle=False) as stored:
        ends = np.cumsum(stored["slices"])[:-1]
        parts = [np.split(stored[name], ends) for name in ("shown", "mine", "mask")]
        masked = stored["masked"] if "masked" in stored else np.ones(len(stored["slices"]), bool)
        about = zip(stored["level"], stored["kind"], stored["source"], masked, strict=True)
        return [
            CropCase(shown, mine, mask, int(level), str(kind), str(source), bool(marked))
            for shown, mine, mask, (level, kind, source, marked) in zip(*parts, about, strict=True)
        ]


def level_share(mine: NDArray[np.float32] | NDArray[np.uint8]) -> Field:
    """The level's share in each pixel, 0..1, of what a crop holds of it."""
    share = np.asarray(mine, dtype=np.float32)
    return share / np.float32(255) if mine.dtype == np.uint8 else share


def contrast(case: CropCase) -> float:
    """By how much the bone around a fracture is brighter than the fracture (normalized HU); 0 where either is tiny."""
    slices, rows, columns = case.mask.shape
    blocks = (slices, rows, case.shown.shape[1] // rows, columns, case.shown.shape[2] // columns)
    shown = case.shown.astype(np.float32).reshape(blocks).mean(axis=(2, 4))
    mine = level_share(case.mine).reshape(blocks).mean(axis=(2, 4)) > 0.4
    lesion = case.mask > 150
    around = ndimage.binary_dilation(lesion, np.ones((3, 5, 5))) & mine & ~lesion
    if lesion.sum() < 5 or around.sum() < 5:
        return 0.0
    return float(shown[around].mean() - shown[lesion].mean())


def crop_images(case: CropCase) -> Field:
    """Network input (slice, row, column, 4) of a prepared crop, unchanged."""
    shown = case.shown.astype(np.float32)
    above, below = np.concatenate([shown[:1], shown[:-1]]), np.concatenate([shown[1:], shown[-1:]])
    return np.stack([above, shown, below, level_share(case.mine)], axis=-1)


class CropSampler:
    """Draws sequences from all shards of some folders; those with and without a fracture equally often."""

    def __init__(self, folders: Sequence[Path], config: SampleConfig, rng: np.random.Generator) -> None:
        cases = [case for folder in folders for path in sorted(folder.glob("*.npz")) for case in read_shard(path)]
        least = -np.inf if config.least_contrast is None else config.least_contrast
        self._broken = [case for case in cases if case.kind and contrast(case) >= least]
        self._intact = [case for case in cases if not case.kind]
        if not self._broken or not self._intact:
            raise ValueError("crops of fractured and of intact levels are needed: run `python -m training crops` first")
        self._config = config
        self._rng = rng

    def batch(self, count: int) -> tuple[Field, dict[str, Field]]:
        """Crops (count, slice, row, column, 4) and their truth, as the sequence network is trained."""
        drawn = [self._one() for _ in range(count)]
        images, mask, seen = (np.stack(part) for part in zip(*drawn, strict=True))
        fracture = seen.max(axis=1, keepdims=True)
        return images, {"mask": mask, "slice": seen, "fracture": fracture}

    def _one(self) -> tuple[Field, Field, Field]:
        rng = self._rng
        pool = self._broken if rng.random() < self._config.positive_share else self._intact
        case = pool[int(rng.integers(len(pool)))]
        wanted = self._wanted(case)
        shown = self._recolored(case.shown.astype(np.float32))
        last = len(shown) - 1
        order = -1 if rng.random() < 0.1 else 1
        sides = [shown[np.clip(wanted + side * order, 0, last)] for side in (-1, 0, 1)]
        images = np.stack([*sides, self._blunted(case.mine[wanted])], axis=-1)
        mask = case.mask[wanted].astype(np.float32)[..., None] / np.float32(255)
        images, mask = self._moved(images, mask)
        if self._config.patch is not None:
            images, mask = self._cut(images, mask, self._config.patch)
        seen = (mask.sum(axis=(1, 2, 3)) >= self._config.seen_pixels).astype(np.float32)
        return images, resized_mask(mask, self._config.mask_shape), seen

    def _wanted(self, case: CropCase) -> NDArray[np.intp]:
        """Neighboring or every other slice of the crop, the last one repeated where it is short."""
        rng, count, length = self._rng, len(case.shown), self._config.slices
        stride = 2 if count > length and rng.random() < 0.75 else 1
        room = max(0, count - (length - 1) * stride - 1)
        start = int(rng.integers(0, room + 1))
        broken = np.flatnonzero(case.mask.any(axis=(1, 2)))
        if len(broken) and rng.random() < 0.8:  # a window that a fracture shows in
            start = int(np.clip(rng.choice(broken) - stride * rng.integers(length), 0, room))
        return np.minimum(start + stride * np.arange(length), count - 1)

    def _recolored(self, shown: Field) -> Field:
        rng = self._rng
        low = shown.min()
        changed = shown * np.float32(rng.uniform(0.85, 1.2)) + np.float32(rng.normal(0, 0.06))
        if rng.random() < 0.5:
            changed += rng.standard_normal(shown.shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.12))
        return np.asarray(np.maximum(changed, low), dtype=np.float32)

    def _blunted(self, mine: NDArray[np.float32] | NDArray[np.uint8]) -> Field:
        """The level's share as a network would find it: a little larger, smaller or fainter."""
        blunted: Field = np.clip(level_share(mine) * np.float32(self._rng.uniform(0.7, 1.6)), 0, 1)
        return blunted

    def _cut(self, images: Field, mask: Field, size: int) -> tuple[Field, Field]:
        """A piece around a voxel of the fracture, or, where there is none and sometimes else, of the level."""
        rng, ratio = self._rng, images.shape[1] // mask.shape[1]
        on_fracture = mask.any() and rng.random() < 0.75
        where = (
            np.argwhere(mask[..., 0] > 0.5) * (1, ratio, ratio) if on_fracture else np.argwhere(images[..., 3] > 0.5)
        )
        middle = where[int(rng.integers(len(where)))][1:] if len(where) else np.array(images.shape[1:3]) // 2
        middle = middle + rng.integers(-size // 4, size // 4 + 1, size=2)
        corner = np.clip(middle - size // 2, 0, np.array(images.shape[1:3]) - size) // ratio * ratio
        rows, columns = (slice(int(start), int(start) + size) for start in corner)
        coarse = tuple(slice(part.start // ratio, part.stop // ratio) for part in (rows, columns))
        return images[:, rows, columns], mask[:, coarse[0], coarse[1]]

    def _moved(self, images: Field, mask: Field) -> tuple[Field, Field]:
        """The crop shifted by whole mask pixels and, half of the time, mirrored from right to left."""
        rng, reach = self._rng, self._config.largest_shift
        ratio = images.shape[1] // mask.shape[1]
        down, across = (int(k) for k in rng.integers(-reach, reach + 1, size=2))
        images = _shifted(images, (down // ratio * ratio, across // ratio * ratio))
        mask = _shifted(mask, (down // ratio, across // ratio))
        if rng.random() < 0.5:
            return images[:, :, ::-1], mask[:, :, ::-1]
        return images, mask


def resized_mask(mask: Field, shape: tuple[int, int]) -> Field:
    """A mask (slice, row, column, 1) on another size: repeated where it is finer, the highest value where coarser."""
    for axis, count in enumerate(shape, start=1):
        size = mask.shape[axis]
        if count > size:
            mask = np.take(mask, np.arange(count) * size // count, axis=axis)
        elif count < size:
            mask = np.maximum.reduceat(mask, np.arange(count) * size // count, axis=axis)
    return mask


def _shifted(values: Field, by: tuple[int, int]) -> Field:
    """Rows and columns moved; what comes in repeats the edge (images) and is never a fracture (an empty edge)."""
    rows = np.clip(np.arange(values.shape[1]) - by[0], 0, values.shape[1] - 1)
    columns = np.clip(np.arange(values.shape[2]) - by[1], 0, values.shape[2] - 1)
    return values[:, rows][:, :, columns]
