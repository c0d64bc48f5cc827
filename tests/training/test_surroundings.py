"""What surrounds the spine: skin, vessels in their foramina, collars outside the skin, shoulders below C7."""

import numpy as np
import pytest

from training.synthesis.anatomy import Grid, Tissue
from training.synthesis.outside import fill_collar, fill_shoulders
from training.synthesis.shapes import Points, Spot, ellipsoid
from training.synthesis.surroundings import Body, Curve, fill_tissues, nodded, skull

GRID = Grid.centred((110, 96, 90), (2.0, 2.0, 2.0), (-110.0, -100.0, -90.0))
ENDS = Spot(-52.0, 0.0, 0.0), Spot(54.0, 0.0, 0.0)
HEIGHTS = np.array([-250, -52, 54, 250], dtype=np.float32)
STRAIGHT = Curve(HEIGHTS, HEIGHTS * 0, HEIGHTS * 0)


def filled(seed: int, **changes) -> np.ndarray:
    rng = np.random.default_rng(seed)
    body = Body.random(rng, table=False)
    body = Body(**{name: getattr(body, name) for name in Body.__slots__} | changes)
    return fill_tissues(GRID, STRAIGHT, body, ENDS, rng)


def test_the_same_seed_makes_the_same_tissues():
    assert np.array_equal(filled(3), filled(3))
    assert not np.array_equal(filled(3), filled(4))


@pytest.mark.parametrize("seed", range(4))
def test_a_neck_has_muscle_fat_airway_vessels_and_cord_inside_air(seed):
    tissue = filled(seed, collar=False)
    present = set(np.unique(tissue))
    assert present >= {Tissue.AIR, Tissue.MUSCLE, Tissue.FAT, Tissue.VESSEL, Tissue.VEIN, Tissue.NERVE, Tissue.BRAIN}
    assert (tissue[65:80, 0, :] == Tissue.AIR).all(), "air lies before the neck"
    middle = int(np.searchsorted(GRID.v, 15.5)), int(np.searchsorted(GRID.u, 0.0))
    assert (tissue[40:80, middle[0], middle[1]] == Tissue.NERVE).all()


def test_vertebral_arteries_run_where_the_transverse_foramina_of_c5_are():
    tissue = filled(1)
    slice_c5 = tissue[int(np.searchsorted(GRID.w, 17.0))]
    v = int(np.searchsorted(GRID.v, 3.0))
    for side in (-15.5, 15.5):
        u = int(np.searchsorted(GRID.u, side))
        assert (slice_c5[v - 1 : v + 2, u - 1 : u + 2] == Tissue.VESSEL).any()


def test_the_nape_can_be_thick():
    thin, thick = (filled(2, neck_back=back, collar=False) for back in (62.0, 118.0))
    behind = GRID.v > 62
    assert (thick[55:75][:, behind] != Tissue.AIR).sum() > (thin[55:75][:, behind] != Tissue.AIR).sum() + 1000


def test_a_collar_lies_in_the_air_around_the_neck():
    tissue = np.full(GRID.shape, Tissue.MUSCLE, dtype=np.uint8)
    v, u = GRID.v[None, :, None], GRID.u[None, None, :]
    skin = np.asarray(np.sqrt(v * v + u * u) - 45 + 0 * GRID.w[:, None, None], dtype=np.float32)
    tissue[skin > 0] = Tissue.AIR
    fill_collar(tissue, GRID, skin, ENDS, np.random.default_rng(0))
    shell = np.isin(tissue, (Tissue.FOAM, Tissue.TABLE))
    assert shell.any()
    assert skin[shell].min() > 0
    assert skin[shell].max() < 45
    assert not shell[GRID.w < ENDS[0].w - 10].any()


def test_shoulders_lie_below_c7_on_both_sides():
    tissue = np.full(GRID.shape, Tissue.MUSCLE, dtype=np.uint8)
    fill_shoulders(tissue, GRID, ENDS[1], np.random.default_rng(1))
    bone = np.argwhere(tissue == Tissue.BONE)
    assert bone.size
    assert GRID.w[bone[:, 0].min()] > ENDS[1].w - 12
    assert GRID.u[bone[:, 2].min()] < -30
    assert GRID.u[bone[:, 2].max()] > 30


def test_a_nod_turns_a_solid_about_its_origin():
    ball = nodded(ellipsoid(Spot(-20, 0, 0), Spot(4, 4, 4)), np.pi / 2, 0.0)

    def at(w: float, v: float) -> float:
        point = (np.full((1, 1, 1), x, dtype=np.float32) for x in (w, v, 0.0))
        return float(ball(Points(*point))[0, 0, 0])

    assert at(-20, 0) > 0
    assert min(at(0, 20), at(0, -20)) < 0


@pytest.mark.parametrize("seed", range(5))
def test_the_skull_leaves_the_foramen_magnum_open(seed):
    solid = skull(np.random.default_rng(seed))
    axis = np.arange(-30, -5, 1, dtype=np.float32)
    line = Points(axis[:, None, None], np.full((1, 1, 1), 9, np.float32), np.zeros((1, 1, 1), np.float32))
    assert (solid(line) > 0).all()
