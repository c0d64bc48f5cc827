"""Cases and training slices: anatomies from the phantom or an atlas, painted anew with every slice that is drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.findings import Vertebra
from model.preprocess import PreprocessConfig, normalize
from training.synthesis.anatomy import Anatomy, Grid, Tissue
from training.synthesis.artifacts import random_slice_artifacts
from training.synthesis.atlas import Atlas
from training.synthesis.atlas_variation import AtlasVariation
from training.synthesis.augment import Contrast, paint
from training.synthesis.degeneration import degenerate
from training.synthesis.fractures import FractureKind, random_kind
from training.synthesis.phantom import PhantomConfig, make_anatomy
from training.synthesis.shapes import Field

CASE_SHAPE = (192, 144, 92)
AIR_HU = -1000


def random_fractures(rng: np.random.Generator) -> dict[Vertebra, FractureKind]:
    """Which levels of a case are fractured, and how: none in a third of the cases."""
    if rng.random() < 0.33:
        return {}
    return {level: random_kind(level, rng) for level in Vertebra if rng.random() < 0.3}


def case_plan(cases: int, atlas_share: float, seed: int) -> list[tuple[int, bool]]:
    """The seed of every case and whether it comes from the atlas, both kinds mixed evenly from the start."""
    return [(seed * 1_000_000 + k, int((k + 1) * atlas_share) > int(k * atlas_share)) for k in range(cases)]


def make_case(seed: int, atlas: Atlas | None, spacing_mm: float = 1.2) -> Anatomy:
    """The anatomy of one training case around the spine; with an atlas, from the atlas."""
    rng = np.random.default_rng(seed)
    extent = tuple(count * spacing_mm for count in CASE_SHAPE)
    origin = (-rng.uniform(88, 118), -rng.uniform(0.5, 0.62) * extent[1], -0.5 * extent[2])
    grid = Grid.centred(CASE_SHAPE, (spacing_mm,) * 3, origin)
    kinds = random_fractures(rng)
    if atlas is not None:
        anatomy = AtlasVariation(atlas, rng).anatomy(grid, kinds, rng)
    else:
        config = PhantomConfig(kinds=kinds, with_mandible=bool(rng.random() < 0.8), table=bool(rng.random() < 0.3))
        anatomy = make_anatomy(rng, grid, config)
    anatomy = degenerate(anatomy, grid, rng)
    cleft = anatomy.cleft.astype(np.float16) if kinds else np.broadcast_to(np.float16(0), CASE_SHAPE)
    return replace(anatomy, depth_mm=anatomy.depth_mm.astype(np.float16), cleft=cleft)


@dataclass(frozen=True, slots=True)
class SliceBatch:
    """Network input (n, row, column, 3) and level numbers (n, row, column)."""

    images: NDArray[np.float32]
    levels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SliceConfig:
    """Size of the training slices in voxels and how they are prepared.

    Raises ValueError for a size that is no multiple of ``preprocess.multiple``, the stride of the deepest encoder.
    """

    height: int = 192
    width: int = 160
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)

    def __post_init__(self) -> None:
        multiple = self.preprocess.multiple
        if self.height % multiple or self.width % multiple:
            raise ValueError(f"slices of {self.height} x {self.width} voxels: use multiples of {multiple}")


class SliceSampler:
    """Draws random 2.5-D training slices from cases."""

    def __init__(self, cases: Sequence[Anatomy], config: SliceConfig, rng: np.random.Generator) -> None:
        self._cases = cases
        self._config = config
        self._rng = rng

    def batch(self, count: int) -> SliceBatch:
        """That many random slices."""
        images, levels = zip(*(self._one() for _ in range(count)), strict=True)
        return SliceBatch(np.stack(images), np.stack(levels))

    def batches(self, count: int) -> Iterator[SliceBatch]:
        """Batches without end."""
        while True:
            yield self.batch(count)

    def _column(self, case: Anatomy) -> int:
        width = case.labels.shape[2]
        spread = self._rng.normal(0, 13) if self._rng.random() < 0.8 else self._rng.uniform(-width / 2, width / 2)
        return int(np.clip(round(width / 2 + spread), 2, width - 3))

    def _one(self) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        rng = self._rng
        case = self._cases[int(rng.integers(len(self._cases)))]
        column = self._column(case)
        sides = [-2, 0, 2] if rng.random() < 0.5 else [2, 0, -2]
        index = window_index(case.labels.shape[:2], self._config, rng)
        stack = self._warped(case, column, sides, index)
        spacing = (9.0, 1.2, 1.2)
        hu = random_slice_artifacts(paint(stack, Contrast.random(rng), spacing, rng), rng)
        kept = kept_view(hu.shape[1:], rng)
        hu[:, ~kept], stack.labels[:, ~kept] = AIR_HU, 0
        image = normalize(hu, self._config.preprocess).transpose(1, 2, 0)
        labels = np.where(stack.labels[1] <= 7, stack.labels[1], 0).astype(np.uint8)
        return image, labels

    def _warped(self, case: Anatomy, column: int, sides: list[int], index: NDArray[np.float64]) -> Anatomy:
        """Three neighboring sagittal slices (channel, row, column) on the window's pixels."""
        depth: list[Field] = []
        cleft: list[Field] = []
        tissue = []
        for side in sides:
            at = column + side
            for kept, values, outside in ((depth, case.depth_mm, 20.0), (cleft, case.cleft, 0.0)):
                shown = np.asarray(values[:, :, at], dtype=np.float32)
                kept.append(ndimage.map_coordinates(shown, index, order=1, mode="constant", cval=outside))
            filled = case.tissue[:, :, at]
            tissue.append(ndimage.map_coordinates(filled, index, order=0, mode="constant", cval=Tissue.AIR))
        labels = ndimage.map_coordinates(case.labels[:, :, column], index, order=0, mode="constant", cval=0)
        nothing = np.zeros((3, *labels.shape), dtype=np.bool_)
        return Anatomy(np.stack([labels] * 3), np.stack(depth), np.stack(tissue), nothing, np.stack(cleft))


