"""Compare a predictor's answer for one study with what is known of it: names, masks, fractures, lesions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from model.findings import StudyFindings, Vertebra, VertebraFinding
from training.evaluation.overlap import Overlap
from training.evaluation.study_result import LevelResult, StudyResult
from training.evaluation.surface import Spacing
from training.synthesis.phantom import Phantom

Found = tuple[VertebraFinding, ...]
JUDGED_MM3 = 3000.0
"""A level with less than this in view (about a third of it) is not judged."""
ABSENT_MM3 = 100.0
"""A level with less than this in view is absent."""
NAMED_MM3 = 1000.0
"""An absent level is wrongly named when it gets this much."""
LESION_MM3 = 30.0
"""A fracture with less than this in view is out of view: its level is neither broken nor intact."""


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


class JudgedStudy(Protocol):
    """A CT and what is known of it; arrays (slice, row, column) in the standard frame, on one grid.

    ``fractures``: whether a level is broken, None where its fracture is out of view; a level that is missing is of
    unknown truth. ``kinds``: type of a level's fracture where it is known. ``labels`` (0, 1..7; more is no cervical
    level) and ``lesion`` (voxels marked as fractured): None where nobody made them.
    """

    @property
    def name(self) -> str:
        """What tells it from the others of its set."""

    @property
    def patient(self) -> str:
        """Whose study it is; "" for a patient of its own."""

    @property
    def site(self) -> str:
        """Where it comes from ("" unknown)."""

    @property
    def hu(self) -> NDArray[np.int16]:
        """The volume."""

    @property
    def spacing_mm(self) -> Spacing:
        """Slice, row and column spacing."""

    @property
    def fractures(self) -> Mapping[Vertebra, bool | None]:
        """What is known of each level."""

    @property
    def kinds(self) -> Mapping[Vertebra, str]:
        """Types of fractures."""

    @property
    def labels(self) -> NDArray[np.uint8] | None:
        """The true levels."""

    @property
    def lesion(self) -> NDArray[np.bool_] | None:
        """The marked fractures."""


@dataclass(frozen=True, slots=True)
class KnownStudy:
    """A synthetic CT with its whole truth; ``name`` tells it from the others (a seed, or what was broken)."""

    name: str
    phantom: Phantom
    patient: str = ""
    site: str = ""

    @property
    def hu(self) -> NDArray[np.int16]:
        """The volume."""
        return self.phantom.hu

    @property
    def spacing_mm(self) -> Spacing:
        """Slice, row and column spacing."""
        return self.phantom.spacing_mm

    @property
    def labels(self) -> NDArray[np.uint8]:
        """The true levels."""
        return self.phantom.labels

    @property
    def lesion(self) -> NDArray[np.bool_]:
        """The fractures."""
        return self.phantom.fracture

    @property
    def kinds(self) -> Mapping[Vertebra, str]:
        """Types of all fractures, those out of view too."""
        return self.phantom.kinds

    @property
    def fractures(self) -> Mapping[Vertebra, bool | None]:
        """The truth of every level with enough in view; None where it is broken out of view."""
        phantom, voxel_mm3 = self.phantom, float(np.prod(self.phantom.spacing_mm))
        there = np.bincount(phantom.labels.ravel(), minlength=8) * voxel_mm3
        broken = np.bincount(phantom.labels[phantom.fracture], minlength=8) * voxel_mm3
        return {
            level: (True if broken[level] >= LESION_MM3 else None) if level in phantom.kinds else False
            for level in Vertebra
            if there[level] >= JUDGED_MM3
        }


@dataclass(frozen=True, slots=True)
class _Comparison:
    """A study beside its answer: levels with enough in view, the truth of levels, what was found.

    ``overlap``: None where the true levels are not known, and then nothing is known to be in view.
    """

    study: JudgedStudy
    overlap: Overlap | None
    seen: frozenset[Vertebra]
    truth: Mapping[Vertebra, bool | None]
    findings: Mapping[Vertebra, VertebraFinding]
    lesions: NDArray[np.uint8]

    @classmethod
    def of(cls, study: JudgedStudy, labels: NDArray[np.uint8], lesions: NDArray[np.uint8], found: Found) -> Self:
        overlap = None if study.labels is None else Overlap(study.labels, labels, study.spacing_mm)
        seen = [level for level in Vertebra if overlap is not None and overlap.true_mm3(level) >= JUDGED_MM3]
        findings = {finding.vertebra: finding for finding in found}
        return cls(study, overlap, frozenset(seen), study.fractures, findings, lesions)

    def levels(self) -> tuple[LevelResult, ...]:
        """Every level that is seen or known, from C1 downwards; one that was not found has probability 0."""
        return tuple(self._level(level) for level in Vertebra if level in self.seen or level in self.truth)

    def _level(self, level: Vertebra) -> LevelResult:
        finding, fractured = self.findings.get(level), self.truth.get(level)
        called = finding is not None and finding.fractured
        hit, dice = self._lesion(level) if fractured and called else (None, None)
        return LevelResult(
            level,
            finding.probability if finding else 0.0,
            found=finding is not None,
            called=called,
            fractured=fractured,
            kind=str(self.study.kinds.get(level, "")),
            mask=self.overlap.mask(level) if self.overlap is not None and level in self.seen else None,
            lesion_hit=hit,
            lesion_dice=dice,
        )

    def _lesion(self, level: Vertebra) -> tuple[bool | None, float | None]:
        """Whether the found lesion of a level meets its marked one, and their Dice where the level's mask is known."""
        marked, labels = self.study.lesion, self.study.labels
        if marked is None:
            return None, None
        mine = self.lesions == level
        if labels is None:
            return bool((marked & mine).any()), None
        own = marked & (labels == level)
        if own.sum() * np.prod(self.study.spacing_mm) < LESION_MM3:
            return None, None
        common = int((own & mine).sum())
        return common > 0, 2 * common / int(own.sum() + mine.sum())

    def wrongly_named(self) -> tuple[Vertebra, ...]:
        """Levels that are not there and were named."""
        overlap = self.overlap
        if overlap is None:
            return ()
        absent = [level for level in Vertebra if overlap.true_mm3(level) < ABSENT_MM3]
        return tuple(level for level in absent if overlap.found_mm3(level) >= NAMED_MM3)

    def unknown(self) -> tuple[Vertebra, ...]:
        """Levels that may be broken or not: of those in view where that is known, else of all."""
        candidates = {*self.truth, *(Vertebra if self.overlap is None else self.seen)}
        return tuple(level for level in sorted(candidates) if self.truth.get(level) is None)

    def stray_alarms(self) -> tuple[Vertebra, ...]:
        """Suspected levels that are not there."""
        there = {*self.seen, *self.truth, *self.study.kinds, *self.unknown()}
        return tuple(level for level, finding in self.findings.items() if finding.fractured and level not in there)


