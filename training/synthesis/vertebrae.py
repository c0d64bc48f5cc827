"""The shapes of the cervical and upper thoracic vertebrae as solids in their own axes, in mm.

The origin is the middle of the vertebral body (of C1: the middle of its ring's front third, where the dens turns).
Proportions follow a textbook adult neck; a random generator varies them. None of it derives from a patient.
"""

from dataclasses import dataclass

import numpy as np

from training.synthesis.shapes import Field, Points, Solid, Spot, capsule, chain, ellipsoid, tube, union, without


@dataclass(frozen=True, slots=True)
class Build:
    """Proportions of one vertebra with a body: half width, half depth and half height of the body, and processes."""

    half_width: float
    half_depth: float
    half_height: float
    spine_length: float
    spine_drop: float
    transverse_length: float
    uncus: float
    bifid: bool


BUILDS: dict[int, Build] = {
    3: Build(9.0, 7.6, 7.0, 13.0, 6.0, 11.0, 3.5, bifid=True),
    4: Build(9.4, 7.8, 6.8, 14.0, 7.0, 11.5, 3.5, bifid=True),
    5: Build(10.0, 7.9, 6.7, 16.0, 8.0, 12.0, 3.5, bifid=True),
    6: Build(10.8, 8.1, 6.9, 21.0, 9.0, 12.5, 3.2, bifid=True),
    7: Build(11.8, 8.3, 7.5, 29.0, 11.0, 17.0, 2.0, bifid=False),
    8: Build(12.5, 8.8, 8.0, 31.0, 14.0, 25.0, 1.0, bifid=False),
    9: Build(12.0, 9.2, 8.6, 31.0, 19.0, 25.0, 0.0, bifid=False),
    10: Build(11.8, 9.6, 8.9, 31.0, 22.0, 24.0, 0.0, bifid=False),
    11: Build(11.8, 10.0, 9.1, 30.0, 25.0, 24.0, 0.0, bifid=False),
}
"""Number (3..7 = C3..C7, 8..11 = T1..T4) to proportions."""


def vary(build: Build, rng: np.random.Generator) -> Build:
    """Another person's proportions of the same vertebra."""
    factor = rng.uniform(0.88, 1.12, size=7)
    return Build(
        build.half_width * factor[0],
        build.half_depth * factor[1],
        build.half_height * (0.5 + 0.5 * factor[2]),
        build.spine_length * (1 + 2 * (factor[3] - 1)),
        build.spine_drop * (1 + 2 * (factor[4] - 1)),
        build.transverse_length * factor[5],
        build.uncus * factor[6],
        build.bifid,
    )


def rods(start: Spot, end: Spot, radius: float, end_radius: float | None = None, *, height: float = 1.0) -> Solid:
    """A rod on the left and its mirror image on the right."""
    mirrored = start._replace(u=-start.u), end._replace(u=-end.u)
    return union(
        capsule(start, end, radius, end_radius, height=height), capsule(*mirrored, radius, end_radius, height=height)
    )


def body(build: Build) -> Solid:
    """The vertebral body: an elliptic cylinder, waisted, with uncinate processes on its upper rim."""

    def distance(points: Points) -> Field:
        w, v, u = points
        lateral = np.abs(u) / np.float32(build.half_width)
        waist = np.float32(0.93) + np.float32(0.07) * np.clip(np.abs(w) / np.float32(build.half_height), 0, 1.3)
        level = np.sqrt(lateral**2 + (v / np.float32(build.half_depth)) ** 2) / waist
        side = (level - 1) * np.float32(build.half_depth)
        rim = np.clip(lateral, 0, 1.2) ** 4
        top = -np.float32(build.half_height) - np.float32(build.uncus) * rim - w
        bottom = w - np.float32(build.half_height) + np.float32(1.5) * rim
        return np.maximum(side, np.maximum(top, bottom))

    return distance


def lower_cervical(build: Build) -> Solid:
    """C3 to T4: body, pedicles, articular pillars, laminae, spinous and transverse processes."""
    b, a, h = build.half_depth, build.half_width, build.half_height
    pillar = a + 8.0
    back = b + 15.0
    solid = union(
        body(build),
        rods(Spot(-1, b * 0.6, a * 0.75), Spot(0, b + 4, pillar - 2), 3.0, height=1.2),
        rods(Spot(-h - 1.5, b + 4, pillar), Spot(h + 2.5, b + 9, pillar - 0.5), 5.0, 4.6),
        rods(Spot(1, b + 8, pillar - 2), Spot(4, back, 2.5), 2.4, height=2.4),
        capsule(Spot(4, back, 0), Spot(4 + build.spine_drop, back + build.spine_length, 0), 3.2, 3.0, height=1.5),
    )
    tip = Spot(4 + build.spine_drop, back + build.spine_length - 2, 0)
    if build.bifid:
        solid = union(solid, rods(tip, Spot(tip.w + 2, tip.v + 3, 4.5), 2.3))
    if build.transverse_length < 20:
        reach = a + build.transverse_length
        wings = union(
            rods(Spot(0, -1, a - 1), Spot(2, 0, reach), 2.4, 2.2),
            rods(Spot(0, b, a + 3), Spot(2, 5, reach), 2.5, 2.4),
        )
        return without(
            union(solid, wings),
            tube(Spot(0, b + 7, 0), 7.5, 11.5),
            tube(Spot(0, 3, a + 5.5), 2.8, 2.8),
            tube(Spot(0, 3, -a - 5.5), 2.8, 2.8),
        )
    wings = union(
        rods(Spot(-1, b + 8, a + 4), Spot(-3, b + 14, a + build.transverse_length), 4.2, 4.5),
        rods(Spot(-2, b + 1, a + 2), Spot(2, b + 6, a + build.transverse_length), 3.4, height=1.3),
    )
    return without(union(solid, wings), tube(Spot(0, b + 8, 0), 7.8, 10.5))


