"""What all results of one data set come to: names, masks, fractures by level, study, type and site, with intervals."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from model.findings import Limitation, Vertebra
from training.evaluation.bootstrap import Estimate
from training.evaluation.calibration import Calibration, calibration
from training.evaluation.columns import Columns, hits, means
from training.evaluation.figures import FractureStatistics, Share, mean_interval, share
from training.evaluation.rsna_loss import Exam, RsnaLoss, rsna_figures
from training.evaluation.study_result import LevelResult, MaskResult, StudyResult
from training.evaluation.thresholds import Decision, decisions
from training.synthesis.fractures import FractureKind

UNKNOWN_KIND = "type not known"
UNKNOWN_SITE = "site not known"


class Refused(Enum):
    """What becomes of studies that the predictor would not answer.

    ``WRONG``: their fractures count as missed and their intact levels as called, so that refusing never pays.
    """

    WRONG = "counted as wrong"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All results of one data set and what they come to; ``points`` maps operating points to thresholds.

    ``own_labels``: the true levels are the network's own, so that masks mean nothing.
    """

    data: str
    what: str
    seeds: str
    results: tuple[StudyResult, ...]
    threshold: float
    points: Mapping[str, float] = field(default_factory=dict)
    own_labels: bool = False

    @property
    def refused(self) -> tuple[StudyResult, ...]:
        """The studies that the predictor would not answer."""
        return tuple(result for result in self.results if result.refused)

    def _numbered(self) -> list[tuple[StudyResult, int]]:
        """Every study and the number of its patient."""
        numbers: dict[str, int] = {}
        named = ((one, one.patient or f"study {place}") for place, one in enumerate(self.results))
        return [(one, numbers.setdefault(patient, len(numbers))) for one, patient in named]

    @property
    def patients(self) -> int:
        """How many patients the studies are of."""
        return len({number for _, number in self._numbered()})

    def levels(self, level: Vertebra | None = None, refused: Refused = Refused.WRONG) -> Columns:
        """Every level of known truth (or one level of all studies) at the bundle's threshold."""
        return Columns.of(
            (not one.fractured, one.fractured, not one.fractured, number)
            if result.refused
            else (one.probability, one.fractured, one.probability >= self.threshold, number)
            for result, number in self._numbered()
            for one in result.levels
            if one.fractured is not None
            and level in {None, one.vertebra}
            and not (result.refused and refused is Refused.LEFT_OUT)
        )

    def statistics(self, threshold: float | None = None, refused: Refused = Refused.WRONG) -> FractureStatistics:
        """Sensitivity, specificity and areas of levels, at the bundle's threshold or another."""
        columns = self.levels(refused=refused)
        return (columns if threshold is None else columns.at(threshold)).statistics()

    def studies(self, refused: Refused = Refused.WRONG, score: Callable[[StudyResult], float] | None = None) -> Columns:
        """Whole studies of known truth, called when any level is; ``score``: their probability by default."""
        return Columns.of(
            (not result.fractured, result.fractured, not result.fractured, number)
            if result.refused
            else (score(result) if score else result.probability, result.fractured, result.called, number)
            for result, number in self._numbered()
            if result.fractured is not None and not (result.refused and refused is Refused.LEFT_OUT)
        )

    def study_statistics(self, refused: Refused = Refused.WRONG) -> FractureStatistics:
        """Whole studies: called when any level is, ranked by the study probability; areas are those of the ranking."""
        return self.studies(refused).statistics()

    def level_calibration(self) -> Calibration | None:
        """Whether the probabilities of levels that were found mean what they say."""
        rows = [(one.probability, one.fractured, number) for one, number in self._judged() if one.found]
        known = Columns.of((score, truth, False, number) for score, truth, number in rows if truth is not None)
        return calibration(known.scores, known.truth, known.patients)

    def study_calibration(self) -> Calibration | None:
        """Whether the probabilities of answered studies mean what they say."""
        known = self.studies(Refused.LEFT_OUT)
        return calibration(known.scores, known.truth, known.patients)

    def level_decisions(self) -> tuple[Decision, ...]:
        """Thresholds for the goals, reached by single levels."""
        known = self.levels()
        return decisions(known.scores, known.truth, known.patients)

    def study_decisions(self) -> tuple[Decision, ...]:
        """Thresholds of levels for the goals, reached by whole studies: one is called when its highest level is."""
        known = self.studies(score=lambda result: result.highest)
        return decisions(known.scores, known.truth, known.patients)

    def by_kind(self) -> dict[str, Share]:
        """Sensitivity for each type of fracture that occurs, at the bundle's threshold; refused ones are missed."""
        rows = [(one.kind or UNKNOWN_KIND, one.called, number) for one, number in self._judged() if one.fractured]
        kinds = sorted({kind for kind, _, _ in rows}, key=kind_order)
        found = {kind: share(*hits((hit, number) for mine, hit, number in rows if mine == kind)) for kind in kinds}
        return {kind: figure for kind, figure in found.items() if figure is not None}

    def by_site(self) -> dict[str, "Evaluation"]:
        """The studies of each site, as an evaluation of its own."""
        sites = sorted({result.site for result in self.results})
        return {
            site or UNKNOWN_SITE: replace(self, results=tuple(one for one in self.results if one.site == site))
            for site in sites
        }

    def _judged(self) -> list[tuple[LevelResult, int]]:
        return [(one, number) for result, number in self._numbered() for one in result.levels]

    def all_right(self, *, enough_levels: bool) -> Share | None:
        """Share of studies with every visible level right, of those with five levels in view or those with fewer."""
        wanted = [(one.all_right, number) for one, number in self._of(enough_levels=enough_levels) if one.masked]
        return share(*hits(wanted))

    def limited(self) -> Share | None:
        """Share of the studies with fewer than five levels in view that say so (or were refused)."""
        telling = {Limitation.FEW_LEVELS, Limitation.NO_LEVELS}
        short = self._of(enough_levels=False)
        return share(*hits((bool(r.refused) or bool(telling & {*r.limitations}), number) for r, number in short))

    def _of(self, *, enough_levels: bool) -> list[tuple[StudyResult, int]]:
        return [(result, number) for result, number in self._numbered() if result.enough_levels == enough_levels]

    def _masks(self, level: Vertebra | None) -> list[tuple[MaskResult, int]]:
        if self.own_labels:
            return []
        return [(one.mask, number) for one, number in self._judged() if one.mask and level in {None, one.vertebra}]

    def dice(self, level: Vertebra | None = None) -> Estimate | None:
        """Mean Dice of one level, or of all together; a level that was not found has 0."""
        return mean_interval(*means((mask.dice, number) for mask, number in self._masks(level)))

    def surface_mm(self, level: Vertebra | None = None) -> Estimate | None:
        """Mean average symmetric surface distance of the levels that were found."""
        rows = [(mask.distance.mean_mm, number) for mask, number in self._masks(level) if mask.distance]
        return mean_interval(*means(rows))

    def hausdorff95_mm(self, level: Vertebra | None = None) -> Estimate | None:
        """Mean 95 % Hausdorff distance of the levels that were found."""
        rows = [(mask.distance.hausdorff95_mm, number) for mask, number in self._masks(level) if mask.distance]
        return mean_interval(*means(rows))

    def without_surface(self, level: Vertebra | None = None) -> tuple[int, int]:
        """How many masks have no distance because nothing carries their name, and how many there are."""
        masks = [mask for mask, _ in self._masks(level)]
        return sum(mask.distance is None for mask in masks), len(masks)

    def confusion(self) -> NDArray[np.intp]:
        """How often each true level (row 1..7; row 0: not there) got each name (column 1..7; column 0: none)."""
        table = np.zeros((8, 8), dtype=np.intp)
        for result in self.results:
            for one in result.levels:
                if one.mask:
                    table[one.vertebra, one.mask.named_as or 0] += 1
            for level in result.wrongly_named:
                table[0, level] += 1
        return table

    def unknown(self) -> dict[Vertebra, tuple[str, ...]]:
        """For each level the studies in which its truth is unknown: it was not judged there."""
        found = {level: tuple(r.name for r in self.results if level in r.unknown) for level in Vertebra}
        return {level: names for level, names in found.items() if names}

    def not_found(self) -> Counter[Vertebra]:
        """How often each level that is in view, or of known truth, was not found in a study that was answered."""
        return Counter(level for result in self.results if not result.refused for level in result.missed)

    def lesion_hits(self) -> Share | None:
        """Share of rightly suspected levels whose fracture mask meets the true one."""
        rows = [(one.lesion_hit, number) for one, number in self._judged() if one.lesion_hit is not None]
        return share(*hits(rows))

    def lesion_dice(self) -> Estimate | None:
        """Mean Dice of the fracture masks of rightly suspected levels."""
        rows = [(one.lesion_dice, number) for one, number in self._judged() if one.lesion_dice is not None]
        return mean_interval(*means(rows))

    def rsna(self) -> RsnaLoss | None:
        """The RSNA loss beside its best constants; a refused study says 0.5 everywhere.

        Studies whose only fractures are out of view or unknown are left out, and so are levels of unknown truth.
        """
        known = [(result, number) for result, number in self._numbered() if result.fractured is not None]
        return rsna_figures([_exam(result) for result, _ in known], np.array([n for _, n in known], dtype=np.intp))

    def seconds(self) -> float:
        """Median seconds from volume to findings of the studies that were answered."""
        seconds = [result.seconds for result in self.results if not result.refused]
        return float(np.median(seconds)) if seconds else 0.0


def kind_order(kind: str) -> tuple[int, str]:
    """Types in the order of ``FractureKind``, then all others by name."""
    known = [one.value for one in FractureKind]
    return (known.index(kind) if kind in known else len(known), kind)


def _exam(result: StudyResult) -> Exam:
    levels = {
        one.vertebra: (0.5 if result.refused else one.probability, one.fractured)
        for one in result.levels
        if one.fractured is not None
    }
    return Exam(0.5 if result.refused else result.probability, bool(result.fractured), levels)
