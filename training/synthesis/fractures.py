"""Fractures of one vertebra by type: gaps with displaced fragments, impaction and loss of height, with their place."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from model.findings import Vertebra
from training.synthesis.shapes import Field, Points, Solid, Spot
from training.synthesis.vertebrae import Build

LESION_MM = 2.0
"""Bone nearer than this to a fracture plane is marked as fracture."""


class FractureKind(StrEnum):
    """The types of cervical fracture that the generator makes."""

    JEFFERSON = "Jefferson"
    DENS_I = "dens I"
    DENS_II = "dens II"
    DENS_III = "dens III"
    HANGMAN = "hangman"
    COMPRESSION = "compression"
    BURST = "burst"
    TEARDROP = "teardrop"
    FACET = "facet"
    LAMINA = "lamina"
    SPINOUS = "spinous process"
    TRANSVERSE = "transverse process"


_OF_C2 = (
    FractureKind.DENS_I,
    FractureKind.DENS_II,
    FractureKind.DENS_III,
    FractureKind.HANGMAN,
    FractureKind.TEARDROP,
    FractureKind.LAMINA,
    FractureKind.TRANSVERSE,
)
_SUBAXIAL = (
    FractureKind.COMPRESSION,
    FractureKind.BURST,
    FractureKind.TEARDROP,
    FractureKind.FACET,
    FractureKind.LAMINA,
    FractureKind.SPINOUS,
    FractureKind.TRANSVERSE,
)
KINDS: dict[Vertebra, tuple[FractureKind, ...]] = {
    Vertebra.C1: (FractureKind.JEFFERSON, FractureKind.TRANSVERSE),
    Vertebra.C2: _OF_C2,
    **{level: _SUBAXIAL for level in Vertebra if level >= Vertebra.C3},
}
"""The types that a level is known for."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A fracture plane, rough, through ``spot``; what lies behind it within ``radius_mm`` has moved by ``moved`` (mm).

    It opens a gap of ``gap_mm``, or, where ``impaction`` is above 0, a band of bone denser by that share.
    """

    spot: Spot
    normal: Spot
    moved: Spot
    gap_mm: float
    radius_mm: float
    impaction: float = 0.0


@dataclass(frozen=True, slots=True)
class Fracture:
    """All cuts of one vertebra and the share (0..0.6) of the body's front height that it lost."""

    kind: FractureKind
    cuts: tuple[Cut, ...]
    height_loss: float = 0.0


def unit(w: float, v: float, u: float) -> Spot:
    """The direction (w, v, u) with length one."""
    length = float(np.sqrt(w * w + v * v + u * u))
    return Spot(w / length, v / length, u / length)


def _cut(spot: Spot, normal: Spot, radius_mm: float, rng: np.random.Generator, *, impacts: bool = False) -> Cut:
    """One plane: hairline to wide open, in place to displaced by a few millimeters, sometimes impacted instead."""
    tilt = rng.normal(0, 0.2, size=3)
    slip = rng.uniform(0, 0.5) if rng.random() < 0.4 else rng.uniform(0.5, 3.0)
    moved = rng.normal(0, 0.35, size=3) * slip + np.array(normal) * slip * rng.uniform(0.2, 0.9)
    return Cut(
        spot=Spot(*(float(x) for x in np.array(spot) + rng.normal(0, 0.8, size=3))),
        normal=unit(normal.w + tilt[0], normal.v + tilt[1], normal.u + tilt[2]),
        moved=Spot(*(float(x) for x in moved)),
        gap_mm=float(np.exp(rng.uniform(np.log(0.8), np.log(3.2)))),
        radius_mm=radius_mm,
        impaction=float(rng.uniform(0.3, 0.9)) if impacts and rng.random() < 0.3 else 0.0,
    )


def random_kind(level: Vertebra, rng: np.random.Generator) -> FractureKind:
    """One of the types that this level is known for."""
    kinds = KINDS[level]
    return kinds[int(rng.integers(len(kinds)))]


