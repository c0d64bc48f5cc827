"""Everything around the cervical vertebrae: skull base, mandible, hyoid, airway, vessels, skin, fat and table."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.synthesis.anatomy import Grid, Tissue, smooth_noise
from training.synthesis.outside import fill_collar, fill_shoulders, fill_table
from training.synthesis.shapes import Field, Points, Solid, Spot, capsule, chain, ellipsoid, tube, union, without
from training.synthesis.vertebrae import rods
from training.synthesis.vessels import fill_vessels


@dataclass(frozen=True, slots=True)
class Curve:
    """The line of the vertebral bodies: at the heights ``w`` (mm, ascending) it runs through ``v`` and ``u``."""

    w: Field
    v: Field
    u: Field

    def at(self, w: Field) -> tuple[Field, Field]:
        """Position (v, u) of the line at the heights ``w``; beyond its ends it goes straight on downwards."""
        v = np.interp(w, self.w, self.v)
        u = np.interp(w, self.w, self.u)
        return v.astype(np.float32), u.astype(np.float32)


def skull(rng: np.random.Generator) -> Solid:
    """Skull base around C1 (origin: middle of C1): occipital bone with foramen magnum, condyles, clivus, mastoids."""
    pole = rng.uniform(-16, -11)
    thickness, behind = rng.uniform(1.6, 6.0), rng.uniform(0, 5)
    deep = rng.uniform(80, 102)
    brain = ellipsoid(Spot(pole - 72, 0, 0), Spot(72, deep, rng.uniform(66, 80)))

    def shell(points: Points) -> Field:
        occiput = np.float32(behind) * np.clip(points.v / np.float32(deep), 0, 1) ** 2
        return np.asarray(np.abs(brain(points)) - np.float32(thickness) - occiput, dtype=np.float32)

    inion = ellipsoid(Spot(pole - 40, deep * 0.9, 0), Spot(7, rng.uniform(4, 14), 9))
    vault = without(union(shell, inion), tube(Spot(0, 9, 0), 18, 15), ellipsoid(Spot(-25, -75, 0), Spot(70, 60, 90)))
    condyles = union(ellipsoid(Spot(-13.5, 2, 14), Spot(5, 10, 6)), ellipsoid(Spot(-13.5, 2, -14), Spot(5, 10, 6)))
    clivus = capsule(Spot(-17, -9, 0), Spot(-48, -30, 0), 5.5, 8.0)
    lower = rng.uniform(-8, 2)
    temporal = union(
        rods(Spot(-24, 2, 50), Spot(lower, 4, 52), 11.0, 7.0),
        rods(Spot(-28, -8, 22), Spot(-30, -12, 48), 9.0, 11.0),
        rods(Spot(-20, -8, 36), Spot(4, -14, 34), 2.0, 1.6),
    )
    palate = union(
        capsule(Spot(-10, -50, 0), Spot(-8, -90, 0), 3.0), rods(Spot(-35, -40, 20), Spot(-8, -48, 20), 2.6, height=1.0)
    )
    whole = union(vault, condyles, clivus, temporal, palate)
    return nodded(whole, float(np.radians(rng.normal(0, 4))), float(np.radians(rng.normal(0, 2.5))))


def nodded(solid: Solid, nod: float, lean: float) -> Solid:
    """The solid turned about its origin: by ``nod`` in the sagittal and by ``lean`` in the coronal plane (radians)."""
    cn, sn, cl, sl = (np.float32(x) for x in (np.cos(nod), np.sin(nod), np.cos(lean), np.sin(lean)))

    def distance(points: Points) -> Field:
        w, v = cn * points.w - sn * points.v, sn * points.w + cn * points.v
        return solid(Points(cl * w - sl * points.u, v, sl * w + cl * points.u))

    return distance


def mandible(drop: float) -> Solid:
    """The lower jaw (origin: middle of C1), its chin ``drop`` mm below C1."""
    return union(
        *(
            chain(
                (
                    Spot(-22, -14, 50 * side),
                    Spot(drop * 0.6, -22, 46 * side),
                    Spot(drop * 0.85, -55, 32 * side),
                    Spot(drop, -82, 8 * side),
                    Spot(drop, -84, 0),
                ),
                5.0,
                height=1.8,
            )
            for side in (1.0, -1.0)
        )
    )


def teeth(drop: float) -> Solid:
    """Two rows of teeth (origin: middle of C1)."""
    row = drop * 0.55
    return union(
        *(
            chain((Spot(row, -48, 28 * side), Spot(row, -72, 18 * side), Spot(row, -80, 0)), 4.0, height=2.0)
            for side in (1.0, -1.0)
        )
    )


def hyoid(rng: np.random.Generator) -> Solid:
    """The hyoid bone (origin: on the line of the bodies at the height of C3/C4)."""
    forward = -rng.uniform(36, 48)
    return union(
        chain((Spot(0, forward + 22, 20), Spot(1, forward + 6, 13), Spot(2, forward, 0)), 2.0, height=1.4),
        chain((Spot(0, forward + 22, -20), Spot(1, forward + 6, -13), Spot(2, forward, 0)), 2.0, height=1.4),
    )


@dataclass(frozen=True, slots=True)
class Body:
    """Sizes in mm of one person's neck, head and shoulders, and what lies around them."""

    neck_depth: float
    neck_back: float
    neck_width: float
    fat: float
    airway: float
    table: bool
    nuchal_fat: float
    collar: bool
    tube: bool

    @classmethod
    def random(cls, rng: np.random.Generator, *, table: bool) -> "Body":
        """Another person."""
        return cls(
            neck_depth=float(rng.uniform(50, 72)),
            neck_back=float(rng.uniform(62, 120)),
            neck_width=float(rng.uniform(52, 76)),
            fat=float(rng.choice([rng.uniform(1.5, 6), rng.uniform(5, 22)])),
            airway=float(rng.uniform(5, 10)),
            table=table,
            nuchal_fat=float(rng.choice([rng.uniform(2, 8), rng.uniform(5, 40)])),
            collar=bool(rng.random() < 0.12),
            tube=bool(rng.random() < 0.06),
        )


