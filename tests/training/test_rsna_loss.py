"""The loss of the RSNA challenge: its weights, its anchors, and the constants that a network must beat."""

import numpy as np
import pytest

from model.findings import Vertebra
from training.evaluation.rsna_loss import Exam, constant_rsna_loss, rsna_figures, rsna_loss

PREVALENCE = (0.072, 0.142, 0.036, 0.054, 0.080, 0.137, 0.195)
"""Of C1 .. C7 in the 2,019 training studies of the challenge; 961 of the studies have a fracture."""


def exam(overall, fractured, **levels):
    return Exam(overall, fractured, {Vertebra[name]: value for name, value in levels.items()})


def answered(truth, values):
    """An exam of these truths (C1 .. C7) with these probabilities (the study, C1 .. C7)."""
    levels = zip(Vertebra, zip(values[1:], (bool(one) for one in truth), strict=True), strict=True)
    return Exam(values[0], bool(any(truth)), dict(levels))


def challenge_like(count=2019):
    """Truths (exams, levels) with the prevalences of the challenge."""
    rng = np.random.default_rng(1)
    truths = np.zeros((count, 7), dtype=np.bool_)
    for row in range(round(0.476 * count)):
        while not truths[row].any():
            truths[row] = rng.random(7) < np.array(PREVALENCE) / 0.476 * 0.69  # which gives these prevalences again
    return truths


def test_a_half_everywhere_scores_log_two():
    exams = [answered(truth, [0.5] * 8) for truth in challenge_like(50)]
    assert rsna_loss(exams) == pytest.approx(0.693, abs=5e-4)
    assert rsna_loss([]) is None
    assert constant_rsna_loss([]) is None


def test_the_study_and_its_fractures_weigh_as_in_the_challenge():
    found = rsna_loss([exam(0.8, True, C2=(0.7, True), C3=(0.1, False))])
    assert found == pytest.approx(-(14 * np.log(0.8) + 2 * np.log(0.7) + np.log(0.9)) / 17)
    intact = rsna_loss([exam(0.2, False, C2=(0.3, False))])
    assert intact == pytest.approx(-(7 * np.log(0.8) + np.log(0.7)) / 8)


def test_certainty_that_is_wrong_is_clipped_and_not_infinite():
    assert rsna_loss([exam(1.0, False)]) == pytest.approx(-np.log(1e-15), rel=1e-3)


def test_the_best_constants_score_on_such_studies_what_they_score_in_the_challenge():
    truths = challenge_like()
    assert truths.mean(axis=0) == pytest.approx(PREVALENCE, abs=0.02)
    exams = [answered(truth, [0.5] * 8) for truth in truths]
    assert constant_rsna_loss(exams) == pytest.approx(0.557, abs=0.006)


def test_no_other_constants_do_better_and_each_level_has_its_own():
    truths = challenge_like(60)
    best = constant_rsna_loss([answered(truth, [0.5] * 8) for truth in truths])
    rng = np.random.default_rng(2)
    for _ in range(50):
        values = rng.uniform(0.02, 0.6, 8)
        assert best <= rsna_loss([answered(truth, values) for truth in truths])
    first = [exam(0.5, True, C1=(0.5, True), C2=(0.5, False))] * 3
    assert constant_rsna_loss(first) == pytest.approx(0.0, abs=1e-9)


def test_an_answer_no_better_than_constants_gains_nothing_for_sure():
    rng = np.random.default_rng(3)
    truths = challenge_like(60)
    rng.shuffle(truths)
    guessed = rsna_figures([answered(truth, rng.uniform(0.05, 0.5, 8)) for truth in truths], np.arange(60))
    assert guessed.gain.high < 0.1
    assert guessed.gain.value == pytest.approx(guessed.constants.value - guessed.loss.value)
    knowing = rsna_figures([answered(truth, [any(truth) * 0.8 + 0.1, *(truth * 0.8 + 0.1)]) for truth in truths],
                           np.arange(60))  # fmt: skip
    assert knowing.loss.value == pytest.approx(-np.log(0.9))
    assert knowing.gain.low > 0
    assert rsna_figures([], np.zeros(0, dtype=int)) is None
