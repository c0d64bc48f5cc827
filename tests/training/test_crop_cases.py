"""Crops for the fracture network: the same seed makes the same crop, cut by the code that serves, with its truth."""

import json
from dataclasses import replace

import numpy as np
import pytest

from model.crops import CropConfig, level_crops
from model.findings import Vertebra
from training.datasets.studies import DataSetError
from training.fitting.crop_sampler import (
    CropCase,
    CropSampler,
    SampleConfig,
    crop_images,
    read_shard,
    resized_mask,
    write_shard,
)
from training.fitting.truth import UNKNOWN
from training.preparation.crop_cases import CropPlan, compact, cut_case, local_anatomy, synthetic_crops


def case(*, kind: str, slices: int = 12, level: int = 4) -> CropCase:
    rng = np.random.default_rng(slices)
    mask = np.zeros((slices, 40, 48), dtype=np.uint8)
    if kind:
        mask[4:8, 18:22, 20:26] = 255
    shown = rng.normal(size=(slices, 80, 96)).astype(np.float16)
    mine = np.zeros((slices, 80, 96), dtype=np.uint8)
    mine[:, 30:50, 30:60] = 255
    return CropCase(shown, mine, mask, level, kind, "test")


@pytest.fixture
def folder(tmp_path):
    write_shard(tmp_path / "00001.npz", [case(kind="burst"), case(kind=""), case(kind="", slices=5)])
    return tmp_path


def test_a_shard_comes_back_as_it_was(folder):
    broken, _, short = read_shard(folder / "00001.npz")
    assert broken.kind == "burst"
    assert short.shown.shape == (5, 80, 96)
    assert np.array_equal(broken.mask, case(kind="burst").mask)


def test_a_shard_says_which_fractures_are_not_marked_and_an_older_one_has_all_marked(tmp_path):
    unmarked = replace(case(kind="burst"), mask=np.zeros((12, 40, 48), dtype=np.uint8), masked=False)
    write_shard(tmp_path / "new.npz", [case(kind="burst"), unmarked])
    assert [one.masked for one in read_shard(tmp_path / "new.npz")] == [True, False]
    with np.load(tmp_path / "new.npz") as stored:
        np.savez(tmp_path / "old.npz", **{name: stored[name] for name in stored.files if name != "masked"})
    assert [one.masked for one in read_shard(tmp_path / "old.npz")] == [True, True]


def test_sequences_have_the_shape_and_the_truth_that_is_trained(folder):
    sampler = CropSampler((folder,), SampleConfig(slices=8), np.random.default_rng(1))
    batch = sampler.batch(16)
    images, truth = batch.images, batch.truth
    assert images.shape == (16, 8, 80, 96, 4)
    assert truth["mask"].shape == (16, 8, 80, 96, 1)
    assert np.array_equal(truth["fracture"][:, 0], truth["slice"].max(axis=1))
    assert 0 < truth["fracture"].mean() < 1
    seen = truth["mask"].sum(axis=(2, 3, 4)) / 4 >= SampleConfig().seen_pixels
    assert np.array_equal(seen, truth["slice"].astype(bool))


def test_a_fracture_that_is_not_marked_teaches_only_that_there_is_one(tmp_path):
    unmarked = replace(case(kind="burst"), mask=np.zeros((12, 40, 48), dtype=np.uint8), masked=False)
    write_shard(tmp_path / "00001.npz", [unmarked, case(kind="")])
    batch = CropSampler((tmp_path,), SampleConfig(slices=6), np.random.default_rng(3)).batch(16)
    broken = batch.truth["fracture"][:, 0] == 1
    assert broken.any()
    assert not broken.all()
    for name in ("mask", "slice"):
        assert (batch.truth[name][broken] == UNKNOWN).all()
        assert (batch.truth[name][~broken] == 0).all()
    assert set(batch.sources) == {"00001.npz C4"}
    with pytest.raises(DataSetError, match="here are 0 and 1"):
        CropSampler((tmp_path,), SampleConfig(patch=48), np.random.default_rng(3))