def window_index(
    shape: Sequence[int],
    config: SliceConfig,
    rng: np.random.Generator,
    middle: tuple[float, float] | None = None,
) -> NDArray[np.float64]:
    """Indices (2, row, column) into a slice of every pixel: random place, zoom and rotation.

    Pixels are 0.84 to 1.2 of the slice's, the place is around ``middle`` (None: that of ``shape``).
    """
    zoom, angle = rng.uniform(0.84, 1.2), np.radians(rng.normal(0, 7))
    place = middle or (shape[0] / 2, shape[1] / 2)
    place = place[0] + rng.normal(0, 14), place[1] + rng.normal(0, 6)
    if rng.random() < 0.2:
        place = place[0] + rng.uniform(-50, 50), place[1]
    return turned_index(config, place, zoom, angle)


def turned_index(
    config: SliceConfig, middle: tuple[float, float], zoom: float = 1.0, angle: float = 0.0
) -> NDArray[np.float64]:
    """Indices (2, row, column) of a window of this size around ``middle``; ``angle`` in radians."""
    rows = np.arange(config.height)[:, None] - config.height / 2
    columns = np.arange(config.width)[None, :] - config.width / 2
    return np.stack(
        [
            zoom * (rows * np.cos(angle) - columns * np.sin(angle)) + middle[0],
            zoom * (rows * np.sin(angle) + columns * np.cos(angle)) + middle[1],
        ]
    )


def kept_view(shape: Sequence[int], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which pixels the field of view holds: sometimes it ends early above, below or in front."""
    height, width = shape
    keep = np.zeros((height, width), dtype=np.bool_)
    top = int(rng.uniform(0, 0.4) * height) if rng.random() < 0.25 else 0
    bottom = height - (int(rng.uniform(0, 0.5) * height) if rng.random() < 0.35 else 0)
    front = int(rng.uniform(0, 0.2) * width) if rng.random() < 0.2 else 0
    keep[top:bottom, front:] = True
    return keep
