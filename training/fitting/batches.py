"""Training data for both networks: the batch of every step. No Keras here: processes that make them need none.

A batch is drawn with a generator of its own, seeded by the run's seed and the step, so that any batch can be made
without those before it.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from model.crops import CropConfig
from model.preprocess import PreprocessConfig
from training.datasets.studies import DataSetError
from training.fitting.crop_sampler import CropSampler, SampleConfig
from training.fitting.dataset import SliceConfig, SliceSampler, case_plan
from training.fitting.feed import Batch, Source
from training.fitting.level_cases import LevelCases
from training.fitting.prepared_slices import PreparedSlices
from training.preparation.prepared import Prepared, PreparedStudy, Split, read_prepared

FIRST_CASES = 12
"""Synthetic cases that the first batch is drawn from; each batch adds one until all are there."""
VALIDATION_SEEDS = 900_000
"""Added to the number of a synthetic case to make one that no training draws from."""
STREAMS = {Split.TRAIN: 77, Split.VALIDATION: 79}


@dataclass(frozen=True, slots=True)
class LevelData:
    """Slices for the level network: of prepared studies, of synthetic cases, or of both.

    ``synthetic_share`` of the slices are synthetic; all of them where no folder is prepared. ``atlas_share`` of the
    synthetic cases are made from the atlas, if one is given. ``own_labels_only`` leaves out studies whose levels a
    bundle named. ``validation_cases``: synthetic cases to validate on where no folder is prepared.
    """

    atlas: Path | None = None
    atlas_share: float = 0.65
    cases: int = 160
    slices: SliceConfig = field(default_factory=SliceConfig)
    prepared: tuple[Path, ...] = ()
    synthetic_share: float = 0.0
    own_labels_only: bool = True
    validation_cases: int = 0


@dataclass(frozen=True, slots=True)
class CropData:
    """Vertebra crops for the fracture network: of prepared studies, of ``python -m training crops``, or of both.

    ``synthetic_share`` of the crops are from ``folders``; all of them where no folder is prepared.
    ``validation_folders``: crops to validate on where no folder is prepared.
    """

    folders: tuple[Path, ...] = ()
    crops: CropConfig = field(default_factory=CropConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    prepared: tuple[Path, ...] = ()
    synthetic_share: float = 0.0
    validation_folders: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawing:
    """How batches are drawn: samples a batch, the run's seed, a folder for synthetic cases, and for what."""

    batch: int
    seed: int
    cache: Path
    split: Split = Split.TRAIN

    def generator(self, step: int) -> np.random.Generator:
        """The random numbers of one batch."""
        return np.random.default_rng((self.seed, STREAMS[self.split], step))


def level_source(data: LevelData, drawing: Drawing) -> Source:
    """Slices of every step; raises ``DataSetError`` where there is nothing to draw from."""
    augment = drawing.split is Split.TRAIN
    real: PreparedSlices | None = None
    if data.prepared:
        real = PreparedSlices(level_files(data, drawing.split), data.slices, augment=augment)
    share = (data.synthetic_share if augment else 0.0) if real else 1.0
    cases = _synthetic_cases(data, drawing)

    def batch(step: int) -> Batch:
        rng, synthetic = drawing.generator(step), synthetic_count(step, drawing.batch, share)
        images, levels, names = [], [], []
        if synthetic:
            drawn = SliceSampler(cases[: FIRST_CASES + step], data.slices, rng).batch(synthetic)
            images.append(drawn.images)
            levels.append(drawn.levels)
            names += ["synthetic"] * synthetic
        if real and synthetic < drawing.batch:
            drawn, studies = real.batch(drawing.batch - synthetic, rng)
            images.append(drawn.images)
            levels.append(drawn.levels)
            names += studies
        if share and augment and FIRST_CASES + step < len(cases):
            cases[FIRST_CASES + step]  # made now, so that processes take turns in making what the next batches need
        return Batch(np.concatenate(images), {"levels": np.concatenate(levels)}, tuple(names))

    return batch


