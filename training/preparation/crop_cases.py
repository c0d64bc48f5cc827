"""Prepared crops for the fracture network: from a seed each, a local anatomy painted and cut as in serving."""

import json
import logging
import multiprocessing
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.crops import CropConfig, CropGrid, crop_grid, crop_level, level_boxes
from model.findings import Vertebra
from model.preprocess import Volume
from training.fitting.crop_sampler import CropCase, write_shard
from training.synthesis.anatomy import Anatomy, Grid
from training.synthesis.artifacts import random_artifacts
from training.synthesis.atlas import Atlas, load_atlas
from training.synthesis.atlas_variation import AtlasVariation
from training.synthesis.augment import Contrast, paint
from training.synthesis.degeneration import degenerate
from training.synthesis.fractures import FractureKind, random_kind
from training.synthesis.phantom import PhantomConfig, make_anatomy
from training.synthesis.posture import random_column
from training.synthesis.shapes import Spot

logger = logging.getLogger(__name__)

REACH_MM = ((-36.0, 32.0), (-26.0, 52.0), (-46.0, 46.0))
"""How far the local anatomy reaches around the middle of a level's body."""
PAINTINGS = 2
SHARD = 60
RECORD_FILE = "crops.json"


@dataclass(frozen=True, slots=True)
class CropPlan:
    """Which crops to make: ``anatomies``, each painted twice; ``atlas_share`` of them from the atlas if given."""

    output: Path
    anatomies: int = 800
    atlas: Path | None = None
    atlas_share: float = 0.6
    fractured_share: float = 0.55
    seed: int = 11
    crops: CropConfig = field(default_factory=CropConfig)


def local_grid(middle: Spot, rng: np.random.Generator) -> Grid:
    """A grid around one level, as fine as scanners make it."""
    fine = float(rng.uniform(0.7, 1.0))
    steps = (float(rng.uniform(0.9, 1.6)), fine, fine)
    shape = [int((high - low) / step) for (low, high), step in zip(REACH_MM, steps, strict=True)]
    origin = [at + low for at, (low, _) in zip(middle, REACH_MM, strict=True)]
    return Grid.centred((shape[0], shape[1], shape[2]), steps, (origin[0], origin[1], origin[2]))


def local_anatomy(
    seed: int,
    atlas: Atlas | None,
    level: Vertebra,
    fractured: bool,  # noqa: FBT001 -- says what is made
) -> tuple[Anatomy, Grid]:
    """One level with its neighbors (broken less often), worn as necks are."""
    rng = np.random.default_rng(seed)
    kinds: dict[Vertebra, FractureKind] = {
        near: random_kind(near, rng)
        for near in Vertebra
        if abs(near - level) <= 1 and (fractured if near == level else rng.random() < 0.12)
    }
    if atlas is not None:
        variation = AtlasVariation(atlas, rng)
        grid = local_grid(variation.middle(int(level)), rng)
        anatomy = variation.anatomy(grid, kinds, rng)
    else:
        column = random_column(rng)
        grid = local_grid(column[int(level)].centre, rng)
        anatomy = make_anatomy(rng, grid, PhantomConfig(kinds=kinds, around=level), column)
    return degenerate(anatomy, grid, rng), grid


def painted(anatomy: Anatomy, grid: Grid, rng: np.random.Generator) -> NDArray[np.float32]:
    """The CT (HU) of a local anatomy with a random look and random artifacts."""
    spacing = tuple(float(axis[1] - axis[0]) for axis in (grid.w, grid.v, grid.u))
    hu = paint(anatomy, Contrast.random(rng), (spacing[0], spacing[1], spacing[2]), rng)
    return random_artifacts(hu, (spacing[0], spacing[1], spacing[2]), rng)


def cut_case(
    hu: Volume,
    labels: NDArray[np.uint8],
    lesion: NDArray[np.bool_],
    about: tuple[int, str, str],
    spacing_mm: tuple[float, float, float],
    config: CropConfig,
) -> CropCase:
    """The crop of one level with its truth, cut by the code that serves; ``about``: level, kind, source.

    Raises ValueError when the level is not in view.
    """
    level = about[0]
    boxes = level_boxes(np.where(labels == level, labels, 0).astype(np.uint8))
    if level not in boxes:
        raise ValueError(f"C{level} is not in view")
    return case_on_grid(hu, labels, lesion, about, crop_grid(hu.shape, boxes[level], spacing_mm, config), config)


