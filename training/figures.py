"""Figures with intervals: shares, areas under the ROC curve, the RSNA loss; whole studies are resampled. Pure numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Truth = NDArray[np.bool_]
Studies = NDArray[np.intp]
DRAWS = 2000
SEED = 20_220_732
INTERVAL = (2.5, 97.5)
"""Percentiles between which the middle 95 of 100 draws lie."""


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


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | int]:
        """The estimate as plain JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}


def auc(scores: Scores, truth: Truth) -> float | None:
    """Area under the ROC curve; None when one class is missing."""
    positive, negative = scores[truth], scores[~truth]
    if positive.size == 0 or negative.size == 0:
        return None
    return float(_order(positive, negative).mean())


def _order(positive: Scores, negative: Scores) -> Scores:
    """For every pair 1 where the positive is higher, 0.5 where both are equal, 0 otherwise."""
    higher = positive[:, None] > negative[None, :]
    equal = positive[:, None] == negative[None, :]
    return np.asarray(higher + 0.5 * equal, dtype=np.float64)


def resampled(study: Studies, draws: int = DRAWS, seed: int = SEED) -> NDArray[np.float64]:
    """How often each value is taken in every draw (draws, values): studies are drawn with replacement, never levels."""
    numbers, index = np.unique(study, return_inverse=True)
    count = len(numbers)
    rng = np.random.default_rng(seed)
    taken = rng.multinomial(count, np.full(count, 1 / count), size=draws)
    return np.asarray(taken[:, index], dtype=np.float64)


def _interval(values: Scores) -> tuple[float, float]:
    low, high = np.nanpercentile(values, INTERVAL)
    return float(low), float(high)


def share(hit: Truth, study: Studies) -> Share | None:
    """The share of true values; None without values.

    Where all or none are true, resampling knows no doubt: the exact binomial bound for that many studies is given.
    """
    if hit.size == 0:
        return None
    hits, studies = int(hit.sum()), len(np.unique(study))
    doubt = 1 - 0.025 ** (1 / studies)
    if hits in {0, hit.size}:
        low, high = (0.0, doubt) if hits == 0 else (1 - doubt, 1.0)
        return Share(hits, hit.size, low, high)
    weights = resampled(study)
    low, high = _interval((weights @ hit) / weights.sum(axis=1))
    return Share(hits, hit.size, low, high)


def auc_interval(scores: Scores, truth: Truth, study: Studies) -> Estimate | None:
    """Area under the ROC curve with its interval; None when one class is missing."""
    value = auc(scores, truth)
    if value is None:
        return None
    order = _order(scores[truth], scores[~truth])
    weights = resampled(study)
    positive, negative = weights[:, truth], weights[:, ~truth]
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    won = ((positive @ order) * negative).sum(axis=1)
    drawn = np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    low, high = _interval(drawn)
    return Estimate(value, low, high)


def mean_interval(values: Scores, study: Studies) -> Estimate | None:
    """The mean of values with its interval; None without values."""
    if values.size == 0:
        return None
    weights = resampled(study)
    low, high = _interval((weights @ values) / weights.sum(axis=1))
    return Estimate(float(values.mean()), low, high)


@dataclass(frozen=True, slots=True)
class FractureStatistics:
    """How well probabilities part broken from intact, at one threshold; None where one class is missing."""

    sensitivity: Share | None
    specificity: Share | None
    auc: Estimate | None

    def as_json(self) -> dict[str, object]:
        """The statistics as plain JSON values."""
        named = {"sensitivity": self.sensitivity, "specificity": self.specificity, "auc": self.auc}
        return {name: figure.as_json() if figure else None for name, figure in named.items()}


def fracture_statistics(scores: Scores, truth: Truth, study: Studies, threshold: float) -> FractureStatistics:
    """Sensitivity, specificity and AUC of ``scores`` (0..1) against ``truth``; ``study`` numbers each value's study."""
    called = scores >= threshold
    return FractureStatistics(
        share(called[truth], study[truth]),
        share(~called[~truth], study[~truth]),
        auc_interval(scores, truth, study),
    )


@dataclass(frozen=True, slots=True)
class Exam:
    """One study for the RSNA loss: fracture probability and truth of the study and of each level in view."""

    overall: float
    fractured: bool
    levels: tuple[tuple[float, bool], ...]


def rsna_loss(exams: Sequence[Exam]) -> float | None:
    """The weighted log loss of the RSNA 2022 challenge over these exams, levels out of view left out; None without."""
    if not exams:
        return None
    return float(np.mean([_exam_loss(exam) for exam in exams]))


def _weighed(exam: Exam) -> tuple[Scores, Truth, Scores]:
    """Scores, truth and weights (which sum to one) of an exam's columns, the whole study first."""
    score = np.array([exam.overall, *(value for value, _ in exam.levels)], dtype=np.float64)
    truth = np.array([exam.fractured, *(positive for _, positive in exam.levels)], dtype=np.bool_)
    weight = np.where(truth, 2.0, 1.0)
    weight[0] *= 7.0
    return score, truth, weight / weight.sum()


def _exam_loss(exam: Exam) -> float:
    score, truth, weight = _weighed(exam)
    clipped = np.clip(score, 1e-15, 1 - 1e-15)
    return float(-(weight * np.where(truth, np.log(clipped), np.log1p(-clipped))).sum())


def constant_rsna_loss(exams: Sequence[Exam]) -> float | None:
    """What the best two constants, one for studies and one for levels, score on the same exams."""
    if not exams:
        return None
    positive, total = np.zeros(2), np.full(2, 1e-12)
    for exam in exams:
        _, truth, weight = _weighed(exam)
        positive += weight[0] * truth[0], (weight * truth)[1:].sum()
        total += weight[0], weight[1:].sum()
    overall, level = (positive / total).tolist()
    constant = [Exam(overall, exam.fractured, tuple((level, truth) for _, truth in exam.levels)) for exam in exams]
    return rsna_loss(constant)
