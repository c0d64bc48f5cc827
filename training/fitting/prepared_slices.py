"""2.5-D sagittal slices for the level network, drawn and changed at random from the fields of prepared studies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.preprocess import HU_PER_UNIT, Field, normalize
from training.datasets.studies import DataSetError
from training.fitting.dataset import AIR_HU, SliceBatch, SliceConfig, kept_view, turned_index, window_index
from training.fitting.truth import UNKNOWN_LEVEL
from training.preparation.prepared import read_field
from training.synthesis.artifacts import random_slice_artifacts

Image = tuple[Field, NDArray[np.uint8], str]
LAST_LEVEL = 7


class PreparedSlices:
    """Draws slices from the fields of studies, each study as often as any other.

    Labels from 8 on (thoracic levels) are background; ``UNKNOWN_LEVEL`` is kept and not trained on. What lies beyond a
    field is air without a level. Without ``augment`` slices are as they are, around the middle of the levels.
    """

    def __init__(self, files: Sequence[Path], config: SliceConfig, *, augment: bool = True) -> None:
        if not files:
            raise DataSetError("no study with labeled levels: at least one is needed to train and to validate")
        self._files = files
        self._config = config
        self._augment = augment
        self._where: dict[Path, _Where] = {}

    def batch(self, count: int, rng: np.random.Generator) -> tuple[SliceBatch, tuple[str, ...]]:
        """That many slices, and the studies that they are from."""
        images, levels, names = zip(*(self._one(rng) for _ in range(count)), strict=True)
        return SliceBatch(np.stack(images), np.stack(levels)), names

    def _one(self, rng: np.random.Generator) -> Image:
        file = self._files[int(rng.integers(len(self._files)))]
        field, labels = _read(file)
        if file not in self._where:
            self._where[file] = _Where.of(labels)
        where = self._where[file]
        column = int(rng.choice(where.columns) if rng.random() < 0.8 else rng.integers(labels.shape[2]))
        neighbor = self._config.preprocess.neighbor
        sides = np.array([-neighbor, 0, neighbor]) * (-1 if self._augment and rng.random() < 0.5 else 1)
        columns = np.clip(column + sides, 0, labels.shape[2] - 1)
        shown = np.ascontiguousarray(field[:, :, columns], dtype=np.float32).transpose(2, 0, 1)
        if self._augment:
            index = window_index(labels.shape[:2], self._config, rng, where.middle)
        else:
            index = turned_index(self._config, where.middle)
        air = AIR_HU / HU_PER_UNIT
        image = np.stack([ndimage.map_coordinates(one, index, order=1, mode="constant", cval=air) for one in shown])
        truth = ndimage.map_coordinates(labels[:, :, column], index, order=0, mode="constant", cval=0)
        truth = np.where((truth > LAST_LEVEL) & (truth != UNKNOWN_LEVEL), 0, truth).astype(np.uint8)
        hu = image * np.float32(HU_PER_UNIT)
        if self._augment:
            hu = random_slice_artifacts(_recolored(hu, rng), rng)
            kept = kept_view(truth.shape, rng)
            hu[:, ~kept], truth[~kept] = AIR_HU, 0
        return normalize(hu, self._config.preprocess).transpose(1, 2, 0), truth, file.stem


def _read(file: Path) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The volume and levels of a study, mapped; ``DataSetError`` where they cannot be read or there are no levels."""
    try:
        field, labels = read_field(file)
    except (OSError, ValueError) as error:
        raise DataSetError(f"{file} cannot be read ({error}): prepare its study again") from error
    if labels is None or labels.shape != field.shape:
        raise DataSetError(f"{file} has no levels of its own shape: prepare its study again")
    return field, labels


@dataclass(frozen=True, slots=True)
class _Where:
    """The columns of a study with levels (all, where there are none), and the middle (row, column) of all levels."""

    columns: NDArray[np.intp]
    middle: tuple[float, float]

    @classmethod
    def of(cls, labels: NDArray[np.uint8]) -> "_Where":
        known = (labels > 0) & (labels <= LAST_LEVEL)
        if not known.any():
            return cls(np.arange(labels.shape[2]), (labels.shape[0] / 2, labels.shape[1] / 2))
        rows, depths, columns = (np.flatnonzero(known.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
        return cls(columns, (float(rows[0] + rows[-1]) / 2, float(depths[0] + depths[-1]) / 2))


def _recolored(hu: Field, rng: np.random.Generator) -> Field:
    """Other contrast, another scale's offset and more noise, some of it coarse."""
    changed = hu * np.float32(rng.uniform(0.85, 1.18)) + np.float32(rng.normal(0, 20))
    bone = np.clip(hu - 150, 0, None) * np.float32(rng.normal(0, 0.12))
    noise = rng.standard_normal(hu.shape, dtype=np.float32) * np.float32(rng.uniform(0, 45))
    if rng.random() < 0.5:
        noise = ndimage.gaussian_filter(noise, (0, 0.7, 0.7)) * np.float32(2)
    return np.asarray(changed + bone + noise, dtype=np.float32)
