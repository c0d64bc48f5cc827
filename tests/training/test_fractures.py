"""Fractures open gaps, move fragments and lower bodies, and mark exactly that."""

import numpy as np
import pytest

from training.fractures import Cut, Fracture, broken, random_fracture
from training.shapes import Points, Spot
from training.vertebrae import BUILDS, body, vertebra


def grid() -> Points:
    axis = np.arange(-20, 20, 0.5, dtype=np.float32)
    return Points(axis[:, None, None], axis[None, :, None], axis[None, None, :])


def test_a_gap_parts_the_bone_but_not_its_outline():
    cut = Cut(Spot(0, 0, 0), Spot(0, 0, 1), Spot(0, 0, 0), gap_mm=3.0, radius_mm=30.0)
    points = grid()
    bone, outline, lesion = broken(
        body(BUILDS[5]), BUILDS[5], Fracture((cut,)), points, np.zeros((1, 1, 1), np.float32)
    )
    assert outline[40, 40, 40] < 0 < bone[40, 40, 40]
    assert lesion[40, 40, 40] == pytest.approx(0)
    assert bone[40, 40, 46] < 0


def test_compression_lowers_the_front_and_spares_the_back():
    solid = body(BUILDS[5])
    points = grid()
    _, outline, _ = broken(solid, BUILDS[5], Fracture((), height_loss=0.4), points, np.zeros((1, 1, 1), np.float32))
    whole = solid(points)
    front, back = 30, 52
    assert (outline[:, front, 40] < 0).sum() < 0.75 * (whole[:, front, 40] < 0).sum()
    assert (outline[:, back, 40] < 0).sum() > 0.95 * (whole[:, back, 40] < 0).sum()


@pytest.mark.parametrize("label", range(1, 8))
def test_every_level_has_fractures_of_its_own(label):
    rng = np.random.default_rng(label)
    _, build = vertebra(label, rng)
    plans = [random_fracture(label, build, rng) for _ in range(20)]
    assert all(plan.cuts for plan in plans)
    assert all(1.0 < cut.gap_mm < 4.0 for plan in plans for cut in plan.cuts)
