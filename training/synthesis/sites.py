"""Where things are on the labeled vertebrae of an anatomy: corners of bodies, discs between them, articular pillars."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.synthesis.anatomy import Anatomy, Grid
from training.synthesis.shapes import Field, Points, Spot

SMALLEST_BODY_MM2 = 60.0


@dataclass(frozen=True, slots=True)
class BodySite:
    """Corners in mm of one vertebral body in the middle plane, and the middle of the articular pillar of each side."""

    level: int
    front_top: Spot
    front_bottom: Spot
    back_top: Spot
    back_bottom: Spot
    pillars: tuple[Spot, ...]

    @property
    def front(self) -> Spot:
        """The middle of the front wall."""
        return between(self.front_top, self.front_bottom)


@dataclass(frozen=True, slots=True)
class DiscSite:
    """One disc: the level above it, its middle, half its depth and height in mm, and its direction backward."""

    above: int
    middle: Spot
    half_depth: float
    half_height: float
    slope: float

    def local(self, grid: Grid, box: tuple[slice, slice, slice]) -> Points:
        """The voxels of the box in the disc's axes: w across the disc, v backward in it, u to the left."""
        w = grid.w[box[0]][:, None, None] - np.float32(self.middle.w)
        v = grid.v[box[1]][None, :, None] - np.float32(self.middle.v)
        u = grid.u[box[2]][None, None, :] - np.float32(self.middle.u)
        cos, sin = np.float32(np.cos(self.slope)), np.float32(np.sin(self.slope))
        return Points(cos * w - sin * v, sin * w + cos * v, u)


def between(a: Spot, b: Spot) -> Spot:
    """The middle of two spots."""
    return Spot(*((x + y) / 2 for x, y in zip(a, b, strict=True)))


def around(grid: Grid, centre: Spot, reach: Spot) -> tuple[slice, slice, slice]:
    """Indices of the voxels within ``reach`` mm of a spot along each axis."""
    low = (centre.w - reach.w, centre.v - reach.v, centre.u - reach.u)
    return grid.box(low, (centre.w + reach.w, centre.v + reach.v, centre.u + reach.u))


def body_sites(anatomy: Anatomy, grid: Grid) -> dict[int, BodySite]:
    """The bodies of C2 to T2 that are in view, by level."""
    found: dict[int, BodySite] = {}
    for level, box in enumerate(ndimage.find_objects(anatomy.labels, max_label=9), start=1):
        if box is None or level == 1:
            continue
        site = _body_site(level, anatomy.labels[box] == level, (grid.w[box[0]], grid.v[box[1]], grid.u[box[2]]))
        if site is not None:
            found[level] = site
    return found


def _body_site(level: int, mine: NDArray[np.bool_], axes: tuple[Field, Field, Field]) -> BodySite | None:
    w, v, u = axes
    middle = int(np.average(np.arange(len(u)), weights=mine.sum(axis=(0, 1))))
    parts, count = ndimage.label(mine[:, :, middle])
    step_mm2 = float((w[1] - w[0]) * (v[1] - v[0])) if len(w) > 1 and len(v) > 1 else 0.0
    pieces = [np.nonzero(parts == number) for number in range(1, count + 1)]
    pieces = [piece for piece in pieces if len(piece[0]) * step_mm2 > SMALLEST_BODY_MM2]
    if not pieces:
        return None
    at_w, at_v = min(pieces, key=lambda piece: float(v[piece[1]].mean()))
    on_w, on_v = w[at_w], v[at_w * 0 + at_v]

    def corner(down: float, back: float) -> Spot:
        best = int(np.argmax(down * on_w + back * on_v))
        return Spot(float(on_w[best]), float(on_v[best]), float(u[middle]))

    pillars = []
    for side in (u < u[middle] - 12, u > u[middle] + 12):
        spots = np.argwhere(mine & side[None, None, :] & (v > on_v.mean() + 3)[None, :, None])
        if len(spots) > 20:
            at = spots.mean(axis=0).astype(int)
            pillars.append(Spot(float(w[at[0]]), float(v[at[1]]), float(u[at[2]])))
    return BodySite(level, corner(-1, -1), corner(1, -1), corner(-1, 1), corner(1, 1), tuple(pillars))


def disc_sites(bodies: dict[int, BodySite]) -> list[DiscSite]:
    """The discs between neighboring bodies in view."""
    discs = []
    for level, above in sorted(bodies.items()):
        below = bodies.get(level + 1)
        if below is None:
            continue
        front = between(above.front_bottom, below.front_top)
        back = between(above.back_bottom, below.back_top)
        depth = float(np.hypot(back.w - front.w, back.v - front.v))
        gap = (below.front_top.w - above.front_bottom.w + below.back_top.w - above.back_bottom.w) / 4
        slope = float(np.arctan2(back.w - front.w, max(back.v - front.v, 1.0)))
        if 6 < depth < 26:
            discs.append(DiscSite(level, between(front, back), depth / 2, float(np.clip(gap, 0.8, 5)), slope))
    return discs
