"""Training data for both networks, as endless batches. No Keras here: the process that makes them needs none."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from model.crops import CropConfig
from training.atlas import Atlas
from training.crop_sampler import CropSampler, SampleConfig
from training.dataset import SliceConfig, SliceSampler, case_plan, make_case
from training.feed import Batch

FIRST_CASES = 12


@dataclass(frozen=True, slots=True)
class LevelData:
    """Synthetic cases for the level network; ``atlas_share`` of them are made from the atlas, if one is given."""

    atlas: Path | None = None
    atlas_share: float = 0.65
    cases: int = 160
    slices: SliceConfig = field(default_factory=SliceConfig)


@dataclass(frozen=True, slots=True)
class CropData:
    """Prepared vertebra crops for the fracture network (``python -m training crops``)."""

    folders: tuple[Path, ...]
    crops: CropConfig = field(default_factory=CropConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)


def level_batches(data: LevelData, atlas: Atlas | None, batch: int, seed: int) -> Iterator[Batch]:
    """Slices without end; the cases are made while the first batches are already drawn, always in the same order."""
    plan = case_plan(data.cases, data.atlas_share if atlas else 0.0, seed)
    cases = [make_case(number, atlas if from_atlas else None) for number, from_atlas in plan[:FIRST_CASES]]
    sampler = SliceSampler(cases, data.slices, np.random.default_rng(seed + 77))
    for number, from_atlas in plan[FIRST_CASES:]:
        drawn = sampler.batch(batch)
        yield drawn.images, {"levels": drawn.levels}
        cases.append(make_case(number, atlas if from_atlas else None))
    for drawn in sampler.batches(batch):
        yield drawn.images, {"levels": drawn.levels}


def crop_batches(data: CropData, batch: int, seed: int) -> Iterator[Batch]:
    """Sequences of crop slices without end."""
    sampler = CropSampler(data.folders, data.sample, np.random.default_rng(seed + 78))
    while True:
        yield sampler.batch(batch)
