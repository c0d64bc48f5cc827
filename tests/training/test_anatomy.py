"""Grids, noise and blur that anatomies are made with."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.synthesis.anatomy import Grid, blurred, smooth_noise


def test_a_box_holds_the_voxels_between_its_corners():
    grid = Grid.centred((10, 12, 14), (2.0, 1.0, 0.5), (-10.0, -6.0, -3.5))
    assert grid.shape == (10, 12, 14)
    box = grid.box((-4.0, -100.0, 0.0), (2.0, 100.0, 1.0))
    assert grid.w[box[0]].tolist() == [-4, -2, 0]
    assert box[1] == slice(0, 12)
    assert grid.u[box[2]].tolist() == [0, 0.5]


@given(shape=st.tuples(*[st.integers(1, 12)] * 3), cell=st.floats(1, 30), seed=st.integers(0, 99))
def test_noise_has_the_shape_asked_for_and_stays_within_one(shape, cell, seed):
    field = smooth_noise(shape, (cell,) * 3, np.random.default_rng(seed))
    assert field.shape == shape
    assert field.dtype == np.float32
    assert np.abs(field).max() <= 1.0001


def test_blur_keeps_the_sum_and_no_blur_is_nothing():
    field = np.zeros((21, 21), dtype=np.float32)
    field[10, 10] = 1
    assert blurred(field, (0.0, 0.0)) is field
    assert np.isclose(blurred(field, (1.5, 1.5)).sum(), 1, atol=1e-4)
