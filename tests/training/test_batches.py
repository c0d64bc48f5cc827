"""Batches are functions of their step, from prepared studies, synthetic cases, or both."""

from dataclasses import replace

import numpy as np
import pytest

from model.preprocess import HU_PER_UNIT, PreprocessConfig, sagittal_stack
from tests.training.prepared_folders import small_field, small_prepared
from tests.training.prepared_necks import six_necks
from training.datasets.studies import DataSetError
from training.fitting.batches import (
    CropData,
    Drawing,
    LevelData,
    crop_source,
    level_files,
    level_source,
    synthetic_count,
    with_prepared_crops,
    with_prepared_slices,
)
from training.fitting.crop_sampler import SampleConfig
from training.fitting.dataset import SliceConfig
from training.fitting.prepared_slices import PreparedSlices, _Where
from training.fitting.truth import UNKNOWN, UNKNOWN_LEVEL
from training.preparation import prepared
from training.preparation.prepare import prepare
from training.preparation.prepare_config import PrepareConfig
from training.preparation.prepared import Split, read_prepared

SMALL = SliceConfig(height=64, width=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_prepared(tmp_path_factory.mktemp("small") / "prepared")


def test_any_batch_can_be_made_without_those_before_it(folder, tmp_path):
    data = LevelData(prepared=(folder,), slices=SMALL)
    one, other = (level_source(data, Drawing(3, 5, tmp_path)) for _ in range(2))
    drawn = [one(step) for step in range(4)]
    again = other(3)
    assert np.array_equal(drawn[3].images, again.images)
    assert np.array_equal(drawn[3].truth["levels"], again.truth["levels"])
    assert not np.array_equal(drawn[2].images, again.images)
    assert drawn[0].images.shape == (3, 64, 64, 3)
    assert drawn[0].images.dtype == np.float32


def test_slices_of_prepared_studies_carry_the_labels_of_what_they_show(folder):
    files = level_files(LevelData(prepared=(folder,)), Split.TRAIN)
    slices, names = PreparedSlices(files, SMALL).batch(24, np.random.default_rng(2))
    bone = slices.levels > 0
    assert bone.any()
    middle = slices.images[..., 1]
    assert np.median(middle[bone]) > 0.8
    assert np.median(middle[~bone]) < 0.4
    assert set(names) <= {path.stem for path in files}
    limits = PreprocessConfig()
    assert middle.min() >= np.float32(limits.low_hu / HU_PER_UNIT)
    assert middle.max() <= np.float32(limits.high_hu / HU_PER_UNIT)


def test_slices_to_validate_on_are_what_serving_cuts(tmp_path):
    prepared.begin(tmp_path / "p", PreprocessConfig(), with_prepared_crops(CropData((tmp_path,))).crops)
    field, labels = small_field(1)
    field, labels = field[:64], labels[:64]
    prepared.write_field(tmp_path / "p", "one-1", field, labels)
    sampler = PreparedSlices([tmp_path / "p" / "fields" / "one-1.npy"], SMALL, augment=False)
    sampler._where[sampler._files[0]] = replace(_Where.of(labels), middle=(32.0, 32.0))
    drawn, _ = sampler.batch(1, np.random.default_rng(3))
    served = sagittal_stack(field, np.arange(field.shape[2]), PreprocessConfig())
    assert min(np.abs(drawn.images[0] - one).max() for one in served) < 1e-4


def test_unknown_voxels_stay_unknown_and_thoracic_levels_are_background(tmp_path):
    field, labels = small_field(1)
    labels[labels == 7] = 8
    labels[labels == 6] = UNKNOWN_LEVEL
    (tmp_path / "fields").mkdir()
    (tmp_path / "unfinished").mkdir()
    prepared.write_field(tmp_path, "one-1", field, labels)
    file = tmp_path / "fields" / "one-1.npy"
    drawn, _ = PreparedSlices([file], replace(SMALL, height=96)).batch(16, np.random.default_rng(3))
    found = set(np.unique(drawn.levels).tolist())
    assert UNKNOWN_LEVEL in found
    assert found <= {0, 1, 2, 3, 4, 5, UNKNOWN_LEVEL}


def test_synthetic_samples_have_their_share_of_every_few_batches(folder, tmp_path):
    assert sum(synthetic_count(step, 3, 0.25) for step in range(40)) == 30
    data = LevelData(prepared=(folder,), slices=SMALL, synthetic_share=0.5, cases=2)
    source = level_source(data, Drawing(4, 5, tmp_path))
    assert sorted(source(0).sources)[-2:] == ["synthetic"] * 2
    assert len(list(tmp_path.glob("*.npz"))) <= 2
    crops = CropData((folder / "crops",), prepared=(folder,), synthetic_share=0.5)
    assert len(crop_source(crops, Drawing(4, 5, tmp_path))(1).sources) == 4


def test_training_and_validation_draw_from_their_own_splits(folder, tmp_path):
    data = CropData(prepared=(folder,), sample=SampleConfig(slices=4))
    mine = {split: {path.name for path in read_prepared(folder).crop_files(split)} for split in Split}
    for split in (Split.TRAIN, Split.VALIDATION):
        source = crop_source(data, Drawing(6, 5, tmp_path, split))
        drawn = {name.split()[0] for step in range(4) for name in source(step).sources}
        assert drawn <= mine[split]
    source = crop_source(data, Drawing(6, 5, tmp_path, Split.VALIDATION))
    assert np.array_equal(source(0).images, source(0).images)


def test_fractures_that_nobody_marked_teach_no_mask(tmp_path):
    folder = small_prepared(tmp_path / "prepared", masked=False)
    batch = crop_source(CropData(prepared=(folder,)), Drawing(12, 1, tmp_path))(0)
    broken = batch.truth["fracture"][:, 0] == 1
    assert 0 < broken.sum() < 12
    assert (batch.truth["mask"][broken] == UNKNOWN).all()
    assert (batch.truth["mask"][~broken] == 0).all()


def test_what_prepare_makes_is_what_training_draws_from(tmp_path):
    config = PrepareConfig(tmp_path / "necks", validation_share=0.3, test_share=0.3, find_levels=False)
    prepare(config, [six_necks()])
    names = {study.name for study in read_prepared(config.output).of(Split.TRAIN)}
    levels = level_source(LevelData(prepared=(config.output,)), Drawing(8, 1, tmp_path))(0)
    assert set(levels.sources) <= names
    bone, around = levels.truth["levels"] > 0, levels.truth["levels"] == 0
    assert bone.sum() > 200
    assert levels.images[..., 1][bone].mean() > levels.images[..., 1][around].mean() + 0.3
    crops = crop_source(CropData(prepared=(config.output,)), Drawing(8, 1, tmp_path))(0)
    assert {name.split(".")[0] for name in crops.sources} <= names
    assert 0 < crops.truth["fracture"].mean() < 1
    assert (crops.truth["mask"][crops.truth["fracture"][:, 0] == 1] == UNKNOWN).all(), "these necks mark no lesions"


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(DataSetError, match=r"in the split test has levels of its own"):
        level_files(LevelData(prepared=(folder,)), Split.TEST)
    with pytest.raises(DataSetError, match="training crops"):
        with_prepared_crops(CropData())
    with pytest.raises(DataSetError, match="go together"):
        with_prepared_crops(CropData(prepared=(folder,), synthetic_share=0.3))
    other = tmp_path / "other"
    prepared.begin(other, PreprocessConfig(spacing_mm=1.0), with_prepared_crops(CropData((tmp_path,))).crops)
    with pytest.raises(DataSetError, match="synthetic_share to 0"):
        with_prepared_slices(LevelData(prepared=(other,), synthetic_share=0.2))
    with pytest.raises(DataSetError, match="different settings"):
        with_prepared_slices(LevelData(prepared=(folder, other)))
    path = level_files(LevelData(prepared=(folder,)), Split.TRAIN)[0]
    with pytest.raises(DataSetError, match="no levels"):
        PreparedSlices([path.with_suffix(".labels.npy")], SMALL).batch(1, np.random.default_rng(1))
