"""Whether a volume's values are Hounsfield units: air and soft tissue must lie where they do in every CT. Pure.

A neck CT always shows air, outside of the body or in the airway, near −1000 HU, and soft tissue near 0. Vendors pad
what lies outside of the reconstructed circle with one constant, so the lowest value does not count as air by itself.
"""

from enum import Enum

import numpy as np
from numpy.typing import NDArray

AIR_HU = -1024
"""What fills a grid where a series has no voxels."""
SAMPLE_VOXELS = 4_000_000
AIR_FROM_HU, AIR_TO_HU = -1150, -700
DOUBTFUL_AIR_HU = -800
NOT_TISSUE_BELOW_HU = -250
TISSUE_FROM_HU, TISSUE_TO_HU = -150, 250
MINIMUM_AIR = 0.002
DECISIVE = 0.05
"""Fraction of voxels between air and tissue beyond which they are no mere edges around constant air."""
MINIMUM_TISSUE = 0.005
_BIN_HU = 10
_LOWEST_EDGE = -2100
_ZERO = 1 << 15
"""Where HU 0 lies among the counts of all values."""
_SMOOTHING = np.ones(5) / 5.0


class HUScale(Enum):
    """What the histogram says."""

    PLAUSIBLE = "plausible"
    DOUBTFUL = "doubtful"
    WRONG = "wrong"


def judge(hu: NDArray[np.int16]) -> HUScale:
    """Judge a volume (slice, row, column) by a regular sample of its voxels."""
    step = max(1, hu.size // SAMPLE_VOXELS)
    sample = hu.reshape(-1)[::step] if step > 1 else hu.reshape(-1)
    counts = np.bincount(sample.view(np.uint16), minlength=1 << 16)
    counts = np.concatenate([counts[_ZERO:], counts[:_ZERO]])  # in the order of the signed values
    lowest = int(np.flatnonzero(counts)[0]) - _ZERO
    tissue = counts[_ZERO + TISSUE_FROM_HU : _ZERO + TISSUE_TO_HU + 1].sum() / sample.size
    if tissue < MINIMUM_TISSUE:
        return HUScale.WRONG
    counts[_ZERO + lowest] = 0
    low = counts[: _ZERO + NOT_TISSUE_BELOW_HU]
    constant_air = AIR_FROM_HU <= lowest <= AIR_TO_HU
    if low.sum() < (DECISIVE if constant_air else MINIMUM_AIR) * sample.size:
        return HUScale.PLAUSIBLE if constant_air else HUScale.WRONG
    peak = _peak(low)
    if AIR_FROM_HU <= peak <= DOUBTFUL_AIR_HU:
        return HUScale.PLAUSIBLE
    return HUScale.DOUBTFUL if DOUBTFUL_AIR_HU < peak <= AIR_TO_HU else HUScale.WRONG


def _peak(low: NDArray[np.intp]) -> float:
    """The most frequent value, within a few bins, of ``low``: how often each value from -32768 on occurs."""
    edges = np.arange(_LOWEST_EDGE, NOT_TISSUE_BELOW_HU, _BIN_HU)
    counts = np.add.reduceat(low, edges + _ZERO)
    counts[0] += low[: _ZERO + _LOWEST_EDGE].sum()
    smooth = np.convolve(counts, _SMOOTHING, mode="same")
    return float(edges[int(smooth.argmax())] + _BIN_HU / 2)