def judge(study: JudgedStudy, answer: Answer) -> StudyResult:
    """Compare an answer with its study's truth."""
    findings = answer.findings
    compared = _Comparison.of(study, answer.labels, answer.lesions, findings.vertebrae)
    return StudyResult(
        study.name,
        compared.levels(),
        findings.probability,
        max((finding.probability for finding in findings.vertebrae), default=0.0),
        called=bool(findings.fractured),
        seconds=sum(answer.seconds.values()),
        masked=compared.overlap is not None,
        wrongly_named=compared.wrongly_named(),
        stray_alarms=compared.stray_alarms(),
        unknown=compared.unknown(),
        limitations=findings.limitations,
        patient=study.patient,
        site=study.site,
    )


def judge_refused(study: JudgedStudy, reason: str) -> StudyResult:
    """The result of a study that the predictor refused: no level named, no fracture found."""
    nothing = np.zeros(study.hu.shape, dtype=np.uint8)
    compared = _Comparison.of(study, nothing, nothing, ())
    return StudyResult(
        study.name,
        compared.levels(),
        probability=0.0,
        highest=0.0,
        called=False,
        seconds=0.0,
        masked=compared.overlap is not None,
        unknown=compared.unknown(),
        refused=reason,
        patient=study.patient,
        site=study.site,
    )