def plan_fracture(kind: FractureKind, build: Build, rng: np.random.Generator) -> Fracture:
    """A random fracture of this type in a vertebra of these proportions, in the vertebra's own axes."""
    made = _PLANS[kind](build, rng)
    if rng.random() < 0.25 and kind is not FractureKind.DENS_I:
        near = made.cuts[0]
        piece = _cut(near.spot, unit(*(float(x) for x in rng.normal(size=3))), 0.7 * near.radius_mm, rng)
        return Fracture(made.kind, (*made.cuts, piece), made.height_loss)
    return made


def _side(rng: np.random.Generator) -> float:
    return float(rng.choice([-1.0, 1.0]))


def _jefferson(_build: Build, rng: np.random.Generator) -> Fracture:
    side = _side(rng)
    front, same, other = Spot(0, -9, 5 * side), Spot(1, 22, 13 * side), Spot(1, 21, -14 * side)
    choices = ((front, same), (front, other), (same, other), (front, same, other), (front, same, other), (same,))
    spots = choices[int(rng.integers(len(choices)))]
    return Fracture(FractureKind.JEFFERSON, tuple(_cut(spot, unit(0, 0.3, 1.0), 9.0, rng) for spot in spots))


def _dens_i(build: Build, rng: np.random.Generator) -> Fracture:
    tip = Spot(-build.half_height - rng.uniform(10, 14), -1, 0)
    return Fracture(FractureKind.DENS_I, (_cut(tip, unit(-1, 0.1, 0.5 * _side(rng)), 10.0, rng),))


def _dens_ii(build: Build, rng: np.random.Generator) -> Fracture:
    root = Spot(-build.half_height - rng.uniform(0, 6), -1, 0)
    return Fracture(FractureKind.DENS_II, (_cut(root, unit(-1, rng.normal(0, 0.3), 0), 11.0, rng, impacts=True),))


def _dens_iii(build: Build, rng: np.random.Generator) -> Fracture:
    root = Spot(-build.half_height + rng.uniform(2, 7), 0, 0)
    return Fracture(FractureKind.DENS_III, (_cut(root, unit(-1, rng.normal(0, 0.3), 0), 13.0, rng, impacts=True),))


def _hangman(build: Build, rng: np.random.Generator) -> Fracture:
    pars = build.half_depth + 1
    cuts = tuple(_cut(Spot(1, pars, 14 * side), unit(0.3, 1, 0), 11.0, rng) for side in (-1.0, 1.0))
    return Fracture(FractureKind.HANGMAN, cuts)


def _compression(build: Build, rng: np.random.Generator) -> Fracture:
    spot = Spot(-build.half_height * 0.3, -build.half_depth * 0.4, 0)
    line = _cut(spot, unit(-1, 0.3, 0), 13.0, rng, impacts=True)
    return Fracture(FractureKind.COMPRESSION, (line,), height_loss=float(rng.uniform(0.15, 0.45)))


def _burst(build: Build, rng: np.random.Generator) -> Fracture:
    planes = (Spot(0, 0, 1), unit(1, 0.4, 0))
    cuts = tuple(_cut(Spot(0, 0, 0), plane, build.half_width + 3.5, rng) for plane in planes)
    return Fracture(FractureKind.BURST, cuts, height_loss=float(rng.uniform(0.1, 0.35)))


def _teardrop(build: Build, rng: np.random.Generator) -> Fracture:
    corner = Spot(build.half_height * 0.4, -build.half_depth * 0.5, 0)
    return Fracture(FractureKind.TEARDROP, (_cut(corner, unit(0.6, -1, 0), 12.0, rng),))


def _facet(build: Build, rng: np.random.Generator) -> Fracture:
    side = _side(rng)
    pillar = Spot(rng.uniform(-4, 4), build.half_depth + 6, (build.half_width + 8) * side)
    return Fracture(FractureKind.FACET, (_cut(pillar, unit(0.7, rng.uniform(-0.6, 0.8), 0.5 * side), 8.5, rng),))


def _lamina(build: Build, rng: np.random.Generator) -> Fracture:
    side, b = _side(rng), build.half_depth
    lamina = _cut(Spot(2, b + 11, 11 * side), unit(0.1, 1, -0.6 * side), 10.0, rng)
    if rng.random() < 0.5:
        return Fracture(FractureKind.LAMINA, (lamina,))
    return Fracture(FractureKind.LAMINA, (lamina, _cut(Spot(0, b + 5, -14 * side), unit(1, 0.4, 0), 9.0, rng)))


