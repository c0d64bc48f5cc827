"""Figures are what they say: shares, areas, intervals that resample whole studies, the RSNA loss."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.figures import (
    Exam,
    auc,
    auc_interval,
    constant_rsna_loss,
    fracture_statistics,
    mean_interval,
    resampled,
    rsna_loss,
    share,
)


def test_auc_counts_pairs():
    truth = np.array([True, True, False, False])
    assert auc(np.array([0.9, 0.8, 0.1, 0.2]), truth) == 1.0
    assert auc(np.array([0.5, 0.5, 0.5, 0.5]), truth) == 0.5
    assert auc(np.array([0.5]), np.array([True])) is None


def test_all_values_of_a_study_are_drawn_together():
    weights = resampled(np.array([0, 0, 1, 1, 1, 2]), draws=50)
    assert weights.shape == (50, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 4]).all()
    assert (weights[:, [0, 2, 5]].sum(axis=1) == 3).all()


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


def test_the_rsna_loss_of_a_half_everywhere_is_that_of_a_coin():
    exams = [Exam(0.5, True, ((0.5, True), (0.5, False))), Exam(0.5, False, ((0.5, False),) * 7)]
    assert rsna_loss(exams) == pytest.approx(np.log(2))
    assert rsna_loss([]) is None
    assert constant_rsna_loss([]) is None


def test_the_rsna_loss_weighs_the_study_and_its_fractures_as_the_challenge_does():
    exam = Exam(0.8, True, ((0.7, True), (0.1, False)))
    weighed = 14 * np.log(0.8) + 2 * np.log(0.7) + np.log(0.9)
    assert rsna_loss([exam]) == pytest.approx(-weighed / 17)


def test_no_other_constants_do_better_than_the_baseline():
    exams = [Exam(0.0, k % 3 == 0, tuple((0.0, k % 3 == 0 and j == 2) for j in range(7))) for k in range(12)]
    best = constant_rsna_loss(exams)
    for overall in (0.2, 0.4, 0.5, 0.7):
        for level in (0.02, 0.05, 0.1, 0.3):
            other = [Exam(overall, e.fractured, tuple((level, truth) for _, truth in e.levels)) for e in exams]
            assert best <= rsna_loss(other) + 1e-12
