"""Age and wear of a neck before it is painted: spurs, narrow and gassy discs, dense endplates, ossified ligaments."""

from dataclasses import replace

import numpy as np

from training.synthesis.anatomy import Anatomy, Grid, Tissue
from training.synthesis.hardware import add_fillings, add_hardware
from training.synthesis.shapes import Field, Spot, ellipsoid
from training.synthesis.sites import BodySite, DiscSite, around, between, body_sites, disc_sites

WEAR = {2: 0.15, 3: 0.35, 4: 0.6, 5: 1.0, 6: 0.9, 7: 0.4, 8: 0.2}
"""How readily the disc below a level wears."""
HARDWARE_SHARE = 0.04
AGED_SHARE = 0.25


def degenerate(anatomy: Anatomy, grid: Grid, rng: np.random.Generator) -> Anatomy:
    """The same neck, worn: most get little or nothing, one in four much, one in 25 metal. Inputs are left alone."""
    severity = random_severity(rng)
    fused, metal = rng.random() < 0.015 + 0.06 * severity, rng.random() < HARDWARE_SHARE
    filled = rng.random() < 0.25
    if severity == 0 and not (fused or metal or filled):
        return anatomy
    result = replace(
        anatomy, labels=anatomy.labels.copy(), depth_mm=anatomy.depth_mm.copy(), tissue=anatomy.tissue.copy()
    )
    bodies = body_sites(result, grid)
    discs = disc_sites(bodies)
    for disc in discs:
        if rng.random() < severity * WEAR.get(disc.above, 0.0) * 1.3:
            wear_disc(result, grid, disc, severity, rng)
    if severity > 0:
        wear_facets(result, grid, bodies, severity, rng)
        ossify_ligaments(result, grid, bodies, severity, rng)
    if fused and discs:
        fuse(result, grid, discs[int(rng.integers(len(discs)))], rng)
    if metal:
        add_hardware(result, grid, bodies, rng)
    if filled:
        add_fillings(result.tissue, rng)
    return result


def random_severity(rng: np.random.Generator) -> float:
    """0: young; up to 0.4: a little worn; 0.4 to 1: clearly aged."""
    kind = rng.random()
    if kind < AGED_SHARE:
        return float(rng.uniform(0.4, 1.0))
    return float(rng.uniform(0.05, 0.4)) if kind < 0.5 else 0.0


def add_bump(anatomy: Anatomy, grid: Grid, centre: Spot, radii: Spot, level: int) -> None:
    """An ellipsoid of bone in place; where it is new it carries the label ``level``. Fractures stay open."""
    box = around(grid, centre, Spot(*(radius + 1.5 for radius in radii)))
    if not all(part.stop > part.start for part in box):
        return
    w, v, u = grid.w[box[0]][:, None, None], grid.v[box[1]][None, :, None], grid.u[box[2]][None, None, :]
    level_set = sum(((axis - at) / radius) ** 2 for axis, at, radius in zip((w, v, u), centre, radii, strict=True))
    distance = (np.sqrt(level_set) - 1) * min(radii)
    _add_bone(anatomy, box, np.asarray(distance, dtype=np.float32), level)


def _add_bone(anatomy: Anatomy, box: tuple[slice, slice, slice], distance: Field, level: int | Field) -> None:
    """New bone where ``distance`` is negative; fractures and other levels' voxels stay as they are."""
    free = ~anatomy.fracture[box] & (anatomy.cleft[box] <= 0) & ((anatomy.labels[box] == 0) | (distance > 0))
    depth = anatomy.depth_mm[box]
    anatomy.depth_mm[box] = np.where(free, np.minimum(depth, distance), depth)
    new = free & (distance < 0)
    anatomy.labels[box] = np.where(new, level, anatomy.labels[box]).astype(np.uint8)


def wear_disc(anatomy: Anatomy, grid: Grid, disc: DiscSite, severity: float, rng: np.random.Generator) -> None:
    """One worn disc: narrower, dense endplates, perhaps gas inside, spurs around its rim."""
    box = around(grid, disc.middle, Spot(12, 16, 18))
    if not all(part.stop > part.start for part in box):
        return
    w, v, u = disc.local(grid, box)
    across = np.hypot(v / np.float32(disc.half_depth + 1), u / np.float32(disc.half_depth * 1.3))
    inside = across < 1
    open_mm = np.float32(disc.half_height * rng.uniform(0.25, 1.0))
    if rng.random() < 0.6:
        grown = np.where(inside, np.maximum(open_mm - np.abs(w), np.abs(w) - open_mm - 2.5), 9).astype(np.float32)
        _add_bone(anatomy, box, grown, np.where(w < 0, disc.above, disc.above + 1).astype(np.float32))
    if rng.random() < 0.7:
        dense = np.exp(-((np.abs(w) / np.float32(disc.half_height + rng.uniform(2, 6))) ** 2)) * inside
        depth = anatomy.depth_mm[box]
        dense = np.where((depth < 0) & ~anatomy.fracture[box], dense, 0)
        anatomy.depth_mm[box] = depth * (1 - np.float32(rng.uniform(0.3, 0.9)) * dense)
    if rng.random() < 0.25 * severity:
        _gas(anatomy, box, (w, v, u), disc, rng)
    for _ in range(int(rng.integers(1, 3 + round(7 * severity)))):
        _spur(anatomy, grid, disc, severity, rng)


