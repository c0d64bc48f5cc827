"""Training slices look like network input and carry the truth of their middle channel."""

import numpy as np
import pytest

from model.preprocess import PreprocessConfig
from training.fitting.dataset import CASE_SHAPE, SliceConfig, SliceSampler, case_plan


def test_a_case_has_the_shape_that_slices_are_cut_from(cases):
    assert all(case.labels.shape == CASE_SHAPE for case in cases)
    assert all(case.depth_mm.dtype == np.float16 for case in cases)


def test_batches_have_normalized_images_and_cervical_labels_only(cases):
    sampler = SliceSampler(cases, SliceConfig(height=96, width=64), np.random.default_rng(0))
    batch = sampler.batch(6)
    config = PreprocessConfig()
    assert batch.images.shape == (6, 96, 64, 3)
    assert batch.images.dtype == np.float32
    assert batch.images.min() >= np.float32(config.low_hu / 400)
    assert batch.images.max() <= np.float32(config.high_hu / 400)
    assert batch.levels.shape == (6, 96, 64)
    assert batch.levels.max() <= 7


def test_cases_have_seeds_of_their_own_and_mix_both_sources():
    plan = case_plan(20, 0.65, 3)
    assert [seed for seed, _ in plan] == list(range(3_000_000, 3_000_020))
    assert sum(from_atlas for _, from_atlas in plan) == 13
    assert 5 <= sum(from_atlas for _, from_atlas in plan[:10]) <= 8
    assert not any(from_atlas for _, from_atlas in case_plan(5, 0.0, 1))


def test_the_same_seed_draws_the_same_slices(cases):
    draws = [SliceSampler(cases, SliceConfig(), np.random.default_rng(5)).batch(2) for _ in range(2)]
    assert np.array_equal(draws[0].images, draws[1].images)
    assert np.array_equal(draws[0].levels, draws[1].levels)


def test_slices_that_the_deepest_encoder_cannot_halve_are_refused():
    with pytest.raises(ValueError, match="multiples of 32"):
        SliceConfig(height=176, width=144)
