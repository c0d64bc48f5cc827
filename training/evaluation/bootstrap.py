"""The doubt of a figure: it is computed again on patients drawn with replacement (Efron 1979). Pure numpy."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Truth = NDArray[np.bool_]
Patients = NDArray[np.intp]
"""The number of the patient (or study) that each value belongs to."""
Statistic = Callable[[Values], Values]
"""From weights (draws, values) to one figure a draw."""

DRAWS = 2000
CHUNK = 250
"""Draws that are in memory at the same time."""
SEED = 20_220_732
INTERVAL = (2.5, 97.5)
"""Percentiles between which the middle 95 of 100 draws lie."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | int]:
        """The estimate as plain JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}


def drawn(patients: Patients, statistic: Statistic, draws: int = DRAWS, seed: int = SEED) -> Values:
    """The figure of every draw; all values of a patient are taken together, as often as the patient was drawn.

    ``statistic`` gets how often each value is taken (draws, values); what it gives must have the draws first.
    """
    numbers, index = np.unique(patients, return_inverse=True)
    count = len(numbers)
    taken = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    parts = [statistic(taken[first : first + CHUNK, index].astype(np.float64)) for first in range(0, draws, CHUNK)]
    return np.concatenate(parts)


def estimate(value: float, draws: Values) -> Estimate:
    """The figure with its interval; draws that could not be measured (NaN) are left out."""
    known = draws[~np.isnan(draws)]
    if known.size == 0:
        return Estimate(value, value, value)
    low, high = np.percentile(known, INTERVAL)
    return Estimate(value, float(low), float(high))


def ratio(part: Values, whole: Values) -> Values:
    """``part / whole``, NaN where the whole is zero."""
    shape = np.broadcast_shapes(part.shape, whole.shape)
    found = np.divide(part, whole, out=np.full(shape, np.nan), where=np.broadcast_to(whole, shape) > 0)
    return np.asarray(found, dtype=np.float64)