def _gas(
    anatomy: Anatomy,
    box: tuple[slice, slice, slice],
    local: tuple[Field, Field, Field],
    disc: DiscSite,
    rng: np.random.Generator,
) -> None:
    """Vacuum: flat bubbles of gas in a disc."""
    w, v, u = local
    for _ in range(int(rng.integers(1, 4))):
        at = Spot(0, *(disc.half_depth * x for x in rng.uniform(-0.6, 0.6, size=2)))
        size = Spot(rng.uniform(0.5, 1.0), rng.uniform(1.5, 4), rng.uniform(1.5, 5))
        bubble = ((w - at.w) / size.w) ** 2 + ((v - at.v) / size.v) ** 2 + ((u - at.u) / size.u) ** 2 < 1
        anatomy.tissue[box][bubble & (anatomy.depth_mm[box] > 0)] = Tissue.AIR


def _spur(anatomy: Anatomy, grid: Grid, disc: DiscSite, severity: float, rng: np.random.Generator) -> None:
    """An osteophyte on the rim of a disc, most often in front or at the sides, of the body above or below."""
    way = rng.choice([rng.normal(np.pi, 0.6), rng.uniform(0, 2 * np.pi)])
    size = rng.uniform(0.6, 1.0) * (1.0 + 1.8 * severity)
    upper = bool(rng.random() < 0.5)
    reach = disc.half_depth + rng.uniform(-0.5, 0.8) * size
    v, u = reach * np.cos(way), 1.2 * reach * np.sin(way)
    w = (-1 if upper else 1) * (disc.half_height * rng.uniform(0.3, 1.2))
    cos, sin = np.cos(disc.slope), np.sin(disc.slope)
    centre = Spot(
        float(disc.middle.w + cos * w + sin * v), float(disc.middle.v - sin * w + cos * v), float(disc.middle.u + u)
    )
    wide = size * rng.uniform(1.0, 2.2)
    radii = Spot(size * rng.uniform(0.6, 1.3), size * rng.uniform(0.9, 1.6), wide)
    add_bump(anatomy, grid, centre, radii, disc.above if upper else disc.above + 1)


def fuse(anatomy: Anatomy, grid: Grid, disc: DiscSite, rng: np.random.Generator) -> None:
    """Two levels grown together: bone fills the disc in part or whole, each half named as its neighbor."""
    box = around(grid, disc.middle, Spot(10, 16, 18))
    if not all(part.stop > part.start for part in box):
        return
    points = disc.local(grid, box)
    size = disc.half_depth * rng.uniform(0.4, 1.15)
    at = Spot(0, float(rng.uniform(-0.7, 0.4) * disc.half_depth), float(rng.normal(0, 2)))
    bridge = ellipsoid(at, Spot(disc.half_height + 4, size, size * 1.25))(points)
    _add_bone(anatomy, box, bridge, np.where(points.w < 0, disc.above, disc.above + 1).astype(np.float32))


def wear_facets(
    anatomy: Anatomy, grid: Grid, bodies: dict[int, BodySite], severity: float, rng: np.random.Generator
) -> None:
    """Knobbly bone around worn facet joints."""
    for level, site in bodies.items():
        for pillar in site.pillars:
            if rng.random() > 0.6 * severity or level > 7:
                continue
            for _ in range(int(rng.integers(1, 4))):
                centre = Spot(
                    pillar.w + float(rng.choice([-1, 1]) * rng.uniform(4, 8)),
                    pillar.v + float(rng.uniform(-3, 6)),
                    pillar.u + float(rng.uniform(-5, 5)),
                )
                add_bump(anatomy, grid, centre, Spot(*(float(x) for x in rng.uniform(1.2, 3.5, size=3))), level)


def ossify_ligaments(
    anatomy: Anatomy, grid: Grid, bodies: dict[int, BodySite], severity: float, rng: np.random.Generator
) -> None:
    """Bone without a label in the ligaments before and behind the bodies and in the neck's nape."""
    levels = sorted(bodies)
    for level in levels[:-1]:
        above, below = bodies[level], bodies.get(level + 1)
        if below is None:
            continue
        if rng.random() < 0.25 * severity:
            at = between(above.front_bottom, below.front_top)
            long = float(rng.uniform(3, 9))
            add_bump(anatomy, grid, at._replace(v=at.v - 1.8), Spot(long, 1.1, float(rng.uniform(1.5, 5))), 0)
        if rng.random() < 0.06 * severity:
            at = between(above.back_bottom, below.back_top)
            add_bump(anatomy, grid, at._replace(v=at.v + 1.8), Spot(float(rng.uniform(3, 12)), 1.2, 3.0), 0)
    if levels and rng.random() < 0.4 * severity:
        nape_calcification(anatomy, grid, bodies[levels[len(levels) // 2]], rng)


def nape_calcification(anatomy: Anatomy, grid: Grid, site: BodySite, rng: np.random.Generator) -> None:
    """A calcified piece of the nuchal ligament behind the spinous processes."""
    mine = np.nonzero((anatomy.labels == site.level).any(axis=(0, 2)))[0]
    back = float(grid.v[mine.max()]) if mine.size else site.front.v + 45
    centre = Spot(site.front.w + float(rng.uniform(0, 15)), back + float(rng.uniform(4, 12)), site.front.u)
    radii = Spot(float(rng.uniform(2, 8)), float(rng.uniform(1, 2.5)), float(rng.uniform(1, 2.5)))
    add_bump(anatomy, grid, centre, radii, 0)
