"""Which threshold finds 95 % of the fractures, or leaves 97 % of the intact alone, and how sure that is.

A threshold that was chosen on the studies it is measured on flatters. So every draw of the bootstrap chooses its own on
the patients that were drawn, and what it does is measured on those that were not (out of bag).
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from training.evaluation.bootstrap import Estimate, Patients, Truth, Values, drawn, estimate
from training.evaluation.ranking import Places, Ranking, rank


class Goal(StrEnum):
    """What a threshold is chosen for."""

    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"


GOALS = ((Goal.SENSITIVITY, 0.95), (Goal.SPECIFICITY, 0.97))


@dataclass(frozen=True, slots=True)
class Decision:
    """The threshold for a goal, its interval, and what it does.

    ``sensitivity`` and ``specificity``: the value on the same studies; the interval, and ``unseen_...``, the mean,
    are those of patients who took no part in choosing (None where none were left over).
    """

    goal: Goal
    wanted: float
    threshold: Estimate
    sensitivity: Estimate
    specificity: Estimate
    unseen_sensitivity: float | None
    unseen_specificity: float | None

    @property
    def name(self) -> str:
        """The goal in words."""
        return f"{self.wanted:.0%} {self.goal}"

    def as_json(self) -> dict[str, object]:
        """The decision as plain JSON values."""
        return {
            "goal": self.name,
            "threshold": self.threshold.as_json(),
            "sensitivity": self.sensitivity.as_json(),
            "specificity": self.specificity.as_json(),
            "sensitivity_of_unseen": self.unseen_sensitivity,
            "specificity_of_unseen": self.unseen_specificity,
        }


def decisions(scores: Values, truth: Truth, patients: Patients) -> tuple[Decision, ...]:
    """The thresholds for both goals; none when one class is missing."""
    if not truth.any() or truth.all():
        return ()
    return tuple(_decision(goal, wanted, scores, truth, patients) for goal, wanted in GOALS)


def _decision(goal: Goal, wanted: float, scores: Values, truth: Truth, patients: Patients) -> Decision:
    def chosen(weights: Values) -> Values:
        """Threshold, sensitivity and specificity of unseen patients (draws, 3); NaN where a class was not drawn."""
        inside, outside = rank(scores, truth, weights), rank(scores, truth, (weights == 0).astype(np.float64))
        place = _place(inside, goal, wanted)
        row = np.arange(len(weights))
        found = np.stack(
            [inside.thresholds[place], outside.sensitivity[row, place], outside.specificity[row, place]], axis=1
        )
        found[(inside.hits[:, -1] == 0) | (inside.alarms[:, -1] == 0)] = np.nan
        return found

    all_of_them = rank(scores, truth)
    place = int(_place(all_of_them, goal, wanted)[0])
    draws = drawn(patients, chosen)
    return Decision(
        goal,
        wanted,
        estimate(float(all_of_them.thresholds[place]), draws[:, 0]),
        estimate(float(all_of_them.sensitivity[0, place]), draws[:, 1]),
        estimate(float(all_of_them.specificity[0, place]), draws[:, 2]),
        _mean(draws[:, 1]),
        _mean(draws[:, 2]),
    )


def _place(ranking: Ranking, goal: Goal, wanted: float) -> Places:
    return ranking.at_sensitivity(wanted) if goal is Goal.SENSITIVITY else ranking.at_specificity(wanted)


def _mean(values: Values) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None
