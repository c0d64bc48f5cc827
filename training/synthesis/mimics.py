"""What looks like a fracture and is none: foramina, clefts, synchondroses, ossicles, Schmorl nodes, vessel grooves.

All of them are smooth and, unlike a fresh fracture, lined by cortex, because they are part of the bone's surface.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.synthesis.shapes import Field, Points, Solid, Spot, capsule, ellipsoid
from training.synthesis.vertebrae import Build


@dataclass(frozen=True, slots=True)
class Mimics:
    """Solids, in the axes of one vertebra, that are taken away from its bone and small bones that lie beside it."""

    holes: tuple[Solid, ...] = ()
    ossicles: tuple[Solid, ...] = ()

    def applied(self, bone_mm: Field, points: Points) -> Field:
        """The distance to bone (mm) with the holes cut and the ossicles added."""
        for hole in self.holes:
            bone_mm = np.maximum(bone_mm, -hole(points))
        for ossicle in self.ossicles:
            bone_mm = np.minimum(bone_mm, ossicle(points))
        return bone_mm


def random_mimics(label: int, build: Build, rng: np.random.Generator) -> Mimics:
    """The mimics of one vertebra (1..7): most have a few small foramina, some a variant that is known to mislead."""
    holes: list[Solid] = []
    ossicles: list[Solid] = []
    makers: tuple[tuple[float, Callable[[Build, np.random.Generator], Mimics]], ...]
    if label == 1:
        makers = ((0.12, _arch_cleft), (0.25, _vessel_groove), (0.08, _ossicle_of_c1))
    elif label == 2:
        makers = ((0.35, _synchondrosis), (0.5, _basivertebral), (0.5, _foramina), (0.05, _ossicle_of_dens))
    else:
        makers = ((0.6, _basivertebral), (0.6, _foramina), (0.12, _schmorl), (0.1, _limbus), (0.1, _tip_ossicle))
    for chance, maker in makers:
        if rng.random() < chance:
            made = maker(build, rng)
            holes.extend(made.holes)
            ossicles.extend(made.ossicles)
    return Mimics(tuple(holes), tuple(ossicles))


def _rod(start: Spot, end: Spot, radius: float) -> Solid:
    return capsule(start, end, radius, radius * 0.7)


def _basivertebral(build: Build, rng: np.random.Generator) -> Mimics:
    """The vein's canal from the back of the body to its middle, often forked."""
    back, w = build.half_depth + 1, rng.uniform(-1.5, 1.5)
    middle = Spot(w, build.half_depth * rng.uniform(-0.3, 0.4), rng.uniform(-1, 1))
    radius = rng.uniform(0.5, 1.3)
    holes = [_rod(Spot(w, back, 0), middle, radius)]
    if rng.random() < 0.5:
        holes.extend(
            _rod(middle, Spot(w, middle.v - 4, side * rng.uniform(3, 6)), radius * 0.8) for side in (-1.0, 1.0)
        )
    return Mimics(holes=tuple(holes))


def _foramina(build: Build, rng: np.random.Generator) -> Mimics:
    """Nutrient foramina: short, thin canals anywhere into the body's front or sides, or into the pillars."""
    holes = []
    for _ in range(int(rng.integers(1, 4))):
        angle = rng.uniform(0, 2 * np.pi)
        w = rng.uniform(-0.6, 0.6) * build.half_height
        outside = Spot(w, -np.cos(angle) * build.half_depth, np.sin(angle) * build.half_width)
        inside = Spot(w + rng.uniform(-1, 1), outside.v * 0.4, outside.u * 0.4)
        holes.append(_rod(outside, inside, rng.uniform(0.4, 0.9)))
    return Mimics(holes=tuple(holes))


