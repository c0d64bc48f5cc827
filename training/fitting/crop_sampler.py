"""Sequences of crop slices for training, drawn and changed at random from prepared crops."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.preprocess import Field
from training.datasets.studies import DataSetError
from training.fitting.feed import Batch
from training.fitting.stored_arrays import StoredArrays
from training.fitting.truth import UNKNOWN


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

    def read(self) -> "CropCase":
        """Itself: it is in memory."""
        return self


@dataclass(frozen=True, slots=True)
class StoredCrop:
    """A crop in a file of crops: its pixels are read when it is drawn."""

    shard: StoredArrays
    first: int
    last: int
    level: int
    kind: str
    source: str
    masked: bool

    def read(self) -> CropCase:
        """The crop, in memory."""
        shown, mine, mask = (np.array(self.shard.mapped(name)[self.first : self.last]) for name in PIXELS)
        return CropCase(shown, mine, mask, self.level, self.kind, self.source, self.masked)

    def __str__(self) -> str:
        return f"{self.shard.path.name} C{self.level}"


PIXELS = ("shown", "mine", "mask")


@dataclass(frozen=True, slots=True)
class SampleConfig:
    """How sequences are drawn: ``slices`` a sequence; ``positive_share`` of them from fractured levels.

    A slice counts as fractured where the mask covers ``seen_pixels`` pixels, a sequence where any slice does.
    ``mask_shape``: rows and columns of the network's mask. ``least_contrast``: fractures that stand out less from the
    bone around them (normalized HU) are left out, because a network that begins learns nothing from them.
    ``patch``: rows and columns of a piece around bone that is cut out of every crop, so that a beginning sees more
    fractures for the same work; None: all of it. Without ``augment`` crops are as they are, for validation.
    """

    slices: int = 8
    positive_share: float = 0.5
    seen_pixels: float = 3.0
    largest_shift: int = 5
    mask_shape: tuple[int, int] = (80, 96)
    least_contrast: float | None = None
    patch: int | None = None
    augment: bool = True


def write_shard(path: Path, cases: Sequence[CropCase]) -> None:
    """Write crops as one file of plain arrays."""
    arrays: dict[str, Any] = {
        "slices": np.array([len(case.shown) for case in cases]),
        "level": np.array([case.level for case in cases]),
        "kind": np.array([case.kind for case in cases]),
        "source": np.array([case.source for case in cases]),
        "masked": np.array([case.masked for case in cases]),
    }
    for name in PIXELS:
        arrays[name] = np.concatenate([getattr(case, name) for case in cases])
    np.savez(path, **arrays)


def stored_crops(path: Path) -> list[StoredCrop]:
    """The crops of one file, their pixels unread; those of a file without ``masked`` have their fractures marked."""
    shard = StoredArrays(path)
    counts, levels, kinds, sources = (shard.mapped(name).tolist() for name in ("slices", "level", "kind", "source"))
    masked = shard.mapped("masked").tolist() if "masked" in shard else [True] * len(counts)
    ends = np.cumsum(counts).tolist()
    firsts = [end - count for end, count in zip(ends, counts, strict=True)]
    about = zip(firsts, ends, levels, kinds, sources, masked, strict=True)
    return [StoredCrop(shard, *one) for one in about]


def read_shard(path: Path) -> list[CropCase]:
    """The crops of one file, in memory."""
    return [crop.read() for crop in stored_crops(path)]


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
    """Draws sequences from all crops of some folders or files; those with and without a fracture equally often.

    Raises ``DataSetError`` where either kind is missing; to validate (without ``augment``) one kind is enough.

    A fracture whose voxels nobody marked is drawn over the whole height of its level and has neither mask nor slices
    to learn from; where pieces are cut out (``patch``) it is left out, because the piece may miss it.
    """

    def __init__(self, paths: Sequence[Path], config: SampleConfig, rng: np.random.Generator) -> None:
        files = [file for path in paths for file in (sorted(path.glob("*.npz")) if path.is_dir() else [path])]
        crops = [crop for file in files for crop in stored_crops(file)]
        usable = (crop for crop in crops if crop.kind and (crop.masked or config.patch is None))
        least = config.least_contrast
        self._broken: list[StoredCrop | CropCase] = [
            crop for crop in usable if least is None or not crop.masked or contrast(crop.read()) >= least
        ]
        self._intact: list[StoredCrop | CropCase] = [crop for crop in crops if not crop.kind]
        if not (self._broken and self._intact) and (config.augment or not crops):
            raise DataSetError(
                f"crops of fractured and of intact levels are needed, here are {len(self._broken)} and"
                f" {len(self._intact)}: make them with `python -m training crops` or `prepare`"
            )
        self._config = config
        self._rng = rng

    def batch(self, count: int, rng: np.random.Generator | None = None) -> Batch:
        """Crops (count, slice, row, column, 4) and their truth, as the sequence network is trained."""
        self._rng = rng or self._rng
        drawn = [self._one() for _ in range(count)]
        images, mask, seen, fracture = (np.stack(part) for part in list(zip(*drawn, strict=True))[:4])
        return Batch(images, {"mask": mask, "slice": seen, "fracture": fracture}, tuple(one[4] for one in drawn))

    def _one(self) -> tuple[Field, Field, Field, Field, str]:
        rng, augment = self._rng, self._config.augment
        broken = rng.random() < self._config.positive_share
        pool = (self._broken if broken else self._intact) or self._broken or self._intact
        crop = pool[int(rng.integers(len(pool)))]
        case = crop.read()
        wanted = self._wanted(case)
        shown = case.shown.astype(np.float32)
        shown = self._recolored(shown) if augment else shown
        last = len(shown) - 1
        order = -1 if augment and rng.random() < 0.1 else 1
        sides = [shown[np.clip(wanted + side * order, 0, last)] for side in (-1, 0, 1)]
        mine = case.mine[wanted]
        images = np.stack([*sides, self._blunted(mine) if augment else level_share(mine)], axis=-1)
        mask = case.mask[wanted].astype(np.float32)[..., None] / np.float32(255)
        if augment:
            images, mask = self._moved(images, mask)
        if self._config.patch is not None:
            images, mask = self._cut(images, mask, self._config.patch)
        seen = (mask.sum(axis=(1, 2, 3)) >= self._config.seen_pixels).astype(np.float32)
        fracture = seen.max(keepdims=True)
        mask = resized_mask(mask, self._config.mask_shape)
        if not case.masked:
            mask, seen = np.full_like(mask, UNKNOWN), np.full_like(seen, UNKNOWN)
            fracture = np.array([float(bool(case.kind))], dtype=np.float32)
        return images, mask, seen, fracture, str(crop)

    def _wanted(self, case: CropCase) -> NDArray[np.intp]:
        """Neighboring or every other slice of the crop, the last one repeated where it is short.

        All of it, evenly, where the fracture may be anywhere and where nothing is changed at random.
        """
        rng, count, length = self._rng, len(case.shown), self._config.slices
        if not self._config.augment or not case.masked:
            return np.rint(np.linspace(0, count - 1, length)).astype(np.intp)
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