def _spinous(build: Build, rng: np.random.Generator) -> Fracture:
    root = Spot(6, build.half_depth + 15 + build.spine_length * rng.uniform(0.2, 0.6), 0)
    return Fracture(FractureKind.SPINOUS, (_cut(root, unit(0.2, 1, 0), 11.0, rng),))


def _transverse(build: Build, rng: np.random.Generator) -> Fracture:
    side = _side(rng)
    root = Spot(1, 3, (build.half_width + max(6.0, 0.6 * build.transverse_length)) * side)
    return Fracture(FractureKind.TRANSVERSE, (_cut(root, unit(0, 0.3, side), 9.0, rng),))


_PLANS: dict[FractureKind, Callable[[Build, np.random.Generator], Fracture]] = {
    FractureKind.JEFFERSON: _jefferson,
    FractureKind.DENS_I: _dens_i,
    FractureKind.DENS_II: _dens_ii,
    FractureKind.DENS_III: _dens_iii,
    FractureKind.HANGMAN: _hangman,
    FractureKind.COMPRESSION: _compression,
    FractureKind.BURST: _burst,
    FractureKind.TEARDROP: _teardrop,
    FractureKind.FACET: _facet,
    FractureKind.LAMINA: _lamina,
    FractureKind.SPINOUS: _spinous,
    FractureKind.TRANSVERSE: _transverse,
}


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken solid as fields in mm: distance to its moved outline, to the nearest fracture plane, and its cleft.

    ``cleft``: above 0 the share (0..1) of a voxel that is gap, below 0 the share by which impacted bone is denser.
    """

    outline: Field
    lesion_mm: Field
    cleft: Field


def gap_share(away_mm: Field, cut: Cut, voxel_mm: float) -> Field:
    """The cleft of one cut at these distances from its plane: partial volume of a gap, or a band of dense bone."""
    if cut.impaction > 0:
        return np.asarray(-cut.impaction * np.exp(-((away_mm / np.float32(1.5)) ** 2)), dtype=np.float32)
    return np.asarray(np.clip(0.5 + (cut.gap_mm / 2 - away_mm) / voxel_mm, 0, 1), dtype=np.float32)


def broken(solid: Solid, build: Build, fracture: Fracture, points: Points, roughness: Field, voxel_mm: float) -> Broken:
    """The broken solid at these points; ``roughness`` in mm bends the planes. New edges carry no cortex."""
    shape = np.broadcast_shapes(*(axis.shape for axis in points))
    lesion = np.full(shape, 99.0, dtype=np.float32)
    cleft = np.zeros(shape, dtype=np.float32)
    if fracture.height_loss > 0:
        points = _lowered(points, build, fracture.height_loss)
    for cut in fracture.cuts:
        w, v, u = points.shifted(*cut.spot)
        plane = w * np.float32(cut.normal.w) + v * np.float32(cut.normal.v) + u * np.float32(cut.normal.u) + roughness
        inside = (w * w + v * v + u * u) < np.float32(cut.radius_mm**2)
        moved = ((plane > 0) & inside).astype(np.float32)
        points = Points(*(axis - moved * np.float32(step) for axis, step in zip(points, cut.moved, strict=True)))
        away = np.where(inside, np.abs(plane), np.float32(99.0))
        lesion = np.minimum(lesion, away)
        share = gap_share(away, cut, voxel_mm)
        cleft = np.where(np.abs(share) > np.abs(cleft), share, cleft)
    return Broken(solid(points), lesion, cleft)


def _lowered(points: Points, build: Build, loss: float) -> Points:
    """Where the points of a body that lost this share of its front height were before."""
    front = np.clip((np.float32(0.6 * build.half_depth) - points.v) / np.float32(1.6 * build.half_depth), 0, 1)
    near = np.abs(points.u) < build.half_width + 3
    share = np.float32(loss) * front * near
    h = np.float32(build.half_height)
    w = np.where(points.w < h, h - (h - points.w) / (1 - share), points.w)
    return Points(w.astype(np.float32), points.v, points.u)