def rib(build: Build) -> Solid:
    """The first part of a rib pair beyond the transverse process of T1 or T2: bone without a label."""
    reach = build.half_width + build.transverse_length
    return union(
        rods(Spot(3, build.half_depth + 7, reach + 4), Spot(12, 2, reach + 20), 3.4, height=1.5),
        rods(Spot(12, 2, reach + 20), Spot(28, -30, reach + 22), 3.4, height=1.5),
    )


def atlas() -> Solid:
    """C1: a ring of lateral masses, two arches and long transverse processes, without a body."""
    left = (Spot(0, -3, 13), Spot(-0.5, -9, 6), Spot(0, -10.5, 0))
    behind = (Spot(1, 9, 18), Spot(1, 20, 15), Spot(2, 28, 7), Spot(2, 30.5, 0))

    def mirrored(spots: tuple[Spot, ...]) -> tuple[Spot, ...]:
        return tuple(spot._replace(u=-spot.u) for spot in spots)

    masses = union(ellipsoid(Spot(0, 3, 17.5), Spot(8.5, 9.5, 7.0)), ellipsoid(Spot(0, 3, -17.5), Spot(8.5, 9.5, 7.0)))
    solid = union(
        masses,
        chain(left, 2.8, height=1.7),
        chain(mirrored(left), 2.8, height=1.7),
        capsule(Spot(0, -11.5, 0), Spot(1, -12.5, 0), 3.0, height=1.6),
        chain(behind, 3.0, height=1.5),
        chain(mirrored(behind), 3.0, height=1.5),
        capsule(Spot(2, 30.5, 0), Spot(3, 33, 0), 3.0),
        rods(Spot(1, 6, 20), Spot(3, 9, 37), 4.0, 3.4, height=1.2),
    )
    return without(solid, tube(Spot(0, 7, 26), 3.2, 3.2), tube(Spot(0, 7, -26), 3.2, 3.2))


def axis(build: Build) -> Solid:
    """C2: body with the dens, broad upper facets, strong laminae and a heavy bifid spinous process."""
    b, h = build.half_depth, build.half_height
    back = b + 16.0
    solid = union(
        body(build),
        capsule(Spot(-h + 2, -1, 0), Spot(-h - 17, -1.5, 0), 5.6, 4.8),
        ellipsoid(Spot(-h + 2, 3, 14.5), Spot(5.0, 8.5, 7.5)),
        ellipsoid(Spot(-h + 2, 3, -14.5), Spot(5.0, 8.5, 7.5)),
        rods(Spot(-3, 6, 13), Spot(h + 2, b + 8, 16.5), 4.8, 4.6),
        rods(Spot(1, b + 7, 14), Spot(5, back, 3), 2.8, height=2.6),
        capsule(Spot(5, back, 0), Spot(10, back + build.spine_length, 0), 4.2, 4.2, height=1.5),
        rods(Spot(10, back + build.spine_length - 2, 0), Spot(13, back + build.spine_length + 3, 6), 3.2),
        rods(Spot(0, 3, 17), Spot(3, 6, 26), 3.2, 2.8),
    )
    return without(
        solid, tube(Spot(0, b + 7.5, 0), 8.0, 11.5), tube(Spot(0, 4, 20), 2.6, 2.6), tube(Spot(0, 4, -20), 2.6, 2.6)
    )


RING_BUILD = Build(9.0, 9.0, 7.0, 0.0, 0.0, 16.0, 0.0, bifid=False)
"""What stands for proportions of C1, which has no body."""

AXIS_BUILD = Build(9.0, 7.8, 9.0, 15.0, 6.0, 8.0, 0.0, bifid=True)


def vertebra(label: int, rng: np.random.Generator) -> tuple[Solid, Build]:
    """The solid of one level (1..11 = C1..C7, T1..T4) for a random person, with its proportions."""
    if label == 1:
        return atlas(), RING_BUILD
    build = vary(AXIS_BUILD if label == 2 else BUILDS[label], rng)
    return (axis(build) if label == 2 else lower_cervical(build)), build
