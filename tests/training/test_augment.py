"""Contrast randomization stays within the ranges that were seen to transfer to real CT."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.anatomy import Anatomy, Tissue
from training.augment import Contrast, paint


def cube(depth_mm: float, tissue: Tissue) -> Anatomy:
    shape = (16, 16, 16)
    empty = np.zeros(shape, dtype=np.uint8)
    return Anatomy(empty, np.full(shape, depth_mm, dtype=np.float32), np.full(shape, tissue, dtype=np.uint8), empty > 0)


@given(seed=st.integers(0, 2**31))
def test_cortex_is_never_darker_than_the_bone_inside(seed):
    contrast = Contrast.random(np.random.default_rng(seed))
    assert 60 <= contrast.trabecular <= 420
    assert contrast.trabecular <= contrast.cortex <= 1500
    assert contrast.cortex >= 280


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**31))
def test_deep_bone_is_painted_trabecular_and_air_as_air(seed):
    rng = np.random.default_rng(seed)
    contrast = Contrast(noise=0.0, texture=0.0)
    bone = paint(cube(-10.0, Tissue.MUSCLE), contrast, (1.0, 1.0, 1.0), rng)
    assert np.allclose(bone, contrast.trabecular, atol=1)
    assert np.abs(paint(cube(20.0, Tissue.AIR), contrast, (1.0, 1.0, 1.0), rng) + 1000).max() < 60


def test_noise_has_the_strength_that_was_asked_for():
    rng = np.random.default_rng(0)
    painted = paint(cube(-10.0, Tissue.MUSCLE), Contrast(noise=40.0, texture=0.0), (1.0, 1.0, 1.0), rng)
    assert 30 < painted.std() < 50
