"""Metal in a neck: plates with screws before the bodies, screws and rods behind them, cages, dental fillings."""

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.synthesis.anatomy import Anatomy, Grid, Tissue
from training.synthesis.shapes import Points, Solid, Spot, capsule, ellipsoid
from training.synthesis.sites import BodySite, around, between


def add_hardware(anatomy: Anatomy, grid: Grid, bodies: dict[int, BodySite], rng: np.random.Generator) -> None:
    """One implant over two to four neighboring levels, in place; labels and depth below the metal are kept."""
    levels = [level for level in sorted(bodies) if level <= 8]
    count = int(rng.integers(2, 5))
    first = int(rng.integers(0, max(1, len(levels) - count + 1)))
    chosen = [bodies[level] for level in levels[first : first + count]]
    if len(chosen) < 2:
        return
    kind = rng.random()
    if kind < 0.6:
        _plate(anatomy, grid, chosen, rng)
    if kind > 0.5:
        for side in (-1.0, 1.0) if rng.random() < 0.9 else (1.0,):
            _rod_and_screws(anatomy, grid, chosen, side, rng)


def _fill(anatomy: Anatomy, grid: Grid, solid: Solid, centre: Spot, reach: Spot) -> None:
    """Metal where the solid is."""
    box = around(grid, centre, reach)
    if all(part.stop > part.start for part in box):
        points = Points(grid.w[box[0]][:, None, None], grid.v[box[1]][None, :, None], grid.u[box[2]][None, None, :])
        anatomy.tissue[box][solid(points) < 0] = Tissue.METAL


def _rod(anatomy: Anatomy, grid: Grid, start: Spot, end: Spot, radius: float) -> None:
    reach = Spot(*(abs(a - b) / 2 + radius + 2 for a, b in zip(start, end, strict=True)))
    _fill(anatomy, grid, capsule(start, end, radius), between(start, end), reach)


def _plate(anatomy: Anatomy, grid: Grid, chosen: list[BodySite], rng: np.random.Generator) -> None:
    """A plate on the front walls, two screws a body, perhaps cages in the discs."""
    thin, half_width = rng.uniform(1.0, 1.6), rng.uniform(5, 8)
    steep = [float(np.arctan2(s.back_top.w - s.front_top.w, max(s.back_top.v - s.front_top.v, 1.0))) for s in chosen]
    spots = [site.front._replace(v=min(site.front_top.v, site.front_bottom.v) - thin) for site in chosen]
    for above, below in itertools.pairwise(spots):
        for side in np.linspace(-half_width, half_width, 7):
            _rod(anatomy, grid, above._replace(u=above.u + side), below._replace(u=below.u + side), thin)
    length, radius = rng.uniform(11, 15), rng.uniform(1.5, 2.1)
    for spot, slope in zip(spots, steep, strict=True):
        for side in (-1.0, 1.0):
            start = spot._replace(u=spot.u + side * half_width * 0.7)
            end = Spot(spot.w + length * np.sin(slope), spot.v + length * np.cos(slope), start.u - side * 2.0)
            _rod(anatomy, grid, start, end, radius)
    if rng.random() < 0.4:
        for upper, lower in itertools.pairwise(chosen):
            middle = between(between(upper.front_bottom, upper.back_bottom), between(lower.front_top, lower.back_top))
            size = Spot(rng.uniform(1.0, 3.0), 5, 6)
            _fill(anatomy, grid, ellipsoid(middle, size), middle, Spot(5, 8, 9))


def _rod_and_screws(
    anatomy: Anatomy, grid: Grid, chosen: list[BodySite], side: float, rng: np.random.Generator
) -> None:
    """Screws in the articular pillars of one side, their heads joined by a rod."""
    heads = []
    length, radius = rng.uniform(11, 20), rng.uniform(1.5, 2.1)
    for site in chosen:
        for pillar in site.pillars:
            if side * (pillar.u - site.front.u) < 0:
                continue
            head = Spot(pillar.w + 2, pillar.v + 8, pillar.u - side * 1.5)
            end = Spot(head.w - length * 0.25, head.v - length * 0.85, head.u + side * length * 0.35)
            _rod(anatomy, grid, head, end, radius)
            _rod(anatomy, grid, head, head._replace(v=head.v + 3), radius + 1.8)
            heads.append(head._replace(v=head.v + 4))
    for above, below in itertools.pairwise(heads):
        _rod(anatomy, grid, above, below, 1.75)


def add_fillings(tissue: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Metal in some of the teeth, in place."""
    where = ndimage.find_objects((tissue == Tissue.TOOTH).astype(np.uint8))
    if not where:
        return
    box = where[0]
    teeth = np.argwhere(tissue[box] == Tissue.TOOTH)
    for spot in teeth[rng.integers(len(teeth), size=int(rng.integers(1, 7)))]:
        near = tuple(slice(max(0, at - 1), at + 2) for at in spot)
        part = tissue[box][near]
        part[part == Tissue.TOOTH] = Tissue.METAL
