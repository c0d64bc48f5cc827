"""Mimics change the bone and never the label, and are lined by cortex like any surface."""

import numpy as np
import pytest

from training.synthesis.mimics import Mimics, random_mimics
from training.synthesis.shapes import Points, Spot, ellipsoid
from training.synthesis.vertebrae import vertebra


def points() -> Points:
    axis = np.arange(-30, 30, 0.5, dtype=np.float32)
    return Points(axis[:, None, None], axis[None, :, None], axis[None, None, :])


def test_a_hole_takes_bone_away_and_an_ossicle_adds_some():
    grid = points()
    bone = ellipsoid(Spot(0, 0, 0), Spot(8, 8, 8))(grid)
    hole, ossicle = ellipsoid(Spot(0, 0, 0), Spot(2, 2, 2)), ellipsoid(Spot(0, 15, 0), Spot(2, 2, 2))
    changed = Mimics((hole,), (ossicle,)).applied(bone, grid)
    assert bone[60, 60, 60] < 0 < changed[60, 60, 60]
    assert bone[60, 90, 60] > 0 > changed[60, 90, 60]
    assert changed[60, 72, 60] == pytest.approx(bone[60, 72, 60]), "bone away from the hole stays"


@pytest.mark.parametrize("label", range(1, 8))
def test_every_level_has_mimics_and_often_none(label):
    rng = np.random.default_rng(label)
    drawn = []
    for _ in range(60):
        solid, build = vertebra(label, rng)
        mimics = random_mimics(label, build, rng)
        drawn.append(bool(mimics.holes or mimics.ossicles))
    assert any(drawn)
    assert not all(drawn)
    grid = points()
    whole = solid(grid)
    changed = mimics.applied(whole, grid)
    assert ((changed < 0) != (whole < 0)).mean() < 0.05


def test_the_same_seed_makes_the_same_mimics():
    _, build = vertebra(5, np.random.default_rng(0))
    grid = points()
    solid = ellipsoid(Spot(0, 0, 0), Spot(9, 9, 11))(grid)
    again = [random_mimics(5, build, np.random.default_rng(9)).applied(solid, grid) for _ in range(2)]
    assert np.array_equal(*again)
