"""A random column goes down from C1 to T4 and its axes are rotations."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.synthesis.posture import random_column, rotation


@given(seed=st.integers(0, 2**31))
def test_vertebrae_stand_below_each_other(seed):
    column = random_column(np.random.default_rng(seed))
    heights = [column[label].centre.w for label in range(1, 12)]
    assert heights == sorted(heights)
    assert all(0.7 < posture.scale < 1.3 for posture in column.values())


@given(angles=st.tuples(*[st.floats(-0.6, 0.6)] * 3))
def test_axes_are_rotations(angles):
    axes = rotation(*angles)
    assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-5)
    assert np.isclose(np.linalg.det(axes), 1, atol=1e-5)
