"""The synthetic neck: seven ordered levels, fractures where they were asked for, the same every time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.findings import Vertebra
from tests.training.made_once import demo_study
from training.synthesis.augment import Contrast
from training.synthesis.phantom import Phantom, PhantomConfig, make_phantom

COARSE = (2.0, 2.0, 2.0)


def middle_slice(phantom: Phantom, label: int) -> float:
    return float(np.argwhere(phantom.labels == label)[:, 0].mean())


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), fractured=st.sets(st.sampled_from(list(Vertebra)), max_size=3))
def test_seven_levels_follow_each_other_from_head_to_feet_whatever_the_seed(seed, fractured):
    phantom = make_phantom(seed, PhantomConfig(fractured=frozenset(fractured), spacing_mm=COARSE))
    assert set(np.unique(phantom.labels)) >= set(range(8))
    middles = [middle_slice(phantom, label) for label in range(1, 8)]
    assert middles == sorted(middles)
    assert set(np.unique(phantom.labels[phantom.fracture])) <= {int(level) for level in fractured}
    assert phantom.fractured == fractured


@pytest.mark.parametrize("level", list(Vertebra))
def test_a_fracture_lies_inside_its_own_level_and_is_visible(level):
    config = PhantomConfig(fractured=frozenset({level}), contrast=Contrast(noise=0.0))
    broken = make_phantom(5, config)
    assert broken.fracture.any()
    assert set(np.unique(broken.labels[broken.fracture])) == {int(level)}
    inside = broken.hu[broken.fracture]
    assert (inside < 250).mean() > 0.1, "a gap holds soft tissue"


def test_the_same_seed_makes_the_same_voxels_and_another_seed_does_not():
    config = PhantomConfig(spacing_mm=COARSE)
    first, second, other = (make_phantom(seed, config) for seed in (3, 3, 4))
    assert np.array_equal(first.hu, second.hu)
    assert np.array_equal(first.labels, second.labels)
    assert not np.array_equal(first.hu, other.hu)


def test_an_intact_neck_has_no_fracture():
    phantom = make_phantom(11, PhantomConfig(spacing_mm=COARSE))
    assert not phantom.fracture.any()
    assert phantom.fractured == frozenset()


def test_bone_is_brighter_than_muscle_and_air_is_air():
    phantom = make_phantom(1, PhantomConfig(contrast=Contrast()))
    assert phantom.hu.dtype == np.int16
    assert np.median(phantom.hu[phantom.labels > 0]) > 250
    assert phantom.hu.min() >= -1024
    assert np.isclose(np.median(phantom.hu[:20, :4, :4]), -1000, atol=30)


def test_front_is_front_and_the_spinous_processes_point_backward():
    phantom = make_phantom(2, PhantomConfig(spacing_mm=COARSE))
    rows = np.argwhere(phantom.labels == 7)[:, 1]
    airway = np.argwhere((phantom.hu < -700) & (np.indices(phantom.hu.shape)[2] == phantom.hu.shape[2] // 2))
    assert airway.size
    assert rows.max() - np.median(rows) > np.median(rows) - rows.min()


def test_a_larger_matrix_is_filled_with_air_around_the_same_neck():
    small = make_phantom(7, PhantomConfig(spacing_mm=COARSE))
    large = make_phantom(7, PhantomConfig(spacing_mm=COARSE, matrix=(128, 140)))
    assert large.hu.shape == (small.hu.shape[0], 128, 140)
    assert (large.labels > 0).sum() == (small.labels > 0).sum()


def test_a_matrix_smaller_than_the_field_of_view_is_refused():
    with pytest.raises(ValueError, match="smaller than the field of view"):
        make_phantom(7, PhantomConfig(spacing_mm=COARSE, matrix=(32, 32)))


def test_the_demo_study_shows_all_levels_and_one_fracture():
    phantom = demo_study()
    assert phantom.hu.shape == (200, 512, 512)
    assert phantom.fractured == {Vertebra.C5}
    assert set(np.unique(phantom.labels[phantom.fracture])) == {5}
    for label in range(1, 8):
        where = np.flatnonzero((phantom.labels == label).any(axis=(1, 2)))
        assert 2 < where.min() < where.max() < 197
