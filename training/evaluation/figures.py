"""Figures with intervals: shares, means, areas under curves; whole patients are resampled. Pure numpy."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.evaluation.bootstrap import Estimate, Patients, Truth, Values, drawn, estimate, ratio
from training.evaluation.ranking import Ranking, rank

RankingFigure = Callable[[Ranking], Values]
"""One figure a draw."""


@dataclass(frozen=True, slots=True)
class Share:
    """``hits`` of ``total`` values, with the 95 % interval of the share."""

    hits: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share (0..1)."""
        return self.hits / self.total

    def as_json(self) -> dict[str, float | int]:
        """The share as plain JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high, "hits": self.hits, "total": self.total}


def auc(scores: Values, truth: Truth) -> float | None:
    """Area under the ROC curve; None when one class is missing."""
    return float(rank(scores, truth).area()[0]) if _both(truth) else None


def _both(truth: Truth) -> bool:
    return bool(truth.any() and not truth.all())


def share(hit: Truth, patients: Patients) -> Share | None:
    """The share of true values; None without values.

    Where all or none are true, resampling knows no doubt: the exact binomial bound for that many patients is given.
    """
    if hit.size == 0:
        return None
    hits, count = int(hit.sum()), len(np.unique(patients))
    doubt = 1 - 0.025 ** (1 / count)
    if hits in {0, hit.size}:
        low, high = (0.0, doubt) if hits == 0 else (1 - doubt, 1.0)
        return Share(hits, hit.size, low, high)
    found = estimate(hits / hit.size, drawn(patients, lambda weights: (weights @ hit) / weights.sum(axis=1)))
    return Share(hits, hit.size, found.low, found.high)


def auc_interval(scores: Values, truth: Truth, patients: Patients) -> Estimate | None:
    """Area under the ROC curve with its interval; None when one class is missing."""
    return _ranked(scores, truth, patients, Ranking.area)


def precision_interval(scores: Values, truth: Truth, patients: Patients) -> Estimate | None:
    """Average precision with its interval; None when one class is missing. Guessing scores the share of positives."""
    return _ranked(scores, truth, patients, Ranking.average_precision)


def _ranked(scores: Values, truth: Truth, patients: Patients, figure: RankingFigure) -> Estimate | None:
    """A figure of a ranking with its interval.

    Where the ranking is perfect, resampling knows no doubt: the exact binomial bound is given for as many patients as
    the rarer class has, as if each of them were ranked right or not.
    """
    if not _both(truth):
        return None
    value = float(figure(rank(scores, truth))[0])
    if value in {0.0, 1.0}:
        low = 0.025 ** (1 / min(len(np.unique(patients[mine])) for mine in (truth, ~truth)))
        return Estimate(value, low, 1.0) if value else Estimate(value, 0.0, 1 - low)
    return estimate(value, drawn(patients, lambda weights: figure(rank(scores, truth, weights))))


def mean_interval(values: Values, patients: Patients) -> Estimate | None:
    """The mean of values with its interval; None without values."""
    if values.size == 0:
        return None
    draws = drawn(patients, lambda weights: ratio(weights @ values, weights.sum(axis=1)))
    return estimate(float(values.mean()), draws)


@dataclass(frozen=True, slots=True)
class FractureStatistics:
    """How well probabilities part broken from intact, at one threshold; None where one class is missing."""

    sensitivity: Share | None
    specificity: Share | None
    auc: Estimate | None
    average_precision: Estimate | None = None

    def as_json(self) -> dict[str, object]:
        """The statistics as plain JSON values."""
        named = {
            "sensitivity": self.sensitivity,
            "specificity": self.specificity,
            "auc": self.auc,
            "average_precision": self.average_precision,
        }
        return {name: figure.as_json() if figure else None for name, figure in named.items()}


def fracture_statistics(scores: Values, truth: Truth, patients: Patients, threshold: float) -> FractureStatistics:
    """How ``scores`` (0..1) tell ``truth``; ``patients`` numbers the patient, or study, of each value."""
    return called_statistics(scores, scores >= threshold, truth, patients)


def called_statistics(scores: Values, called: Truth, truth: Truth, patients: Patients) -> FractureStatistics:
    """The same where what is ``called`` is not the score reaching one threshold."""
    return FractureStatistics(
        share(called[truth], patients[truth]),
        share(~called[~truth], patients[~truth]),
        auc_interval(scores, truth, patients),
        precision_interval(scores, truth, patients),
    )
