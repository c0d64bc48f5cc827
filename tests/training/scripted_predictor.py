"""Answers without a network, and small studies of known truth."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from model.findings import StudyFindings, Vertebra, VertebraFinding
from training.evaluation.judging import KnownStudy
from training.synthesis.fractures import FractureKind
from training.synthesis.phantom import Phantom

SPACING_MM = (2.0, 2.0, 2.0)
THRESHOLD = 0.5
POINTS = {"balanced": THRESHOLD, "high sensitivity": 0.2}


@dataclass(frozen=True)
class ScriptedAnswer:
    """What a predictor would have answered."""

    labels: np.ndarray
    findings: StudyFindings
    lesions: np.ndarray
    seconds: dict[str, float] = field(default_factory=lambda: {"network": 1.5})


def stack(levels=tuple(Vertebra), kinds=None) -> Phantom:
    """A CT of bars of bone, one over the other, each of 8 cm3; the front of a broken one is its lesion."""
    shape = (10 * len(levels), 24, 24)
    labels = np.zeros(shape, dtype=np.uint8)
    fracture = np.zeros(shape, dtype=np.bool_)
    for place, level in enumerate(levels):
        bar = slice(10 * place, 10 * place + 10), slice(7, 17), slice(7, 17)
        labels[bar] = level
        fracture[bar[0], 7:9, 7:17] = level in (kinds or {})
    hu = np.where(labels > 0, 700, 40).astype(np.int16)
    return Phantom(hu, SPACING_MM, labels, fracture, kinds or {})


def study(name="study", levels=tuple(Vertebra), kinds=None) -> KnownStudy:
    return KnownStudy(name, stack(levels, kinds))


def findings_of(labels: np.ndarray, probabilities: dict[Vertebra, float], limitations=()) -> StudyFindings:
    """Findings of every level in the label map; a level without a probability gets a low one."""
    found = []
    for level in Vertebra:
        if (labels == level).any():
            value = probabilities.get(level, 0.05)
            volume = float((labels == level).sum()) * float(np.prod(SPACING_MM))
            found.append(VertebraFinding(level, value, value >= THRESHOLD, volume))
    overall = max((finding.probability for finding in found), default=0.0)
    return StudyFindings(tuple(found), overall, THRESHOLD, tuple(limitations))


def perfect(phantom: Phantom) -> ScriptedAnswer:
    """The truth itself."""
    labels = np.where(phantom.labels <= 7, phantom.labels, 0).astype(np.uint8)
    lesions = np.where(phantom.fracture, labels, 0).astype(np.uint8)
    return ScriptedAnswer(labels, findings_of(labels, dict.fromkeys(phantom.kinds, 0.9)), lesions)


@dataclass
class ScriptedPredictor:
    """Answers by what ``answer`` makes of HU; its bundle has operating points and nothing else."""

    answer: Callable[[np.ndarray], ScriptedAnswer]
    bundle: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(
            metadata=SimpleNamespace(operating_point="balanced", operating_points=POINTS)
        )
    )

    def predict(self, hu, spacing_mm):  # noqa: ARG002 -- the port of a predictor
        return self.answer(hu)


LAMINA_OF_C5 = {Vertebra.C5: FractureKind.LAMINA}
