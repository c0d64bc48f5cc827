"""What a predictor's answer for one study of known truth is worth: names, Dice, fractures, lesions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.findings import Limitation, StudyFindings, Vertebra
from training.fractures import FractureKind
from training.phantom import Phantom

JUDGED_MM3 = 3000.0
"""A level with less than this in view (about a third of it) is not judged."""
ABSENT_MM3 = 100.0
"""A level with less than this in view is absent."""
NAMED_MM3 = 1000.0
"""An absent level is wrongly named when it gets this much."""
LESION_MM3 = 30.0
"""A fracture with less than this in view is out of view: its level is neither broken nor intact."""
ENOUGH_LEVELS = 5


class Answer(Protocol):
    """What is judged of a prediction: label map (0..7) and lesions (0..7) on the volume's grid, findings, seconds."""

    @property
    def labels(self) -> NDArray[np.uint8]:
        """Label map, 0 or the number of the level."""

    @property
    def findings(self) -> StudyFindings:
        """Levels and probabilities."""

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each stage."""

    @property
    def lesions(self) -> NDArray[np.uint8]:
        """0 or the number of the suspected level to which a fracture voxel belongs."""


@dataclass(frozen=True, slots=True)
class KnownStudy:
    """A CT with its truth; ``name`` tells it from the others of its set (a seed, or what was broken)."""

    name: str
    phantom: Phantom


@dataclass(frozen=True, slots=True)
class LevelResult:
    """One level in view.

    ``right``: most of its voxels carry its name. ``fractured``: the truth; None when the fracture lies out of view.
    ``called``: suspected at the bundle's threshold. ``lesion_dice``: of the fracture mask, where the level is broken
    and called; None elsewhere.
    """

    vertebra: Vertebra
    dice: float
    right: bool
    probability: float
    called: bool
    fractured: bool | None
    kind: FractureKind | None = None
    lesion_dice: float | None = None


@dataclass(frozen=True, slots=True)
class StudyResult:
    """One study: its levels with enough in view to be judged, absent levels that were named, alarms elsewhere.

    ``refused``: why the predictor would not answer ("" when it did).
    """

    name: str
    levels: tuple[LevelResult, ...]
    wrongly_named: tuple[Vertebra, ...]
    stray_alarms: tuple[Vertebra, ...]
    probability: float
    limitations: tuple[Limitation, ...]
    seconds: float
    refused: str = ""

    @property
    def all_right(self) -> bool:
        """Whether every level in view has its name and no absent one was named."""
        return not self.wrongly_named and all(level.right for level in self.levels)

    @property
    def enough_levels(self) -> bool:
        """Whether five levels or more are in view."""
        return len(self.levels) >= ENOUGH_LEVELS

    @property
    def called(self) -> bool:
        """Whether any level is suspected."""
        return bool(self.stray_alarms) or any(level.called for level in self.levels)

    @property
    def fractured(self) -> bool | None:
        """Whether any level is broken; None when the only fractures are out of view."""
        truths = {level.fractured for level in self.levels}
        return True if True in truths else None if None in truths else False


@dataclass(frozen=True, slots=True)
class _Overlap:
    """Volumes in mm3 of each pair of true (row) and found (column) level; 0 is background and everything else."""

    table_mm3: NDArray[np.float64]

    @classmethod
    def of(
        cls, truth: NDArray[np.uint8], found: NDArray[np.uint8], spacing_mm: tuple[float, float, float]
    ) -> "_Overlap":
        known = np.where(truth <= 7, truth, 0).astype(np.uint8)
        counts = np.bincount((8 * known + found).ravel(), minlength=64).reshape(8, 8)
        return cls(np.asarray(counts * float(np.prod(spacing_mm)), dtype=np.float64))

    def true_mm3(self, level: Vertebra) -> float:
        return float(self.table_mm3[level].sum())

    def found_mm3(self, level: Vertebra) -> float:
        return float(self.table_mm3[:, level].sum())

    def dice(self, level: Vertebra) -> float:
        size = self.true_mm3(level) + self.found_mm3(level)
        return 2 * float(self.table_mm3[level, level]) / size if size else 1.0

    def right(self, level: Vertebra) -> bool:
        return 2 * float(self.table_mm3[level, level]) > self.true_mm3(level)


def judge(study: KnownStudy, answer: Answer) -> StudyResult:
    """Compare an answer with its study's truth."""
    phantom, findings = study.phantom, answer.findings
    overlap = _Overlap.of(phantom.labels, answer.labels, phantom.spacing_mm)
    lesions = _Overlap.of(np.where(phantom.fracture, phantom.labels, 0), answer.lesions, phantom.spacing_mm)
    found = {finding.vertebra: (finding.probability, finding.fractured) for finding in findings.vertebrae}
    judged = [level for level in Vertebra if overlap.true_mm3(level) >= JUDGED_MM3]
    wrongly_named = tuple(
        level for level in Vertebra if overlap.true_mm3(level) < ABSENT_MM3 and overlap.found_mm3(level) >= NAMED_MM3
    )
    stray = tuple(level for level, (_, called) in found.items() if called and level not in {*judged, *phantom.kinds})
    return StudyResult(
        study.name,
        tuple(_level(level, overlap, lesions, found, phantom.kinds) for level in judged),
        wrongly_named,
        stray,
        findings.probability,
        findings.limitations,
        sum(answer.seconds.values()),
    )


def _level(
    level: Vertebra,
    overlap: _Overlap,
    lesions: _Overlap,
    found: Mapping[Vertebra, tuple[float, bool]],
    kinds: Mapping[Vertebra, FractureKind],
) -> LevelResult:
    """The result of one level in view; a level that was not found has probability 0."""
    probability, called = found.get(level, (0.0, False))
    in_view = lesions.true_mm3(level) >= LESION_MM3
    fractured = (True if in_view else None) if level in kinds else False
    lesion_dice = lesions.dice(level) if fractured and called else None
    right, dice = overlap.right(level), overlap.dice(level)
    return LevelResult(level, dice, right, probability, called, fractured, kinds.get(level), lesion_dice)


def judge_refused(study: KnownStudy, reason: str) -> StudyResult:
    """The result of a study that the predictor refused: no level named, no fracture found."""
    phantom = study.phantom
    nothing = _Overlap.of(phantom.labels, np.zeros_like(phantom.labels), phantom.spacing_mm)
    lesions = _Overlap.of(
        np.where(phantom.fracture, phantom.labels, 0), np.zeros_like(phantom.labels), phantom.spacing_mm
    )
    judged = [level for level in Vertebra if nothing.true_mm3(level) >= JUDGED_MM3]
    levels = tuple(_level(level, nothing, lesions, {}, phantom.kinds) for level in judged)
    return StudyResult(study.name, levels, (), (), 0.0, (), 0.0, reason)
