"""Solids have their surface where their numbers say."""

import numpy as np
import pytest

from training.synthesis.shapes import Points, Spot, capsule, chain, ellipsoid, tube, union, without


def at(w: float, v: float, u: float) -> Points:
    return Points(*(np.array([value], dtype=np.float32) for value in (w, v, u)))


def test_an_ellipsoid_is_zero_on_its_surface_and_negative_inside():
    solid = ellipsoid(Spot(1, 2, 3), Spot(4, 5, 6))
    assert solid(at(5, 2, 3))[0] == pytest.approx(0, abs=1e-5)
    assert solid(at(1, 2, 3))[0] < 0 < solid(at(1, 8, 3))[0]


def test_a_capsule_tapers_between_its_ends():
    solid = capsule(Spot(0, 0, 0), Spot(10, 0, 0), 3.0, 1.0)
    assert solid(at(0, 3, 0))[0] == pytest.approx(0, abs=1e-5)
    assert solid(at(10, 1, 0))[0] == pytest.approx(0, abs=1e-5)
    assert solid(at(5, 2, 0))[0] == pytest.approx(0, abs=1e-5)


def test_a_tube_has_no_ends():
    solid = tube(Spot(0, 0, 0), 2.0, 4.0)
    assert solid(at(900, 0, 4))[0] == pytest.approx(0, abs=1e-5)


def test_union_and_holes_compose():
    rod = chain((Spot(0, 0, 0), Spot(0, 0, 10), Spot(0, 10, 10)), 2.0)
    both = union(rod, ellipsoid(Spot(50, 0, 0), Spot(3, 3, 3)))
    holed = without(both, tube(Spot(0, 0, 5), 1.0, 1.0))
    assert both(at(50, 0, 0))[0] < 0
    assert both(at(0, 0, 5))[0] < 0 < holed(at(0, 0, 5))[0]
