"""How well scores part broken from intact at every threshold: ROC and precision–recall, for one or many weightings."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluation.bootstrap import Truth, Values, ratio

Places = NDArray[np.intp]
TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Ranking:
    """What is called at each threshold, from the highest down; the first one calls nothing.

    ``thresholds`` (thresholds,); ``hits`` and ``alarms`` (draws, thresholds): weight of the positives and negatives
    that score at least as much. Equal scores are called together.
    """

    thresholds: Values
    hits: Values
    alarms: Values

    @property
    def sensitivity(self) -> Values:
        """Share of the positives that are called (draws, thresholds); NaN without positives."""
        return ratio(self.hits, self.hits[:, -1:])

    @property
    def specificity(self) -> Values:
        """Share of the negatives that are not called (draws, thresholds); NaN without negatives."""
        return 1 - ratio(self.alarms, self.alarms[:, -1:])

    @property
    def precision(self) -> Values:
        """Share of the called that are positive (draws, thresholds); NaN where nothing is called."""
        return ratio(self.hits, self.hits + self.alarms)

    def area(self) -> Values:
        """Area under the ROC curve of each draw: the chance that a positive scores higher, ties counted half."""
        wins = (self.hits[:, 1:] + self.hits[:, :-1]) / 2 * np.diff(self.alarms, axis=1)
        return ratio(wins.sum(axis=1), self.hits[:, -1] * self.alarms[:, -1])

    def average_precision(self) -> Values:
        """Precision averaged over the positives (the step-wise area under the precision–recall curve), a draw."""
        gained = np.diff(self.hits, axis=1) * np.nan_to_num(self.precision[:, 1:])
        return ratio(gained.sum(axis=1), self.hits[:, -1])

    def at_sensitivity(self, goal: float) -> Places:
        """For each draw the place of the highest threshold that finds this share of the positives."""
        return np.asarray(np.argmax(self.sensitivity >= goal - TOLERANCE, axis=1), dtype=np.intp)

    def at_specificity(self, goal: float) -> Places:
        """For each draw the place of the lowest threshold that leaves this share of the negatives alone."""
        kept = self.specificity >= goal - TOLERANCE
        return np.asarray(kept.shape[1] - 1 - np.argmax(kept[:, ::-1], axis=1), dtype=np.intp)


def rank(scores: Values, truth: Truth, weights: Values | None = None) -> Ranking:
    """Rank at least one score; ``weights`` (draws, values) says how often each counts, None once in one draw."""
    taken = np.ones((1, scores.size)) if weights is None else weights
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    last = np.flatnonzero(np.append(np.diff(falling) != 0, True))
    nothing = np.zeros((len(taken), 1))

    def summed(wanted: Truth) -> Values:
        return np.hstack([nothing, np.cumsum(taken[:, order] * wanted[order], axis=1)[:, last]])

    above_all = np.nextafter(falling[0], np.inf)
    return Ranking(np.append(above_all, falling[last]), summed(truth), summed(~truth))
