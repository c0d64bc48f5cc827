"""What all results of one data set come to: names, Dice, fractures by level, study and type, each with its interval."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from model.findings import Limitation, Vertebra
from training.figures import (
    Estimate,
    Exam,
    FractureStatistics,
    Scores,
    Share,
    Studies,
    Truth,
    auc_interval,
    constant_rsna_loss,
    fracture_statistics,
    mean_interval,
    rsna_loss,
    share,
)
from training.fractures import FractureKind
from training.judging import StudyResult


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All results of one data set and what they come to; ``points`` maps operating points to thresholds."""

    data: str
    what: str
    seeds: str
    results: tuple[StudyResult, ...]
    threshold: float
    points: Mapping[str, float] = field(default_factory=dict)
    own_labels: bool = False

    def fracture_levels(self) -> tuple[Scores, Truth, Studies]:
        """Probability, truth and study number of every judged level whose fracture, if it has one, is in view."""
        rows = [
            (level.probability, level.fractured, number)
            for number, result in enumerate(self.results)
            for level in result.levels
            if level.fractured is not None
        ]
        return _columns(rows)

    def statistics(self, threshold: float | None = None) -> FractureStatistics:
        """Sensitivity, specificity and AUC of levels, at the bundle's threshold or another."""
        return fracture_statistics(*self.fracture_levels(), self.threshold if threshold is None else threshold)

    def study_statistics(self) -> FractureStatistics:
        """Whole studies: called when any level is, ranked by the study probability; AUC is that of the ranking.

        Studies whose only fractures are out of view are left out.
        """
        known = [(r.probability, r.fractured, k) for k, r in enumerate(self.results) if r.fractured is not None]
        scores, truth, study = _columns(known)
        called = np.array([result.called for result in self.results], dtype=np.bool_)[study]
        return FractureStatistics(
            share(called[truth], study[truth]),
            share(~called[~truth], study[~truth]),
            auc_interval(scores, truth, study),
        )

    def by_kind(self) -> dict[FractureKind, Share]:
        """Sensitivity for each type of fracture that occurs, at the bundle's threshold."""
        found: dict[FractureKind, Share] = {}
        for kind in FractureKind:
            rows = [
                (level.called, number)
                for number, result in enumerate(self.results)
                for level in result.levels
                if level.fractured and level.kind is kind
            ]
            measured = share(*_hits(rows))
            if measured is not None:
                found[kind] = measured
        return found

    def all_right(self, *, enough_levels: bool) -> Share | None:
        """Share of studies with every visible level right, among those with five levels in view or those with fewer."""
        wanted = [(result.all_right, number) for number, result in self._numbered(enough_levels=enough_levels)]
        return share(*_hits(wanted))

    def limited(self) -> Share | None:
        """Share of the studies with fewer than five levels in view that say so (or were refused)."""
        telling = {Limitation.FEW_LEVELS, Limitation.NO_LEVELS}
        short = self._numbered(enough_levels=False)
        return share(*_hits([(bool(r.refused) or bool(telling & {*r.limitations}), number) for number, r in short]))

    def _numbered(self, *, enough_levels: bool) -> list[tuple[int, StudyResult]]:
        return [(k, result) for k, result in enumerate(self.results) if result.enough_levels == enough_levels]

    def dice(self, level: Vertebra | None = None) -> Estimate | None:
        """Mean Dice of one level, or of all judged levels together."""
        rows = [
            (result.dice, number)
            for number, study in enumerate(self.results)
            for result in study.levels
            if level is None or result.vertebra is level
        ]
        values, numbers = (
            np.array([v for v, _ in rows], dtype=np.float64),
            np.array([n for _, n in rows], dtype=np.intp),
        )
        return None if self.own_labels else mean_interval(values, numbers)

    def lesion_hits(self) -> Share | None:
        """Share of rightly suspected levels whose fracture mask meets the true one."""
        return share(*_hits([(dice > 0, number) for dice, number in self._lesions()]))

    def lesion_dice(self) -> Estimate | None:
        """Mean Dice of the fracture masks of rightly suspected levels."""
        rows = self._lesions()
        return mean_interval(
            np.array([dice for dice, _ in rows]), np.array([number for _, number in rows], dtype=np.intp)
        )

    def _lesions(self) -> list[tuple[float, int]]:
        return [
            (level.lesion_dice, number)
            for number, result in enumerate(self.results)
            for level in result.levels
            if level.lesion_dice is not None
        ]

    def exams(self) -> list[Exam]:
        """The studies for the RSNA loss; those with a fracture out of view are left out."""
        return [
            Exam(r.probability, bool(r.fractured), tuple((v.probability, bool(v.fractured)) for v in r.levels))
            for r in self.results
            if all(level.fractured is not None for level in r.levels)
        ]

    def seconds(self) -> float:
        """Median seconds from volume to findings."""
        return float(np.median([result.seconds for result in self.results])) if self.results else 0.0

    def as_json(self) -> dict[str, object]:
        """The summary and every study as plain JSON values."""
        exams = self.exams()
        return {
            "data": self.data,
            "what": self.what,
            "seeds": self.seeds,
            "studies": len(self.results),
            "threshold": self.threshold,
            "all_levels_right": _json(self.all_right(enough_levels=True)),
            "all_levels_right_fewer_than_five": _json(self.all_right(enough_levels=False)),
            "fewer_than_five_says_so": _json(self.limited()),
            "mean_dice": _json(self.dice()),
            "dice": {level.name: _json(self.dice(level)) for level in Vertebra},
            "levels": self.statistics().as_json(),
            "operating_points": {name: self.statistics(value).as_json() for name, value in self.points.items()},
            "whole_studies": self.study_statistics().as_json(),
            "kinds": {kind.value: figure.as_json() for kind, figure in self.by_kind().items()},
            "lesion_hits": _json(self.lesion_hits()),
            "lesion_dice": _json(self.lesion_dice()),
            "stray_alarms": sum(len(result.stray_alarms) for result in self.results),
            "rsna_loss": rsna_loss(exams),
            "rsna_loss_of_constants": constant_rsna_loss(exams),
            "median_seconds": self.seconds(),
            "results": [_study_json(result) for result in self.results],
        }


def _columns(rows: list[tuple[float, bool, int]]) -> tuple[Scores, Truth, Studies]:
    scores = np.array([row[0] for row in rows], dtype=np.float64)
    return scores, np.array([row[1] for row in rows], dtype=np.bool_), np.array([row[2] for row in rows], dtype=np.intp)


def _hits(rows: list[tuple[bool, int]]) -> tuple[Truth, Studies]:
    return np.array([hit for hit, _ in rows], dtype=np.bool_), np.array([number for _, number in rows], dtype=np.intp)


def _json(figure: Share | Estimate | None) -> dict[str, float | int] | None:
    return figure.as_json() if figure else None


def _study_json(result: StudyResult) -> dict[str, object]:
    return {
        "name": result.name,
        "all_right": result.all_right,
        "wrongly_named": [level.name for level in result.wrongly_named],
        "stray_alarms": [level.name for level in result.stray_alarms],
        "probability": round(result.probability, 4),
        "limitations": [limitation.name for limitation in result.limitations],
        "refused": result.refused,
        "seconds": round(result.seconds, 2),
        "levels": {
            level.vertebra.name: {
                "dice": round(level.dice, 4),
                "right": level.right,
                "probability": round(level.probability, 4),
                "fractured": level.fractured,
                "kind": level.kind.value if level.kind else None,
                "lesion_dice": level.lesion_dice,
            }
            for level in result.levels
        },
    }