def _schmorl(build: Build, rng: np.random.Generator) -> Mimics:
    """A Schmorl node: a round dent in an endplate."""
    end = float(rng.choice([-1.0, 1.0])) * build.half_height
    centre = Spot(end, rng.uniform(-0.4, 0.4) * build.half_depth, rng.uniform(-0.5, 0.5) * build.half_width)
    return Mimics(holes=(ellipsoid(centre, Spot(rng.uniform(1.5, 3.5), rng.uniform(2, 4), rng.uniform(2, 4))),))


def _limbus(build: Build, rng: np.random.Generator) -> Mimics:
    """A limbus vertebra: an old, rounded ossicle in front of the body's rim."""
    end = float(rng.choice([-1.0, 1.0])) * (build.half_height - 0.5)
    centre = Spot(end, -build.half_depth - rng.uniform(1.0, 2.5), rng.uniform(-4, 4))
    return Mimics(ossicles=(ellipsoid(centre, Spot(rng.uniform(1, 2.2), rng.uniform(1, 2), rng.uniform(1.5, 4))),))


def _tip_ossicle(build: Build, rng: np.random.Generator) -> Mimics:
    """A rounded ossicle behind the tip of the spinous process (nuchal ligament, unfused apophysis)."""
    tip = build.half_depth + 15 + build.spine_length
    centre = Spot(5 + build.spine_drop, tip + rng.uniform(4.5, 8), rng.uniform(-1.5, 1.5))
    return Mimics(
        ossicles=(ellipsoid(centre, Spot(rng.uniform(1.5, 4), rng.uniform(1.2, 2.5), rng.uniform(1.2, 2.5))),)
    )


def _synchondrosis(build: Build, rng: np.random.Generator) -> Mimics:
    """The rest of the dens's synchondrosis: thin, incomplete lines at its base, in the middle of the bone."""
    w = -build.half_height + rng.uniform(-1, 3)
    reach = rng.uniform(2.0, 4.0)
    disc = ellipsoid(Spot(w, -0.5, 0), Spot(rng.uniform(0.4, 0.9), reach, reach + rng.uniform(0, 1.5)))
    return Mimics(holes=(disc,))


def _ossicle_of_dens(build: Build, rng: np.random.Generator) -> Mimics:
    """Ossiculum terminale: a small round bone above the dens."""
    centre = Spot(-build.half_height - 24 - rng.uniform(0, 2), -1.5, rng.uniform(-1.5, 1.5))
    return Mimics(ossicles=(ellipsoid(centre, Spot(1.8, 1.8, 2.2)),))


def _arch_cleft(_build: Build, rng: np.random.Generator) -> Mimics:
    """A developmental cleft of the posterior (seldom the anterior) arch of C1 near the midline, with round ends."""
    u, half = rng.normal(0, 1.5), rng.uniform(0.5, 2.5)
    low, high = (-14.0, -5.0) if rng.random() < 0.2 else (22.0, 40.0)

    def slab(points: Points) -> Field:
        beyond = np.maximum(np.float32(low) - points.v, points.v - np.float32(high))
        slab_mm = np.maximum(np.abs(points.u - np.float32(u)) - np.float32(half), beyond)
        return np.asarray(slab_mm, dtype=np.float32)

    return Mimics(holes=(slab,))


def _vessel_groove(_build: Build, rng: np.random.Generator) -> Mimics:
    """The groove of the vertebral artery across the posterior arch of C1, deep or bridged."""
    radius = rng.uniform(1.2, 2.6)
    sides = ((-1.0, 1.0), (1.0,), (-1.0,))[int(rng.integers(3))]
    return Mimics(holes=tuple(_rod(Spot(-3.5, 10, 23 * side), Spot(-3.5, 21, 9 * side), radius) for side in sides))


def _ossicle_of_c1(_build: Build, rng: np.random.Generator) -> Mimics:
    """A round accessory ossicle below the anterior arch of C1."""
    centre = Spot(rng.uniform(5, 8), -12, rng.uniform(-2, 2))
    return Mimics(ossicles=(ellipsoid(centre, Spot(1.6, 1.4, 2.2)),))