def case_on_grid(
    hu: Volume,
    labels: NDArray[np.uint8],
    lesion: NDArray[np.bool_],
    about: tuple[int, str, str],
    grid: CropGrid,
    config: CropConfig,
) -> CropCase:
    """The crop of one level on its grid, exactly as the network is fed with it in serving, and its truth."""
    crop = crop_level(hu, labels, about[0], grid, config)
    truth = grid.sample(lesion)
    coarse = truth.reshape(len(truth), config.rows // 2, 2, config.columns // 2, 2).max(axis=(2, 4))
    shown, mine = np.ascontiguousarray(crop.images[..., 1]), np.ascontiguousarray(crop.images[..., 3])
    return CropCase(shown, mine, np.rint(coarse * 255).astype(np.uint8), *about)


def compact(case: CropCase) -> CropCase:
    """The same crop in less than half of the room, rounded by less than noise: how synthetic crops are kept."""
    return replace(case, shown=case.shown.astype(np.float16), mine=np.rint(case.mine * 255).astype(np.uint8))


def synthetic_crops(seed: int, atlas: Atlas | None, plan: CropPlan) -> list[CropCase]:
    """The crops of one seed: one level of one anatomy, painted several times."""
    rng = np.random.default_rng((seed, 1))
    level = Vertebra(int(rng.integers(1, 8)))
    anatomy, grid = local_anatomy(seed, atlas, level, bool(rng.random() < plan.fractured_share))
    spacing = tuple(float(axis[1] - axis[0]) for axis in (grid.w, grid.v, grid.u))
    kind = str(anatomy.kinds.get(level, ""))
    about = (int(level), kind, "atlas" if atlas else "phantom")
    lesion = anatomy.fracture & (anatomy.labels == level) if kind else np.zeros_like(anatomy.fracture)
    step = (spacing[0], spacing[1], spacing[2])
    return [
        compact(cut_case(painted(anatomy, grid, rng), anatomy.labels, lesion, about, step, plan.crops))
        for _ in range(PAINTINGS)
        if (anatomy.labels == level).any()
    ]


_ATLAS: Atlas | None = None


def _take_atlas(atlas: Atlas | None) -> None:
    global _ATLAS  # noqa: PLW0603 -- a worker process's own copy, sent once instead of with every case
    _ATLAS = atlas


def _make(task: tuple[int, bool], plan: CropPlan) -> list[CropCase]:
    seed, from_atlas = task
    return synthetic_crops(seed, _ATLAS if from_atlas else None, plan)


def make_crops(plan: CropPlan, processes: int = 2) -> int:
    """Make all crops of a plan into its folder (shards and a record); returns how many there are."""
    plan.output.mkdir(parents=True, exist_ok=True)
    atlas = load_atlas(plan.atlas) if plan.atlas else None
    share = plan.atlas_share if atlas else 0.0
    tasks = [(plan.seed * 1_000_000 + k, int((k + 1) * share) > int(k * share)) for k in range(plan.anatomies)]
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _take_atlas, (atlas,)) as pool:
        count = write_shards(
            plan.output, (case for cases in pool.imap(partial(_make, plan=plan), tasks) for case in cases)
        )
    settings = {key: value for key, value in asdict(plan).items() if key not in {"output", "atlas"}}
    record = settings | {"data": "phantom" + (" and SPL atlas" if atlas else ""), "count": count}
    (plan.output / RECORD_FILE).write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
    return count


def write_shards(folder: Path, cases: Iterator[CropCase]) -> int:
    """Write crops into numbered files as they come; returns how many there were."""
    waiting: list[CropCase] = []
    count = 0
    for case in cases:
        waiting.append(case)
        count += 1
        if len(waiting) == SHARD:
            write_shard(folder / f"{count // SHARD:05d}.npz", waiting)
            waiting = []
            logger.info("%d crops", count)
    if waiting:
        write_shard(folder / f"{count // SHARD + 1:05d}.npz", waiting)
    return count
