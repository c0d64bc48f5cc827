"""Thresholds for a goal: the right one, as sure as the data allows, and no better on unseen patients than it is."""

import numpy as np
import pytest

from training.evaluation.thresholds import Goal, decisions


def made(count, seed=6):
    """Scores that overlap; one value a patient."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % 4 == 0
    return np.clip(rng.normal(0.35 + 0.3 * truth, 0.12), 0, 1), truth, np.arange(count)


def test_the_threshold_is_the_one_that_just_reaches_the_goal():
    scores, truth, patients = made(400)
    sensitive, specific = decisions(scores, truth, patients)
    assert (sensitive.goal, specific.goal) == (Goal.SENSITIVITY, Goal.SPECIFICITY)
    called = scores >= sensitive.threshold.value
    assert called[truth].mean() >= 0.95
    assert (scores > sensitive.threshold.value)[truth].mean() < 0.95
    assert sensitive.sensitivity.value == pytest.approx(called[truth].mean())
    assert sensitive.specificity.value == pytest.approx((~called)[~truth].mean())
    spared = scores < specific.threshold.value
    assert spared[~truth].mean() >= 0.97
    lower = scores[scores < specific.threshold.value].max()
    assert (scores < lower)[~truth].mean() < 0.97


def test_more_patients_make_it_surer():
    few, many = decisions(*made(60))[0].threshold, decisions(*made(2000))[0].threshold
    assert few.low <= few.value <= few.high
    assert few.high - few.low > 2 * (many.high - many.low)


def test_patients_who_took_no_part_in_choosing_do_not_reach_the_goal_for_sure():
    sensitive, _ = decisions(*made(80))
    assert sensitive.sensitivity.low < 0.95
    assert sensitive.unseen_sensitivity < 1.0
    assert sensitive.as_json()["goal"] == "95% sensitivity"


def test_where_the_intact_score_highest_nothing_is_called():
    scores = np.array([0.9, 0.8, 0.2, 0.1])
    truth = np.array([False, False, True, True])
    specific = decisions(scores, truth, np.arange(4))[1]
    assert specific.threshold.value > 0.9
    assert specific.sensitivity.value == 0.0
    assert decisions(scores, np.ones(4, dtype=bool), np.arange(4)) == ()
