"""A folder of synthetic 2-D images in the source paper's form: axial and sagittal slices of generated vertebrae.

Each case is one level of one anatomy, painted twice as two scanners would show it; its slices are cut through the
level, where a fracture shows if there is one, and written as 8 bit PNG or JPEG in a bone window. The path of an image
tells its labels and its case: ``fracture/C5/case000123-sag-03.png``.
"""

import io
import json
import logging
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from scipy import ndimage

from model.findings import Vertebra
from training.evaluation.evaluate import TEST_SEED
from training.images.image_files import MASK_SUFFIX
from training.preparation.crop_cases import PAINTINGS, local_anatomy, painted
from training.synthesis.anatomy import Anatomy

logger = logging.getLogger(__name__)

RECORD_FILE = "synthetic-images.json"
SLICES = (2, 1)
"""Axial and sagittal slices of each painting."""
LEAST_FRACTURE_MM2 = 20.0
"""Less of a fracture does not show plainly in a slice."""
LEAST_SHARE = 0.45
"""A slice through a level shows this share of what its largest shows."""


@dataclass(frozen=True, slots=True)
class SyntheticImages:
    """Settings of ``python -m training images synthetic``."""

    output: Annotated[Path, Field(description="Folder of the images")]
    cases: Annotated[int, Field(gt=0, description="Cases to train and validate on")] = 500
    test_cases: Annotated[int, Field(ge=0, description="Cases to measure on, of seeds that no training uses")] = 160
    fractured: Annotated[float, Field(ge=0, le=1, description="Share of fractured cases")] = 0.5
    seed: Annotated[int, Field(ge=0, lt=800, description="Seed of the cases to train on")] = 41
    processes: Annotated[int, Field(gt=0, description="Processes that work at the same time")] = 2

    @property
    def seeds(self) -> list[int]:
        """The seed of every case."""
        first = self.seed * 1_000_000
        return [*range(first, first + self.cases), *range(TEST_SEED, TEST_SEED + self.test_cases)]


def make_images(config: SyntheticImages) -> int:
    """Make all images and a record; returns how many there are."""
    config.output.mkdir(parents=True, exist_ok=True)
    count = 0
    context = multiprocessing.get_context("spawn")
    with context.Pool(config.processes) as pool:
        for number, made in enumerate(pool.imap(partial(make_case_images, config), config.seeds), start=1):
            count += made
            if number % 50 == 0:
                logger.info("%d cases, %d images", number, count)
    record = {"cases": config.cases, "test_cases": config.test_cases, "seed": config.seed, "count": count}
    (config.output / RECORD_FILE).write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
    return count


def make_case_images(config: SyntheticImages, seed: int) -> int:
    """Write the images of one case; returns how many."""
    rng = np.random.default_rng((seed, 5))
    level = Vertebra(int(rng.integers(1, 8)))
    anatomy, grid = local_anatomy(seed, None, level, bool(rng.random() < config.fractured))
    fractured = level in anatomy.kinds
    spacing = (float(grid.w[1] - grid.w[0]), float(grid.v[1] - grid.v[0]), float(grid.u[1] - grid.u[0]))
    folder = config.output / ("fracture" if fractured else "normal") / level.name
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for _ in range(PAINTINGS):
        hu = painted(anatomy, grid, rng)
        for plane, shown, broken in _slices(hu, anatomy, level, spacing, rng, fractured=fractured):
            name = f"case{seed:06d}-{plane}-{number:02d}"
            _write(folder / name, shown, broken if fractured else None, rng)
            number += 1
    return number


def _slices(
    hu: NDArray[np.float32],
    anatomy: Anatomy,
    level: Vertebra,
    spacing: tuple[float, float, float],
    rng: np.random.Generator,
    *,
    fractured: bool,
) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
    """Slices through the level by plane, in HU, and the fracture (0..1) in them; it shows in each if there is one."""
    mine = anatomy.labels == level
    broken = anatomy.fracture & mine
    for plane, axis, count in (("ax", 0, SLICES[0]), ("sag", 2, SLICES[1])):
        others = tuple(k for k in range(3) if k != axis)
        pixel_mm2 = float(np.prod([spacing[k] for k in others]))
        shown = mine.sum(axis=others)
        usable = shown >= LEAST_SHARE * max(1, int(shown.max()))
        if fractured:
            usable = (shown > 0) & (broken.sum(axis=others) * pixel_mm2 >= LEAST_FRACTURE_MM2)
        places = np.flatnonzero(usable)
        for place in rng.choice(places, min(count, len(places)), replace=False):
            wide = (spacing[others[0]], spacing[others[1]])
            lesion = np.take(broken, int(place), axis).astype(np.float32)
            yield plane, square(np.take(hu, int(place), axis), wide), square(lesion, wide)


def square(values: NDArray[np.float32], spacing: tuple[float, float]) -> NDArray[np.float32]:
    """A slice with square pixels as fine as its finer axis."""
    fine = min(spacing)
    return np.asarray(ndimage.zoom(values, [step / fine for step in spacing], order=1), dtype=np.float32)


def _write(path: Path, hu: NDArray[np.float32], broken: NDArray[np.float32] | None, rng: np.random.Generator) -> None:
    """One slice, cut a little at random, in a random bone window, as PNG or JPEG; its fracture as a mask beside it."""
    cut = [int(rng.uniform(0, 0.1) * size) for size in (*hu.shape, *hu.shape)]
    part = (slice(cut[0], hu.shape[0] - cut[2]), slice(cut[1], hu.shape[1] - cut[3]))
    shown = hu[part]
    center, width = rng.uniform(250, 550), rng.uniform(1400, 2600)
    gray = np.clip((shown - (center - width / 2)) / width, 0, 1)
    content = io.BytesIO()
    image = Image.fromarray(np.rint(gray * 255).astype(np.uint8))
    jpeg = rng.random() < 0.4
    if jpeg:
        image.save(content, format="JPEG", quality=int(rng.integers(80, 96)))
    else:
        image.save(content, format="PNG")
    path.with_suffix(".jpg" if jpeg else ".png").write_bytes(content.getvalue())
    if broken is not None:
        mask = Image.fromarray(np.rint(255 * np.clip(broken[part], 0, 1)).astype(np.uint8))
        mask.save(path.with_suffix(MASK_SUFFIX))
