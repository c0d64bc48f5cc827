"""Vessels of a synthetic neck: carotids, jugular veins, and vertebral arteries in the transverse foramina."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.synthesis.anatomy import Tissue, smooth_noise
from training.synthesis.shapes import Field, Spot

Oval = Callable[[Field, Field, Field, Field], NDArray[np.bool_]]
"""Voxels inside an oval at every height: offsets from the line of the bodies (v, u), half depth, half width; mm."""

FORAMINA_MM = ((-16.0, 13.0, 9.0), (-7.0, 17.0, 22.0), (0.0, 7.0, 26.0), (17.5, 4.0, 20.0), (37.0, 3.0, 15.5))
"""Way of a vertebral artery in a neck of usual size: (mm below C1, v, u); from C3 to C6 it runs straight."""
USUAL_LENGTH_MM = 106.6
"""From the middle of C1 to that of C7."""


def fill_vessels(
    tissue: NDArray[np.uint8], heights: Field, oval: Oval, ends: tuple[Spot, Spot], rng: np.random.Generator
) -> None:
    """All vessels, in place; about a third of the older carotids carry calcified plaques."""
    one = np.ones(heights.shape, dtype=np.float32)
    wobble = smooth_noise(heights.shape, (20,), rng)
    side = rng.uniform(18, 26)
    plaques = rng.random() < 0.12
    for sign in (-1.0, 1.0):
        across = sign * (side + 3 * wobble)
        vein = oval(-5 * one, np.float32(sign * (side + 9)) * one, *(one * rng.uniform(3, 9, size=(2, 1))))
        tissue[vein] = Tissue.VEIN
        carotid = oval(-12 * one, across, one * rng.uniform(3, 6.5), one * rng.uniform(3, 7.5))
        tissue[carotid] = Tissue.VESSEL
        if plaques:
            spot = smooth_noise(heights.shape, (4,), rng) > 0.55
            wall = oval(-12 * one, across + 2.5, one * 1.6, one * 1.6) & spot[:, None, None]
            tissue[wall & carotid] = Tissue.BONE
        back, out, radius = _vertebral(heights, ends, sign, rng)
        tissue[oval(back, out, radius, radius)] = Tissue.VESSEL


def _vertebral(
    heights: Field, ends: tuple[Spot, Spot], sign: float, rng: np.random.Generator
) -> tuple[Field, Field, Field]:
    """Offsets (v, u) of one vertebral artery at every height and its radius in mm, zero where it has left the neck."""
    c1, c7 = ends
    size = max(0.6, (c7.w - c1.w) / USUAL_LENGTH_MM)
    below, back, out = (np.array(axis) * size for axis in zip(*FORAMINA_MM, strict=True))
    below = np.append(below, [c7.w - c1.w - 12, c7.w - c1.w + 15])
    back, out = np.append(back, [back[-1], -12]), np.append(out, [out[-1], out[-1] + 3])
    v, u = (np.interp(heights - c1.w, below, axis).astype(np.float32) for axis in (back, out))
    radius = np.where(heights > c1.w + below[0], rng.uniform(1.0, 2.4), 0.01).astype(np.float32)
    return v, np.float32(sign) * u, radius
