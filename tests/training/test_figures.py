"""Figures are what they say: shares, areas under curves, intervals that resample whole patients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from training.evaluation.bootstrap import CHUNK, drawn, estimate
from training.evaluation.figures import (
    auc,
    auc_interval,
    fracture_statistics,
    mean_interval,
    precision_interval,
    share,
)
from training.evaluation.ranking import rank


def some_scores(seed, count=60):
    """Scores with ties, truth and patients of two values each."""
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < 0.3
    return np.round(rng.random(count) * 0.7 + 0.3 * truth, 1), truth, np.arange(count) // 2


def test_auc_counts_pairs():
    truth = np.array([True, True, False, False])
    assert auc(np.array([0.9, 0.8, 0.1, 0.2]), truth) == 1.0
    assert auc(np.array([0.5, 0.5, 0.5, 0.5]), truth) == 0.5
    assert auc(np.array([0.5]), np.array([True])) is None


@pytest.mark.parametrize("seed", range(5))
def test_the_area_under_the_roc_curve_is_the_statistic_of_mann_and_whitney(seed):
    scores, truth, _ = some_scores(seed)
    won = mannwhitneyu(scores[truth], scores[~truth]).statistic
    assert auc(scores, truth) == pytest.approx(won / (truth.sum() * (~truth).sum()))


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_the_mean_precision_at_each_gain_of_sensitivity(seed):
    scores, truth, patients = some_scores(seed)
    expected, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        called = scores >= threshold
        sensitivity = (called & truth).sum() / truth.sum()
        expected += (sensitivity - before) * (called & truth).sum() / called.sum()
        before = sensitivity
    found = precision_interval(scores, truth, patients)
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high


def test_a_perfect_ranking_of_a_few_patients_is_no_certainty():
    scores, truth = np.array([0.9, 0.8, 0.2, 0.1, 0.1]), np.array([True, True, False, False, False])
    for figure in (auc_interval, precision_interval):
        found = figure(scores, truth, np.arange(5))
        assert (found.value, found.low, found.high) == (1.0, pytest.approx(0.025**0.5), 1.0)
    worst = auc_interval(1 - scores, truth, np.arange(5))
    assert (worst.value, worst.low, worst.high) == (0.0, 0.0, pytest.approx(1 - 0.025**0.5))


def test_average_precision_of_one_score_for_all_is_the_share_of_positives():
    truth = np.array([True, False, False, False])
    assert precision_interval(np.full(4, 0.3), truth, np.arange(4)).value == 0.25
    assert precision_interval(np.full(4, 0.3), np.zeros(4, dtype=bool), np.arange(4)) is None


def test_a_weight_counts_as_that_many_values():
    scores, truth, _ = some_scores(9, 12)
    times = np.arange(12) % 3
    weighed = rank(scores, truth, times[None].astype(float))
    repeated = rank(np.repeat(scores, times), np.repeat(truth, times))
    assert weighed.area()[0] == pytest.approx(repeated.area()[0])
    assert weighed.average_precision()[0] == pytest.approx(repeated.average_precision()[0])


def test_all_values_of_a_patient_are_drawn_together_in_every_chunk():
    weights = drawn(np.array([0, 0, 1, 1, 1, 2]), lambda taken: taken, draws=CHUNK + 50)
    assert weights.shape == (CHUNK + 50, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 4]).all()
    assert (weights[:, [0, 2, 5]].sum(axis=1) == 3).all()


def test_draws_without_an_answer_are_left_out_of_the_interval():
    found = estimate(0.5, np.array([np.nan, 0.4, 0.6, np.nan]))
    assert (found.value, found.low, found.high) == (0.5, pytest.approx(0.405), pytest.approx(0.595))
    assert estimate(0.5, np.full(3, np.nan)).low == 0.5


def test_an_interval_holds_its_share_and_is_the_same_every_time():
    rng = np.random.default_rng(1)
    hit, study = rng.random(200) < 0.8, np.repeat(np.arange(40), 5)
    found = share(hit, study)
    assert found.low < found.value < found.high
    assert found == share(hit, study)
    assert 0.05 < found.high - found.low < 0.2


def test_levels_of_one_study_that_agree_make_the_interval_wider():
    alone = np.arange(40) % 2 == 0
    together = np.repeat(alone, 10)
    wide = share(together, np.repeat(np.arange(40), 10))
    narrow = share(together, np.arange(400))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_all_hits_of_a_few_studies_are_no_certainty():
    found = share(np.ones(30, dtype=bool), np.repeat(np.arange(5), 6))
    assert found.value == found.high == 1.0
    assert found.low == pytest.approx(0.025**0.2)
    none = share(np.zeros(30, dtype=bool), np.repeat(np.arange(5), 6))
    assert none.low == none.value == 0.0
    assert none.high == pytest.approx(1 - 0.025**0.2)
    assert share(np.zeros(0, dtype=bool), np.zeros(0, dtype=int)) is None


def test_statistics_of_a_threshold():
    scores = np.array([0.9, 0.2, 0.1, 0.6, 0.3, 0.2])
    truth = np.array([True, True, False, False, False, False])
    found = fracture_statistics(scores, truth, np.array([0, 1, 0, 1, 2, 2]), 0.5)
    assert (found.sensitivity.hits, found.sensitivity.total) == (1, 2)
    assert (found.specificity.hits, found.specificity.total) == (3, 4)
    assert found.auc.value == pytest.approx((4 + 1.5) / 8)
    assert found.auc.low <= found.auc.value <= found.auc.high


def test_one_class_alone_has_no_auc_and_no_sensitivity():
    found = fracture_statistics(np.array([0.1, 0.2]), np.array([False, False]), np.array([0, 1]), 0.5)
    assert found.sensitivity is None
    assert found.auc is None
    assert found.as_json()["specificity"]["total"] == 2
    assert mean_interval(np.zeros(0), np.zeros(0, dtype=int)) is None


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_intervals_lie_within_zero_and_one_whatever_the_values(values):
    scores, truth, study = (np.array(part) for part in zip(*values, strict=True))
    found = auc_interval(scores, truth, study)
    if found is not None:
        assert 0 <= found.low <= found.high <= 1
    counted = share(truth, study)
    assert 0 <= counted.low <= counted.high <= 1