def test_without_augmentation_a_crop_is_drawn_as_it_is_fed_in_serving(tmp_path):
    broken = case(kind="burst", slices=6)
    write_shard(tmp_path / "00001.npz", [broken, case(kind="", slices=6)])
    config = SampleConfig(slices=6, positive_share=1.0, augment=False)
    batch = CropSampler((tmp_path,), config, np.random.default_rng(3)).batch(1)
    assert np.array_equal(batch.images[0], crop_images(broken))


def test_mask_and_image_move_together(folder):
    config = SampleConfig(positive_share=1.0, mask_shape=(40, 48))
    sampler = CropSampler((folder,), config, np.random.default_rng(2))
    bright = sampler._broken[0].read()
    marked = np.repeat(np.repeat(bright.mask, 2, axis=1), 2, axis=2)
    sampler._broken = [CropCase((marked / 255 * 3).astype(np.float16), bright.mine, bright.mask, 4, "burst", "test")]
    batch = sampler.batch(12)
    images, truth = batch.images, batch.truth
    shown = images[..., 1].reshape(12, 8, 40, 2, 48, 2).mean(axis=(3, 5))
    assert (shown[truth["mask"][..., 0] > 0.5] > 1.5).all()
    assert np.median(shown[truth["mask"][..., 0] == 0]) < 1


def test_a_mask_takes_the_size_of_the_networks_and_keeps_its_place():
    mask = np.zeros((2, 40, 48, 1), dtype=np.float32)
    mask[1, 20:22, 24] = 1
    fine, coarse = resized_mask(mask, (80, 96)), resized_mask(mask, (3, 3))
    assert fine[1, 40:44, 48:50].min() == 1
    assert fine.sum() == 4 * mask.sum()
    assert coarse.shape == (2, 3, 3, 1)
    assert coarse[1, 1, 1] == 1
    assert coarse.sum() == 1


def test_without_both_kinds_of_crops_nothing_is_trained(tmp_path):
    write_shard(tmp_path / "00001.npz", [case(kind="")])
    with pytest.raises(ValueError, match="fractured and of intact"):
        CropSampler((tmp_path,), SampleConfig(), np.random.default_rng(0))


def test_a_synthetic_crop_has_its_truth_on_its_level():
    plan = CropPlan(output=None, fractured_share=1.0)  # type: ignore[arg-type]  # nothing is written
    made = ((seed, synthetic_crops(seed, None, plan)) for seed in range(40))
    seed, (first, second) = next((seed, crops) for seed, crops in made if crops and crops[0].kind)
    assert first.kind == second.kind
    assert np.array_equal(first.mask, second.mask), "two paintings of one anatomy"
    assert not np.array_equal(first.shown, second.shown)
    share = first.mine.reshape(len(first.mine), 40, 2, 48, 2).max(axis=(2, 4))
    assert (share[first.mask > 128] > 60).mean() > 0.9
    again = synthetic_crops(seed, None, plan)
    assert np.array_equal(again[0].shown, first.shown)


def test_a_crop_is_cut_as_in_serving():
    anatomy, grid = local_anatomy(5, None, Vertebra.C5, fractured=False)
    spacing = tuple(float(axis[1] - axis[0]) for axis in (grid.w, grid.v, grid.u))
    hu = np.where(anatomy.depth_mm < 0, 700, 40).astype(np.float32)
    alone = np.where(anatomy.labels == 5, 5, 0).astype(np.uint8)
    lesion = np.zeros(hu.shape, dtype=bool)
    made = cut_case(hu, anatomy.labels, lesion, (5, "", "phantom"), spacing, CropConfig())
    (served,) = level_crops(hu, alone, spacing, CropConfig())
    assert crop_images(made).tobytes() == served.images.tobytes()
    small = compact(made)
    assert (small.shown.dtype, small.mine.dtype) == (np.float16, np.uint8)
    assert np.abs(crop_images(small) - served.images).max() < 3e-3


@pytest.mark.slow
def test_crops_are_made_in_processes_and_recorded(made_crops):
    plan, count = made_crops
    cases = [one for path in sorted(plan.output.glob("*.npz")) for one in read_shard(path)]
    assert len(cases) == count >= 4
    record = json.loads((plan.output / "crops.json").read_text())
    assert record["count"] == count
    assert record["seed"] == plan.seed
