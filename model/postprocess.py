"""From fracture scores to findings: calibrated probabilities, and what limits the answer (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from model.findings import Limitation, StudyFindings, Vertebra, VertebraFinding
from model.naming import Levels


@dataclass(frozen=True, slots=True)
class Calibration:
    """How the fracture network's scores (0..1) become probabilities, and the threshold in force.

    The logit of a level's probability is ``scale`` times the logit of its score plus ``offset``; that of the study's
    follows in the same way from the highest score of its levels, by ``study_scale`` and ``study_offset``.
    """

    scale: float = 1.0
    offset: float = 0.0
    study_scale: float = 1.0
    study_offset: float = 0.0
    threshold: float = 0.5


def logit(score: float) -> float:
    """The logit of a score, which is kept away from 0 and 1."""
    clipped = min(max(score, 1e-5), 1 - 1e-5)
    return float(np.log(clipped / (1 - clipped)))


def probability(score: float, scale: float, offset: float) -> float:
    """The calibrated probability (0..1) of a score (0..1)."""
    return float(1 / (1 + np.exp(-np.clip(scale * logit(score) + offset, -30, 30))))


def limitations(found: Levels, slice_spacing_mm: float) -> tuple[Limitation, ...]:
    """What a reader must know about these levels, most serious first."""
    levels = found.found
    if not levels:
        return (Limitation.NO_LEVELS,)
    result = []
    gaps = [b - a for a, b in pairwise(levels)]
    if any(gap > 1 for gap in gaps):
        result.append(Limitation.LEVELS_NOT_CONTIGUOUS)
    runs = "".join("1" if gap == 1 else "0" for gap in gaps).split("0")
    if max(len(run) for run in runs) + 1 < 5:
        result.append(Limitation.FEW_LEVELS)
    if found.cut:
        result.append(Limitation.CUT_LEVEL)
    if slice_spacing_mm > 2.0:
        result.append(Limitation.THICK_SLICES)
    return tuple(result)


def findings(
    found: Levels, scores: Mapping[Vertebra, float], volumes_mm3: Mapping[Vertebra, float], calibration: Calibration
) -> StudyFindings:
    """The findings of a study from the fracture score (0..1) and the volume of every level found."""
    vertebrae = []
    for level in found.found:
        value = probability(scores[level], calibration.scale, calibration.offset)
        vertebrae.append(VertebraFinding(level, value, value >= calibration.threshold, volumes_mm3[level]))
    highest = max(scores.values(), default=0.0)
    overall = probability(highest, calibration.study_scale, calibration.study_offset) if vertebrae else 0.0
    return StudyFindings(tuple(vertebrae), overall, calibration.threshold)
