"""Measure a bundle on synthetic necks that no training ever saw (their figures are synthetic and say so)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.findings import Vertebra
from model.predictor import Prediction, Predictor
from training.anatomy import Grid
from training.atlas import Atlas, atlas_anatomy
from training.augment import Contrast, paint
from training.dataset import random_levels
from training.phantom import Phantom, PhantomConfig, make_phantom

TEST_SEED = 900_000_000
"""Seeds of test phantoms start here; training seeds stay far below."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One phantom: Dice of each level, whether every level was named right, and each level's fracture probability."""

    seed: int
    dice: dict[Vertebra, float]
    all_right: bool
    probability: dict[Vertebra, float]
    fractured: frozenset[Vertebra]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All cases of one run, and its summary."""

    cases: tuple[CaseResult, ...]
    threshold: float
    data: str

    def scores(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Fracture probability (0 where the level was not found) and truth of every level of every case."""
        pairs = [(case.probability.get(v, 0.0), v in case.fractured) for case in self.cases for v in Vertebra]
        return np.array([score for score, _ in pairs]), np.array([positive for _, positive in pairs])

    def as_json(self) -> dict[str, object]:
        """The summary as plain JSON values; everything in it is measured on synthetic data."""
        scores, truth = self.scores()
        called = scores >= self.threshold
        return {
            "data": self.data,
            "studies": len(self.cases),
            "all_levels_right": float(np.mean([case.all_right for case in self.cases])),
            "mean_dice": float(np.mean([value for case in self.cases for value in case.dice.values()])),
            "dice": {v.name: float(np.mean([case.dice[v] for case in self.cases])) for v in Vertebra},
            "threshold": self.threshold,
            "fractured_levels": int(truth.sum()),
            "fracture_sensitivity": _share(called[truth]),
            "fracture_specificity": _share(~called[~truth]),
            "fracture_auc": auc(scores, truth),
        }


def _share(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if values.size else None


def auc(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve; None when one class is missing."""
    positive, negative = scores[truth], scores[~truth]
    if positive.size == 0 or negative.size == 0:
        return None
    higher = (positive[:, None] > negative[None, :]).mean()
    return float(higher + 0.5 * (positive[:, None] == negative[None, :]).mean())


def judge(seed: int, phantom: Phantom, prediction: Prediction) -> CaseResult:
    """Compare a prediction with its phantom's truth; a level is right when most of its voxels carry its name."""
    dice: dict[Vertebra, float] = {}
    right = True
    for level in Vertebra:
        truth, found = phantom.labels == level, prediction.labels == level
        overlap, size = int((truth & found).sum()), int(truth.sum()) + int(found.sum())
        dice[level] = 2 * overlap / size if size else 1.0
        right = right and dice[level] > 0.5
    probability = {finding.vertebra: finding.probability for finding in prediction.findings.vertebrae}
    return CaseResult(seed, dice, right, probability, phantom.fractured)


def synthetic_study(seed: int, atlas: Atlas | None = None) -> Phantom:
    """A whole synthetic study with random contrast, size, posture and fractures; with an atlas, from its subject."""
    rng = np.random.default_rng(seed)
    fractured = random_levels(rng)
    if atlas is None:
        return make_phantom(seed, PhantomConfig(fractured=fractured))
    spacing = (1.0, 1.0, 1.0)
    grid = Grid.centred((220, 180, 140), spacing, (-110.0, -104.0, -70.0))
    anatomy = atlas_anatomy(atlas, rng, grid, fractured)
    hu = np.clip(paint(anatomy, Contrast.random(rng), spacing, rng), -1024, 3071).astype(np.int16)
    return Phantom(hu, spacing, anatomy.labels, anatomy.fracture, fractured)


def evaluate(predictor: Predictor, count: int, *, seed: int = TEST_SEED, atlas: Atlas | None = None) -> Evaluation:
    """Run the predictor on that many unseen synthetic studies."""
    cases = []
    for number in range(seed, seed + count):
        study = synthetic_study(number, atlas)
        cases.append(judge(number, study, predictor.predict(study.hu, study.spacing_mm)))
    source = "variations of the SPL atlas's subject" if atlas else "parametric phantoms"
    threshold = predictor.bundle.metadata.postprocess.threshold
    return Evaluation(tuple(cases), threshold, f"synthetic: {source}, random contrast, unseen seeds")
