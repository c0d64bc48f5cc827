"""Reliability: computed by hand for a few values, and right for scores that are calibrated by construction."""

import numpy as np
import pytest

from training.evaluation.calibration import BINS, calibration


def test_errors_are_those_computed_by_hand():
    scores = np.array([0.05, 0.05, 0.92, 0.98, 1.0])
    truth = np.array([False, True, True, True, False])
    found = calibration(scores, truth, np.arange(5))
    low, high = abs(0.05 - 0.5), abs((0.92 + 0.98 + 1.0) / 3 - 2 / 3)
    assert found.error.value == pytest.approx(2 / 5 * low + 3 / 5 * high)
    assert found.brier.value == pytest.approx((0.05**2 + 0.95**2 + 0.08**2 + 0.02**2 + 1) / 5)
    assert (found.predicted, found.observed) == (pytest.approx(0.6), pytest.approx(0.6))


def test_every_value_lies_in_one_bin_of_equal_width():
    scores = np.array([0.0, 0.1, 0.999, 1.0, 0.55])
    found = calibration(scores, np.ones(5, dtype=bool), np.arange(5))
    assert len(found.bins) == BINS
    counts = [one.observed.total if one.observed else 0 for one in found.bins]
    assert counts == [1, 1, 0, 0, 0, 1, 0, 0, 0, 2]
    assert found.bins[2].predicted is None
    assert found.as_json()["bins"][9]["observed"]["total"] == 2


def test_scores_that_mean_what_they_say_have_little_error_and_others_have_theirs():
    rng = np.random.default_rng(4)
    scores = rng.random(6_000)
    right = calibration(scores, rng.random(6_000) < scores, np.arange(6_000) // 50)
    assert right.error.value < 0.03
    wrong = calibration(np.full(500, 0.9), np.arange(500) % 2 == 0, np.arange(500))
    assert wrong.error.value == pytest.approx(0.4)
    assert wrong.error.low < 0.4 < wrong.error.high
    assert calibration(np.zeros(0), np.zeros(0, dtype=bool), np.zeros(0, dtype=int)) is None
