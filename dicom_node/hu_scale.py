"""Whether a volume's values are Hounsfield units: air and soft tissue must lie where they do in every CT. Pure.

A neck CT always shows air, outside of the body or in the airway, near −1000 HU, and soft tissue near 0. Vendors pad
what lies outside of the reconstructed circle with one constant, so the lowest value does not count as air by itself.
"""

from enum import Enum

import numpy as np
from numpy.typing import NDArray

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
    lowest = int(sample.min())
    tissue = np.count_nonzero((sample >= TISSUE_FROM_HU) & (sample <= TISSUE_TO_HU)) / sample.size
    if tissue < MINIMUM_TISSUE:
        return HUScale.WRONG
    low = sample[(sample < NOT_TISSUE_BELOW_HU) & (sample > lowest)]
    constant_air = AIR_FROM_HU <= lowest <= AIR_TO_HU
    if low.size < (DECISIVE if constant_air else MINIMUM_AIR) * sample.size:
        return HUScale.PLAUSIBLE if constant_air else HUScale.WRONG
    peak = _peak(low)
    if AIR_FROM_HU <= peak <= DOUBTFUL_AIR_HU:
        return HUScale.PLAUSIBLE
    return HUScale.DOUBTFUL if DOUBTFUL_AIR_HU < peak <= AIR_TO_HU else HUScale.WRONG


def _peak(values: NDArray[np.int16]) -> float:
    """The most frequent value, within a few bins, of values below soft tissue."""
    edges = np.arange(-2100, NOT_TISSUE_BELOW_HU + _BIN_HU, _BIN_HU)
    counts, _ = np.histogram(np.maximum(values, edges[0]), bins=edges)
    smooth = np.convolve(counts, _SMOOTHING, mode="same")
    return float(edges[int(smooth.argmax())] + _BIN_HU / 2)