def crop_source(data: CropData, drawing: Drawing) -> Source:
    """Sequences of crop slices of every step; raises ``DataSetError`` where there is nothing to draw from."""
    training = drawing.split is Split.TRAIN
    sample = data.sample if training else replace(data.sample, augment=False, patch=None, least_contrast=None)
    unused = np.random.default_rng(0)
    real = CropSampler(crop_files(data, drawing.split), sample, unused) if data.prepared else None
    share = (data.synthetic_share if training else 0.0) if real else 1.0
    folders = data.folders if training else data.validation_folders
    synthetic = CropSampler(folders, sample, unused) if share else None

    def batch(step: int) -> Batch:
        rng, count = drawing.generator(step), synthetic_count(step, drawing.batch, share)
        parts = []
        if synthetic and count:
            parts.append(synthetic.batch(count, rng))
        if real and count < drawing.batch:
            parts.append(real.batch(drawing.batch - count, rng))
        truth = {name: np.concatenate([part.truth[name] for part in parts]) for name in parts[0].truth}
        sources = tuple(name for part in parts for name in part.sources)
        return Batch(np.concatenate([part.images for part in parts]), truth, sources)

    return batch


def synthetic_count(step: int, batch: int, share: float) -> int:
    """How many samples of this step's batch are synthetic: over many steps exactly this share."""
    return int((step + 1) * batch * share + 1e-9) - int(step * batch * share + 1e-9)


def level_files(data: LevelData, split: Split) -> list[Path]:
    """The fields of prepared studies whose levels are known."""

    def usable(study: PreparedStudy) -> bool:
        return study.labels and (study.own_labels or not data.own_labels_only)

    folders = read_all(data.prepared)
    files = [folder.field_file(study) for folder in folders for study in folder.of(split) if usable(study)]
    if not files:
        raise DataSetError(f"no study of {_names(data.prepared)} in the split {split} has levels of its own: {PREPARE}")
    return files


def crop_files(data: CropData, split: Split) -> list[Path]:
    """The crops of prepared studies."""
    files = [path for folder in read_all(data.prepared) for path in folder.crop_files(split)]
    if not files:
        raise DataSetError(f"no study of {_names(data.prepared)} in the split {split} has crops: {PREPARE}")
    return files


PREPARE = "prepare more studies, or others into this split"


def read_all(folders: tuple[Path, ...]) -> list[Prepared]:
    """Prepared folders that fit each other; else ``DataSetError``."""
    found = [read_prepared(folder) for folder in folders]
    for one in found[1:]:
        if (one.preprocess, one.crops) != (found[0].preprocess, found[0].crops):
            raise DataSetError(
                f"{one.folder} and {found[0].folder} were prepared with different settings: prepare anew"
            )
    return found


def with_prepared_slices(data: LevelData) -> LevelData:
    """The same data with slices as the folders were prepared; ``DataSetError`` where synthetic ones would not fit."""
    if not data.prepared:
        return data
    found = read_all(data.prepared)[0].preprocess
    if data.synthetic_share and found.spacing_mm != PreprocessConfig().spacing_mm:
        raise DataSetError(
            f"synthetic cases have {PreprocessConfig().spacing_mm} mm voxels, {data.prepared[0]} has"
            f" {found.spacing_mm}: set synthetic_share to 0"
        )
    return replace(data, slices=replace(data.slices, preprocess=found))


def with_prepared_crops(data: CropData) -> CropData:
    """The same data with crops as the folders were prepared; ``DataSetError`` where synthetic ones are missing."""
    if not data.prepared:
        if not data.folders:
            raise DataSetError("no crops: name a prepared folder, or make some with `python -m training crops`")
        return data
    if bool(data.synthetic_share) != bool(data.folders):
        raise DataSetError("synthetic_share and folders of synthetic crops (crops) go together: give both or neither")
    return replace(data, crops=read_all(data.prepared)[0].crops)


def _synthetic_cases(data: LevelData, drawing: Drawing) -> LevelCases:
    validating = drawing.split is Split.VALIDATION
    count = data.validation_cases if validating else data.cases
    plan = case_plan(count, data.atlas_share if data.atlas else 0.0, drawing.seed)
    seeds = [(seed + (VALIDATION_SEEDS if validating else 0), from_atlas) for seed, from_atlas in plan]
    return LevelCases(drawing.cache, seeds, data.atlas)


def _names(folders: tuple[Path, ...]) -> str:
    return ", ".join(str(folder) for folder in folders)
