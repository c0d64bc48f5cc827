"""Fractures of one vertebra: gaps with displaced fragments and wedge-shaped loss of height, with their exact place."""

from dataclasses import dataclass

import numpy as np

from training.shapes import Field, Points, Solid, Spot
from training.vertebrae import Build


@dataclass(frozen=True, slots=True)
class Cut:
    """A gap of ``gap_mm`` along a rough plane through ``spot``; what lies behind the plane has moved by ``moved``."""

    spot: Spot
    normal: Spot
    moved: Spot
    gap_mm: float
    radius_mm: float


@dataclass(frozen=True, slots=True)
class Fracture:
    """All cuts of one vertebra and the share (0..0.6) of the body's front height that it lost."""

    cuts: tuple[Cut, ...]
    height_loss: float = 0.0


def _unit(w: float, v: float, u: float) -> Spot:
    length = float(np.sqrt(w * w + v * v + u * u))
    return Spot(w / length, v / length, u / length)


def _cut(spot: Spot, normal: Spot, radius_mm: float, rng: np.random.Generator) -> Cut:
    tilt = rng.normal(0, 0.2, size=3)
    moved = rng.normal(0, 1.0, size=3) + np.array(normal) * rng.uniform(0.3, 1.5)
    return Cut(
        spot=Spot(*(np.array(spot) + rng.normal(0, 0.8, size=3))),
        normal=_unit(normal.w + tilt[0], normal.v + tilt[1], normal.u + tilt[2]),
        moved=Spot(*(float(x) for x in moved)),
        gap_mm=float(rng.uniform(1.2, 3.2)),
        radius_mm=radius_mm,
    )


def random_fracture(label: int, build: Build, rng: np.random.Generator) -> Fracture:
    """A fracture that this level is known for: ring (C1), dens or pars (C2), body, arch or spinous process (C3-C7)."""
    if label == 1:
        return _of_atlas(rng)
    if label == 2:
        return _of_axis(build, rng)
    kinds = (_compression, _burst, _teardrop, _arch, _spinous)
    kind = kinds[int(rng.choice(len(kinds), p=[0.3, 0.3, 0.15, 0.15, 0.1]))]
    return kind(build, rng)


def _of_atlas(rng: np.random.Generator) -> Fracture:
    side = float(rng.choice([-1.0, 1.0]))
    spots = (Spot(0, -9, 5 * side), Spot(1, 22, 13 * side), Spot(1, 21, -14 * side))
    return Fracture(tuple(_cut(spot, _unit(0, 0.3, 1.0), 9.0, rng) for spot in spots[: int(rng.integers(2, 4))]))


def _of_axis(build: Build, rng: np.random.Generator) -> Fracture:
    if rng.random() < 0.6:
        root = Spot(-build.half_height - rng.uniform(-3, 6), -1, 0)
        return Fracture((_cut(root, Spot(-1, 0, 0), 22.0, rng),))
    pars = build.half_depth + 1
    return Fracture(tuple(_cut(Spot(1, pars, 14 * side), _unit(0.3, 1, 0), 12.0, rng) for side in (-1.0, 1.0)))


def _compression(build: Build, rng: np.random.Generator) -> Fracture:
    line = _cut(Spot(-build.half_height * 0.3, -build.half_depth * 0.4, 0), _unit(-1, 0.3, 0), 13.0, rng)
    return Fracture((line,), height_loss=float(rng.uniform(0.2, 0.45)))


def _burst(build: Build, rng: np.random.Generator) -> Fracture:
    planes = (Spot(0, 0, 1), _unit(1, 0.4, 0))
    cuts = tuple(_cut(Spot(0, 0, 0), plane, build.half_width + 3.5, rng) for plane in planes)
    return Fracture(cuts, height_loss=float(rng.uniform(0.1, 0.35)))


def _teardrop(build: Build, rng: np.random.Generator) -> Fracture:
    return Fracture((_cut(Spot(build.half_height * 0.4, -build.half_depth * 0.5, 0), _unit(0.6, -1, 0), 12.0, rng),))


def _arch(build: Build, rng: np.random.Generator) -> Fracture:
    side, b = float(rng.choice([-1.0, 1.0])), build.half_depth
    lamina = _cut(Spot(2, b + 11, 11 * side), _unit(0.1, 1, -0.6 * side), 11.0, rng)
    return Fracture((lamina, _cut(Spot(0, b + 5, -14 * side), _unit(1, 0.4, 0), 10.0, rng)))


def _spinous(build: Build, rng: np.random.Generator) -> Fracture:
    root = Spot(6, build.half_depth + 15 + build.spine_length * 0.35, 0)
    return Fracture((_cut(root, _unit(0.2, 1, 0), 12.0, rng),))


def broken(
    solid: Solid, build: Build, fracture: Fracture, points: Points, roughness: Field
) -> tuple[Field, Field, Field]:
    """The broken solid.

    Returns three fields in mm: the distance to its bone, the distance to its outline with the gaps closed, and the
    distance to the nearest fracture plane (large where there is none). ``roughness`` in mm bends the planes.
    """
    lesion = np.full(np.broadcast_shapes(*(axis.shape for axis in points)), 99.0, dtype=np.float32)
    gaps = np.full_like(lesion, -99.0)
    if fracture.height_loss > 0:
        front = np.clip((np.float32(0.6 * build.half_depth) - points.v) / np.float32(1.6 * build.half_depth), 0, 1)
        near = np.abs(points.u) < build.half_width + 3
        loss = np.float32(fracture.height_loss) * front * near
        w = np.where(
            points.w < build.half_height, build.half_height - (build.half_height - points.w) / (1 - loss), points.w
        )
        points = Points(w.astype(np.float32), points.v, points.u)
    for cut in fracture.cuts:
        w, v, u = points.shifted(*cut.spot)
        plane = w * np.float32(cut.normal.w) + v * np.float32(cut.normal.v) + u * np.float32(cut.normal.u) + roughness
        inside = (w * w + v * v + u * u) < np.float32(cut.radius_mm**2)
        moved = ((plane > 0) & inside).astype(np.float32)
        points = Points(*(axis - moved * np.float32(step) for axis, step in zip(points, cut.moved, strict=True)))
        away = np.where(inside, np.abs(plane), np.float32(99.0))
        lesion = np.minimum(lesion, away)
        gaps = np.maximum(gaps, np.float32(cut.gap_mm / 2) - away)
    outline = solid(points)
    return np.maximum(outline, gaps), outline, lesion
