"""Figures are what they say: Dice, right names, AUC."""

import numpy as np
import pytest

from model.findings import StudyFindings, Vertebra, VertebraFinding
from model.predictor import Prediction
from training.evaluate import Evaluation, auc, judge, synthetic_study


@pytest.fixture(scope="module")
def study():
    return synthetic_study(910_000_001)


def perfect(study) -> Prediction:
    labels = np.where(study.labels <= 7, study.labels, 0).astype(np.uint8)
    vertebrae = tuple(VertebraFinding(v, float(v in study.fractured), v in study.fractured, 1.0) for v in Vertebra)
    return Prediction(labels, StudyFindings(vertebrae, float(bool(study.fractured)), 0.5), {})


def test_the_truth_itself_scores_one(study):
    result = judge(1, study, perfect(study))
    assert result.all_right
    assert set(result.dice.values()) == {1.0}
    summary = Evaluation((result,), 0.5, "synthetic").as_json()
    assert summary["mean_dice"] == 1.0
    assert summary["data"] == "synthetic"
    assert summary["fracture_specificity"] == 1.0


def test_names_off_by_one_are_wrong(study):
    answer = perfect(study)
    shifted = np.where(answer.labels > 0, np.clip(answer.labels + 1, 0, 7), 0).astype(np.uint8)
    assert not judge(1, study, Prediction(shifted, answer.findings, {})).all_right


def test_auc_counts_pairs():
    truth = np.array([True, True, False, False])
    assert auc(np.array([0.9, 0.8, 0.1, 0.2]), truth) == 1.0
    assert auc(np.array([0.5, 0.5, 0.5, 0.5]), truth) == 0.5
    assert auc(np.array([0.5]), np.array([True])) is None
