"""From rows of results to the arrays that figures are computed from."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from training.evaluation.bootstrap import Patients, Truth, Values
from training.evaluation.figures import FractureStatistics, called_statistics


@dataclass(frozen=True, slots=True)
class Columns:
    """Values beside each other: probability, truth, whether it was called, number of its patient."""

    scores: Values
    truth: Truth
    called: Truth
    patients: Patients

    @classmethod
    def of(cls, rows: Iterable[tuple[float, bool, bool, int]]) -> "Columns":
        """From one row a value."""
        scores, truth, called, patients = zip(*rows, strict=True) if (rows := list(rows)) else ((), (), (), ())
        return cls(
            np.array(scores, dtype=np.float64),
            np.array(truth, dtype=np.bool_),
            np.array(called, dtype=np.bool_),
            np.array(patients, dtype=np.intp),
        )

    def statistics(self) -> FractureStatistics:
        """Sensitivity, specificity, areas."""
        return called_statistics(self.scores, self.called, self.truth, self.patients)

    def at(self, threshold: float) -> "Columns":
        """The same with another threshold."""
        return replace(self, called=self.scores >= threshold)


def hits(rows: Iterable[tuple[bool, int]]) -> tuple[Truth, Patients]:
    """Truth values and patients' numbers, as ``figures.share`` takes them."""
    listed = list(rows)
    return np.array([hit for hit, _ in listed], dtype=np.bool_), np.array([n for _, n in listed], dtype=np.intp)


def means(rows: Iterable[tuple[float, int]]) -> tuple[Values, Patients]:
    """Values and patients' numbers, as ``figures.mean_interval`` takes them."""
    listed = list(rows)
    return np.array([value for value, _ in listed], dtype=np.float64), np.array([n for _, n in listed], dtype=np.intp)
