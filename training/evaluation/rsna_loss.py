"""The weighted log loss of the RSNA 2022 Cervical Spine Fracture Detection challenge, beside its best constants.

Weights: 14 for a study with a fracture, 7 without, 2 for a broken level, 1 for an intact one; an exam's loss is divided
by the sum of its weights, and exams are averaged. Saying 0.5 everywhere scores log 2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.findings import Vertebra
from training.evaluation.bootstrap import Estimate, Patients, Truth, Values, drawn, estimate

COLUMNS = 1 + len(Vertebra)
"""The whole study, then C1 to C7."""
CLIP = 1e-15


@dataclass(frozen=True, slots=True)
class Exam:
    """One study: probability and truth of any fracture, and of each level with known truth."""

    overall: float
    fractured: bool
    levels: Mapping[Vertebra, tuple[float, bool]]


@dataclass(frozen=True, slots=True)
class RsnaLoss:
    """The loss (lower is better), that of the best constant for each column on the same exams, and the difference.

    The constants know the truth of these very exams, which no submission does: a network must beat them to be worth
    anything, and a difference whose interval holds 0 is none.
    """

    loss: Estimate
    constants: Estimate
    gain: Estimate

    def as_json(self) -> dict[str, object]:
        """The figures as plain JSON values."""
        return {name: getattr(self, name).as_json() for name in ("loss", "constants", "gain")}


@dataclass(frozen=True, slots=True)
class _Table:
    """Scores, truth and weights (exams, columns); a row's weights sum to one, those of unknown levels are 0."""

    scores: Values
    truth: Truth
    weights: Values

    @classmethod
    def of(cls, exams: Sequence[Exam]) -> "_Table":
        scores = np.full((len(exams), COLUMNS), 0.5)
        truth, known = np.zeros((2, len(exams), COLUMNS), dtype=np.bool_)
        for row, exam in enumerate(exams):
            scores[row, 0], truth[row, 0], known[row, 0] = exam.overall, exam.fractured, True
            for level, (probability, fractured) in exam.levels.items():
                scores[row, level], truth[row, level], known[row, level] = probability, fractured, True
        weights: Values = np.where(truth, 2.0, 1.0) * known.astype(np.float64)
        weights[:, 0] *= 7
        return cls(scores, truth, weights / weights.sum(axis=1, keepdims=True))

    def losses(self, scores: Values) -> Values:
        """The loss of each exam."""
        clipped = np.clip(scores, CLIP, 1 - CLIP)
        logs = np.where(self.truth, np.log(clipped), np.log1p(-clipped))
        return np.asarray(-(self.weights * logs).sum(axis=1))

    def constants(self) -> Values:
        """For each column the constant with the lowest loss (columns,)."""
        total = self.weights.sum(axis=0)
        return np.asarray((self.weights * self.truth).sum(axis=0) / np.where(total > 0, total, 1))


def rsna_loss(exams: Sequence[Exam]) -> float | None:
    """The loss of these exams, levels of unknown truth left out; None without exams."""
    if not exams:
        return None
    table = _Table.of(exams)
    return float(table.losses(table.scores).mean())


def constant_rsna_loss(exams: Sequence[Exam]) -> float | None:
    """What the best constants, one a column (the study, C1 .. C7), score on the same exams; None without exams."""
    if not exams:
        return None
    table = _Table.of(exams)
    return float(table.losses(table.constants()).mean())


def rsna_figures(exams: Sequence[Exam], patients: Patients) -> RsnaLoss | None:
    """Loss, constants and their difference with intervals; None without exams."""
    if not exams:
        return None
    table = _Table.of(exams)
    both = np.stack([table.losses(table.scores), table.losses(table.constants())], axis=1)
    draws = drawn(patients, lambda weights: (weights @ both) / weights.sum(axis=1, keepdims=True))
    loss, constants = both.mean(axis=0)
    return RsnaLoss(
        estimate(float(loss), draws[:, 0]),
        estimate(float(constants), draws[:, 1]),
        estimate(float(constants - loss), draws[:, 1] - draws[:, 0]),
    )
