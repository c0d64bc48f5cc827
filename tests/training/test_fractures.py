"""Fractures open gaps, move fragments and lower bodies, and mark exactly that."""

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from model.findings import Vertebra
from training.synthesis.fractures import KINDS, Cut, Fracture, FractureKind, broken, plan_fracture, random_kind
from training.synthesis.shapes import Points, Spot
from training.synthesis.vertebrae import BUILDS, body, vertebra

FLAT = np.zeros((1, 1, 1), np.float32)


def grid() -> Points:
    axis = np.arange(-20, 20, 0.5, dtype=np.float32)
    return Points(axis[:, None, None], axis[None, :, None], axis[None, None, :])


def made(cut: Cut | None = None, *, height_loss: float = 0.0):
    fracture = Fracture(FractureKind.BURST, (cut,) if cut else (), height_loss)
    return broken(body(BUILDS[5]), BUILDS[5], fracture, grid(), FLAT, 0.5)


def test_a_gap_parts_the_bone_but_not_its_outline():
    result = made(Cut(Spot(0, 0, 0), Spot(0, 0, 1), Spot(0, 0, 0), gap_mm=3.0, radius_mm=30.0))
    assert result.outline[40, 40, 40] < 0
    assert result.cleft[40, 40, 40] == 1
    assert result.lesion_mm[40, 40, 40] == pytest.approx(0)
    assert result.cleft[40, 40, 46] == 0
    assert (result.cleft == 1).any(axis=(0, 1)).sum() * 0.5 == pytest.approx(3.0, abs=0.6)


def test_an_impacted_fracture_is_a_dense_band_without_a_gap():
    result = made(Cut(Spot(0, 0, 0), Spot(1, 0, 0), Spot(0, 0, 0), gap_mm=3.0, radius_mm=30.0, impaction=0.6))
    assert result.cleft[40, 40, 40] == pytest.approx(-0.6)
    assert result.cleft.max() <= 0


def test_the_fragment_behind_the_plane_moves():
    whole = made()
    moved = made(Cut(Spot(0, 0, 0), Spot(0, 0, 1), Spot(0, 4.0, 0), gap_mm=1.0, radius_mm=40.0))
    front, kept = slice(0, 40), slice(44, None)
    assert np.array_equal(moved.outline[:, :, front] < 0, whole.outline[:, :, front] < 0)
    rows = [np.argwhere(result.outline[:, :, kept] < 0)[:, 1].mean() for result in (whole, moved)]
    assert (rows[1] - rows[0]) * 0.5 == pytest.approx(4.0, abs=0.5)


def test_compression_lowers_the_front_and_spares_the_back():
    whole, lowered = made(), made(height_loss=0.4)
    front, back = 30, 52
    assert (lowered.outline[:, front, 40] < 0).sum() < 0.75 * (whole.outline[:, front, 40] < 0).sum()
    assert (lowered.outline[:, back, 40] < 0).sum() > 0.95 * (whole.outline[:, back, 40] < 0).sum()


@cache
def around(level: int) -> Points:
    """Points 1 mm apart in the box around the vertebra that this seed draws, far enough for fragments to move."""
    solid, _ = vertebra(level, np.random.default_rng(level))
    axes = [np.arange(low, high, 3, dtype=np.float32) for low, high in ((-45, 45), (-25, 60), (-45, 45))]
    bone = solid(Points(axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :])) < 2
    (box,) = ndimage.find_objects(bone.astype(np.uint8))
    w, v, u = (
        np.arange(axis[side.start] - 6, axis[side.stop - 1] + 7, dtype=np.float32)
        for axis, side in zip(axes, box, strict=True)
    )
    return Points(w[:, None, None], v[None, :, None], u[None, None, :])


@pytest.mark.parametrize(("level", "kind"), [(level, kind) for level in Vertebra for kind in KINDS[level]])
def test_every_kind_of_every_level_breaks_its_bone(level, kind):
    rng = np.random.default_rng(int(level))
    solid, build = vertebra(int(level), rng)
    points = around(int(level))
    hit = 0
    for _ in range(4):
        plan = plan_fracture(kind, build, rng)
        assert plan.kind is kind
        result = broken(solid, build, plan, points, FLAT, 1.0)
        hit += int(((result.lesion_mm < 2) & (result.outline < 0)).sum() >= 20)
    assert hit >= 3


def test_kinds_are_drawn_from_those_a_level_is_known_for_and_all_of_them():
    rng = np.random.default_rng(5)
    for level in Vertebra:
        assert {random_kind(level, rng) for _ in range(200)} == set(KINDS[level])
    assert {kind for kinds in KINDS.values() for kind in kinds} == set(FractureKind)


def test_gaps_and_displacements_are_varied():
    rng = np.random.default_rng(6)
    cuts = [cut for _ in range(80) for cut in plan_fracture(FractureKind.BURST, BUILDS[5], rng).cuts]
    gaps, moves = np.array([cut.gap_mm for cut in cuts]), np.array([np.linalg.norm(cut.moved) for cut in cuts])
    assert gaps.min() < 1.0
    assert 0.7 < gaps.min() <= gaps.max() < 3.3 < 4 * gaps.min() + 1
    assert (moves < 0.5).mean() > 0.2
    assert moves.max() > 1.5
