"""What lies beside and around the neck: shoulders, cervical collar, table."""

import numpy as np
from numpy.typing import NDArray

from training.synthesis.anatomy import Grid, Tissue, smooth_noise
from training.synthesis.shapes import Field, Points, Spot, chain, ellipsoid, union


def fill_shoulders(tissue: NDArray[np.uint8], grid: Grid, c7: Spot, rng: np.random.Generator) -> None:
    """Collar bones, humeral heads and shoulder blades below C7, as far as they are in view, in place."""
    lower = slice(int(np.searchsorted(grid.w, c7.w - 10)), None)
    if lower.start >= len(grid.w) - 1:
        return
    height, wide = rng.uniform(5, 45), rng.uniform(95, 150)
    points = Points(grid.w[lower][:, None, None], grid.v[None, :, None], grid.u[None, None, :]).shifted(*c7)
    for side in (-1.0, 1.0):
        tilt = rng.uniform(-8, 8)
        solids = [
            chain(
                (
                    Spot(height + 30, -38, 12 * side),
                    Spot(height + 14 + tilt, -30, 45 * side),
                    Spot(height + tilt, 0, side * (wide - 15)),
                ),
                5.0,
            )
        ]
        if grid.u[-1] - grid.u[0] > 150:
            solids += [
                ellipsoid(Spot(height + 25, 5, wide * side), Spot(24, 23, 23)),
                chain((Spot(height + 5, 35, side * (wide - 30)), Spot(height + 90, 60, side * 55)), 4.0),
            ]
        tissue[lower][union(*solids)(points) < 0] = Tissue.BONE


def fill_collar(
    tissue: NDArray[np.uint8], grid: Grid, skin_mm: Field, ends: tuple[Spot, Spot], rng: np.random.Generator
) -> None:
    """A cervical collar in the air around the neck, in place: foam with a harder outer edge."""
    c1, c7 = ends
    gap, thick, hard = rng.uniform(0, 5), rng.choice([0.0, rng.uniform(4, 16)]), rng.uniform(1.5, 3.5)
    rows = slice(*(int(np.searchsorted(grid.w, c.w + rng.uniform(-5, 20))) for c in (c1, c7)))
    away = skin_mm[rows] - np.float32(gap)
    if not away.size:
        return
    cell = tuple(mm / float(axis[1] - axis[0]) for mm, axis in zip((30, 15, 15), (grid.w, grid.v, grid.u), strict=True))
    away = away - 2 * np.maximum(0, smooth_noise(away.shape, cell, rng))
    part = tissue[rows]
    air = part == Tissue.AIR
    part[air & (away > 0) & (away < thick)] = Tissue.FOAM
    part[air & (away >= thick) & (away < thick + hard)] = Tissue.TABLE


def fill_table(tissue: NDArray[np.uint8], grid: Grid, rng: np.random.Generator) -> None:
    """The table's surface behind the patient, in place."""
    edge = float(np.max(grid.v)) - rng.uniform(5, 18)
    at = np.abs(grid.v - np.float32(edge)) < 2
    tissue[:, at, :] = np.where(tissue[:, at, :] == Tissue.AIR, np.uint8(Tissue.TABLE), tissue[:, at, :])
