"""Whether probabilities mean what they say: reliability in bins, expected calibration error, Brier score.

The expected calibration error (Naeini 2015, Guo 2017) is the mean gap between predicted and observed share over ten
bins of equal width, weighed by how many values lie in each. It is never below 0: few values make it too high.
"""

from dataclasses import dataclass

import numpy as np

from training.evaluation.bootstrap import Estimate, Patients, Truth, Values, drawn, estimate
from training.evaluation.figures import Share, share

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Values from ``low`` up to ``high``: their mean (None without values) and the share that is positive."""

    low: float
    high: float
    predicted: float | None
    observed: Share | None

    def as_json(self) -> dict[str, object]:
        """The bin as plain JSON values."""
        observed = self.observed.as_json() if self.observed else None
        return {"low": self.low, "high": self.high, "predicted": self.predicted, "observed": observed}


@dataclass(frozen=True, slots=True)
class Calibration:
    """Bins, errors, and the mean probability beside the share of positives."""

    bins: tuple[Bin, ...]
    error: Estimate
    brier: Estimate
    predicted: float
    observed: float

    def as_json(self) -> dict[str, object]:
        """The calibration as plain JSON values."""
        return {
            "bins": [one.as_json() for one in self.bins],
            "expected_calibration_error": self.error.as_json(),
            "brier_score": self.brier.as_json(),
            "mean_probability": self.predicted,
            "share_of_positives": self.observed,
        }


def calibration(scores: Values, truth: Truth, patients: Patients) -> Calibration | None:
    """The calibration of probabilities (0..1); None without values."""
    if scores.size == 0:
        return None
    place = np.minimum((scores * BINS).astype(np.intp), BINS - 1)
    member = place[:, None] == np.arange(BINS)
    gaps = member * (scores - truth)[:, None]
    squares = (scores - truth) ** 2

    def errors(weights: Values) -> Values:
        total = weights.sum(axis=1)
        return np.stack([np.abs(weights @ gaps).sum(axis=1) / total, weights @ squares / total], axis=1)

    here, draws = errors(np.ones((1, scores.size)))[0], drawn(patients, errors)
    return Calibration(
        tuple(_bin(number, scores, truth, patients, member[:, number]) for number in range(BINS)),
        estimate(float(here[0]), draws[:, 0]),
        estimate(float(here[1]), draws[:, 1]),
        float(scores.mean()),
        float(truth.mean()),
    )


def _bin(number: int, scores: Values, truth: Truth, patients: Patients, mine: Truth) -> Bin:
    predicted = float(scores[mine].mean()) if mine.any() else None
    return Bin(number / BINS, (number + 1) / BINS, predicted, share(truth[mine], patients[mine]))
