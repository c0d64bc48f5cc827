"""Signed distance functions of simple solids, in mm: negative inside, positive outside (pure geometry).

Points are given as three broadcastable float32 arrays (w, v, u): toward the feet, backward, to the left.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


class Points(NamedTuple):
    """Coordinates in mm of many points: ``w`` toward the feet, ``v`` backward, ``u`` to the left."""

    w: Field
    v: Field
    u: Field

    def shifted(self, w: float, v: float, u: float) -> "Points":
        """The same points as seen from the origin (w, v, u)."""
        return Points(self.w - np.float32(w), self.v - np.float32(v), self.u - np.float32(u))


class Spot(NamedTuple):
    """One point in mm, in the axes of ``Points``."""

    w: float
    v: float
    u: float


Solid = Callable[[Points], Field]


def ellipsoid(centre: Spot, radii: Spot) -> Solid:
    """An ellipsoid; the distance is exact on the surface and approximate elsewhere."""

    def distance(points: Points) -> Field:
        w, v, u = points.shifted(*centre)
        level = np.sqrt(
            (w / np.float32(radii.w)) ** 2 + (v / np.float32(radii.v)) ** 2 + (u / np.float32(radii.u)) ** 2
        )
        return np.asarray((level - 1) * np.float32(min(radii)), dtype=np.float32)

    return distance


def capsule(start: Spot, end: Spot, radius: float, end_radius: float | None = None, *, height: float = 1.0) -> Solid:
    """A rod with round ends; it may taper, and ``height`` stretches its section toward head and feet."""
    stretch = np.float32(1.0 / height)
    axis = np.array([(end.w - start.w) * stretch, end.v - start.v, end.u - start.u], dtype=np.float32)
    length2 = float(axis @ axis) or 1e-6
    slope = np.float32((radius if end_radius is None else end_radius) - radius)

    def distance(points: Points) -> Field:
        w, v, u = points.shifted(*start)
        w = w * stretch
        along = np.clip((w * axis[0] + v * axis[1] + u * axis[2]) / np.float32(length2), 0, 1)
        away = np.sqrt((w - along * axis[0]) ** 2 + (v - along * axis[1]) ** 2 + (u - along * axis[2]) ** 2)
        return np.asarray(away - (np.float32(radius) + slope * along), dtype=np.float32)

    return distance


def chain(spots: tuple[Spot, ...], radius: float, *, height: float = 1.0) -> Solid:
    """Rods through all spots, one after the other."""
    return union(*(capsule(a, b, radius, height=height) for a, b in pairwise(spots)))


def tube(centre: Spot, half_depth: float, half_width: float) -> Solid:
    """An endless elliptic tube that runs from head to feet."""

    def distance(points: Points) -> Field:
        level = np.sqrt(
            ((points.v - np.float32(centre.v)) / half_depth) ** 2
            + ((points.u - np.float32(centre.u)) / half_width) ** 2
        )
        return np.asarray((level - 1) * np.float32(min(half_depth, half_width)), dtype=np.float32)

    return distance


def union(*solids: Solid) -> Solid:
    """All the solids together."""

    def distance(points: Points) -> Field:
        result = solids[0](points)
        for solid in solids[1:]:
            result = np.minimum(result, solid(points))
        return result

    return distance


def without(solid: Solid, *holes: Solid) -> Solid:
    """The solid with holes."""

    def distance(points: Points) -> Field:
        result = solid(points)
        for hole in holes:
            result = np.maximum(result, -hole(points))
        return result

    return distance