def _skin_mm(grid: Grid, curve: Curve, body: Body, c1: Spot, c7: Spot) -> Field:
    """Signed distance (rough, mm) to the skin: negative inside the patient."""
    w = grid.w[:, None, None]
    centre_v, centre_u = (axis[:, None, None] for axis in curve.at(grid.w))
    below = np.clip((w - (c7.w - 15)) / 45, 0, 1) ** 1.5
    width = body.neck_width + 120 * below
    from_middle = grid.v[None, :, None] - centre_v + 8
    depth = np.where(from_middle > 0, body.neck_back, body.neck_depth) + 15 * below
    level = np.sqrt((from_middle / depth) ** 2 + ((grid.u[None, None, :] - centre_u) / width) ** 2)
    neck = (level - 1) * np.minimum(depth, width)
    points = Points(grid.w[:, None, None], grid.v[None, :, None], grid.u[None, None, :])
    head = ellipsoid(Spot(c1.w - 60, c1.v - 6, c1.u), Spot(98, 108, 86))(points)
    jaw = ellipsoid(Spot(c1.w + 5, c1.v - 50, c1.u), Spot(50, 55, 62))(points)
    return np.asarray(np.minimum(np.minimum(neck, head), jaw), dtype=np.float32)


def fill_tissues(
    grid: Grid, curve: Curve, body: Body, ends: tuple[Spot, Spot], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Soft tissue, air and table of the whole grid; ``ends`` are the middles of C1 and C7."""
    c1, c7 = ends
    steps = tuple(float(axis[1] - axis[0]) for axis in (grid.w, grid.v, grid.u))
    cell = tuple(mm / step for mm, step in zip((22, 9, 9), steps, strict=True))
    skin = _skin_mm(grid, curve, body, c1, c7)
    skin += 3 * smooth_noise(skin.shape, tuple(30 / step for step in steps), rng)
    tissue = np.full(grid.shape, Tissue.MUSCLE, dtype=np.uint8)
    planes = smooth_noise(grid.shape, cell, rng)
    behind = np.clip((grid.v[None, :, None] - c7.v) / 50, 0, 1).astype(np.float32)
    tissue[np.abs(planes) < rng.uniform(0.02, 0.14)] = Tissue.FAT
    _fill_septum(tissue, grid, curve, rng)
    tissue[skin > -(body.fat + max(0.0, body.nuchal_fat - body.fat) * behind)] = Tissue.FAT
    tissue[skin > -1.5] = Tissue.MUSCLE
    fill_shoulders(tissue, grid, c7, rng)
    _fill_tubes(tissue, grid, curve, body, ends, rng)
    tissue[skin > 0] = Tissue.AIR
    if body.collar:
        fill_collar(tissue, grid, skin, ends, rng)
    if body.table:
        fill_table(tissue, grid, rng)
    return tissue


def _fill_septum(tissue: NDArray[np.uint8], grid: Grid, curve: Curve, rng: np.random.Generator) -> None:
    """The fat of the middle between the muscles of the nape and around their deep layer, in place."""
    centre_v, centre_u = (axis[:, None, None] for axis in curve.at(grid.w))
    from_spine = grid.v[None, :, None] - centre_v
    sway = 3 * smooth_noise(tissue.shape[:2], (tissue.shape[0] / 8, tissue.shape[1] / 6), rng)
    across = np.abs(grid.u[None, None, :] - centre_u - sway[:, :, None])
    nape = from_spine > 28
    tissue[nape & (across < rng.uniform(0.4, 2.5))] = Tissue.FAT
    layer = np.abs(from_spine - rng.uniform(38, 60) + 0.02 * across * across)
    tissue[nape & (across < 60) & (layer < rng.uniform(0.3, 1.6))] = Tissue.FAT


def _fill_tubes(
    tissue: NDArray[np.uint8], grid: Grid, curve: Curve, body: Body, ends: tuple[Spot, Spot], rng: np.random.Generator
) -> None:
    """Airway, vessels, spinal canal and brain, in place."""
    c1 = ends[0]
    along = grid.w
    centre_v, centre_u = curve.at(along)
    v, u = grid.v[None, :, None], grid.u[None, None, :]

    def oval(
        offset_v: NDArray[Any], offset_u: NDArray[Any], half_depth: NDArray[Any], half_width: NDArray[Any]
    ) -> NDArray[np.bool_]:
        dv = (v - (centre_v + offset_v)[:, None, None]) / half_depth[:, None, None]
        du = (u - (centre_u + offset_u)[:, None, None]) / half_width[:, None, None]
        return np.asarray(dv * dv + du * du < 1)

    one = np.ones(along.shape)
    wobble = smooth_noise(along.shape, (20,), rng)
    reach = np.clip((along - (c1.w + 55)) / 40, 0, 1)
    airway_v = -(body.airway + 13 + 14 * reach + 2 * wobble)
    narrow = np.clip(0.75 + 0.5 * smooth_noise(along.shape, (15,), rng), 0.15, 1.3)
    fill_vessels(tissue, along, oval, ends, rng)
    wall = oval(airway_v, 0 * one, one * (body.airway + 3) * np.maximum(narrow, 0.5), one * (body.airway + 5))
    tissue[wall] = Tissue.CARTILAGE
    if rng.random() < 0.3:
        hard = smooth_noise(along.shape, (6,), rng)[:, None, None] * smooth_noise(
            (1, *tissue.shape[1:]), (1, 5, 5), rng
        )
        tissue[wall & (hard > 0.25)] = Tissue.BONE
    tissue[oval(airway_v, 0 * one, one * body.airway * narrow, one * (body.airway + 2) * np.maximum(narrow, 0.5))] = (
        Tissue.AIR
    )
    if body.tube:
        radius = rng.uniform(4, 6)
        tissue[oval(airway_v, 0 * one, one * radius, one * radius)] = Tissue.CARTILAGE
        tissue[oval(airway_v, 0 * one, one * (radius - 1.3), one * (radius - 1.3))] = Tissue.AIR
    tissue[oval(16 * one, 0 * one, 7.5 * one, 11 * one)] = Tissue.FAT
    tissue[oval(15.5 * one, 0 * one, 6 * one, 8.5 * one)] = Tissue.NERVE
    points = Points(grid.w[:, None, None], grid.v[None, :, None], grid.u[None, None, :]).shifted(*c1)
    tissue[ellipsoid(Spot(-86, 0, 0), Spot(72, 86, 70))(points) < 0] = Tissue.BRAIN
