"""Contrast randomization stays within the ranges that were seen to transfer to real CT."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.synthesis.anatomy import Anatomy, Tissue
from training.synthesis.augment import BoneTexture, Contrast, paint


def cube(depth_mm: float, tissue: Tissue) -> Anatomy:
    shape = (16, 16, 16)
    empty = np.zeros(shape, dtype=np.uint8)
    depth = np.full(shape, depth_mm, dtype=np.float32)
    return Anatomy(empty, depth, np.full(shape, tissue, dtype=np.uint8), empty > 0, np.zeros(shape, dtype=np.float32))


@given(seed=st.integers(0, 2**31))
def test_cortex_is_never_darker_than_the_bone_inside(seed):
    contrast = Contrast.random(np.random.default_rng(seed))
    assert 20 <= contrast.trabecular <= 750
    assert contrast.trabecular <= contrast.cortex <= 1500
    assert contrast.cortex >= 280
    assert contrast.metal >= 3071


def test_thinned_and_sclerotic_bone_occur_but_are_not_the_rule():
    rng = np.random.default_rng(0)
    drawn = [Contrast.random(rng) for _ in range(2000)]
    assert 0.05 < np.mean([c.trabecular < 60 for c in drawn]) < 0.2
    assert 0.02 < np.mean([c.trabecular > 420 for c in drawn]) < 0.12
    assert 0.1 < np.mean([c.bone_texture == BoneTexture() for c in drawn]) < 0.3


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


def test_rough_marrow_varies_and_even_marrow_does_not():
    rough = BoneTexture(streaks=120, patches=0.7, veins=0.8)
    spread = [
        float(paint(cube(-10.0, Tissue.MUSCLE), contrast, (1.0, 1.0, 1.0), np.random.default_rng(3)).std())
        for contrast in (
            Contrast(noise=0.0, texture=0.0),
            Contrast(noise=0.0, texture=0.0, bone_texture=rough),
        )
    ]
    assert spread[0] < 1
    assert spread[1] > 25


def test_metal_shines_through_bone():
    painted = paint(cube(-10.0, Tissue.METAL), Contrast(metal=4000.0), (1.0, 1.0, 1.0), np.random.default_rng(0))
    assert painted.min() > 3000


def test_an_open_gap_is_soft_tissue_and_impacted_bone_is_denser():
    whole = cube(-10.0, Tissue.MUSCLE)
    contrast = Contrast(noise=0.0, texture=0.0)
    values = []
    for cleft in (0.0, 1.0, -0.5):
        whole.cleft[:] = cleft
        values.append(float(paint(whole, contrast, (1.0, 1.0, 1.0), np.random.default_rng(0)).mean()))
    assert values[1] < 100 < values[0] < values[2]


def test_the_same_seed_paints_the_same_voxels():
    drawn = []
    for _ in range(2):
        rng = np.random.default_rng(8)
        drawn.append(paint(cube(-2.0, Tissue.FAT), Contrast.random(rng), (9.0, 1.2, 1.2), rng))
    assert np.array_equal(*drawn)


def test_every_tissue_has_a_value():
    table = Contrast().soft_tissues()
    assert table.shape == (len(Tissue),)
    assert table[Tissue.METAL] >= 3000
    assert table[Tissue.FOAM] < -800
    assert table[Tissue.BONE] > 300
