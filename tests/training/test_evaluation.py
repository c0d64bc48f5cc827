"""Nothing flatters: refused, unknown and missed levels are counted, patients are drawn whole."""

from dataclasses import replace

import numpy as np
import pytest

from model.findings import Vertebra
from tests.training.known_results import MASK, evaluation, level, refused, result
from training.evaluation.cautions import cautions
from training.evaluation.evaluation import UNKNOWN_KIND, UNKNOWN_SITE, Refused
from training.evaluation.evaluation_json import evaluation_json
from training.evaluation.rsna_loss import Exam, rsna_loss

C1, C2, C3 = Vertebra.C1, Vertebra.C2, Vertebra.C3


def counts(share):
    return share.hits, share.total


def test_a_refused_study_is_wrong_in_sensitivity_and_in_specificity_and_may_be_left_out():
    found = evaluation(result("a", level(C1, 0.9, True), level(C2, 0.1)), refused("b", C1), refused("c"))
    with_refused, without = found.statistics(), found.statistics(refused=Refused.LEFT_OUT)
    assert (counts(with_refused.sensitivity), counts(without.sensitivity)) == ((1, 2), (1, 1))
    assert (counts(with_refused.specificity), counts(without.specificity)) == ((1, 14), (1, 1))
    assert with_refused.auc.value < without.auc.value == 1.0
    whole, answered = found.study_statistics(), found.study_statistics(Refused.LEFT_OUT)
    assert (counts(whole.sensitivity), counts(whole.specificity)) == ((1, 2), (0, 1))
    assert counts(answered.sensitivity) == (1, 1)
    assert answered.specificity is None
    assert any(line.startswith("2 of 3 studies were refused") for line in cautions(found))
    assert evaluation_json(found)["refused"] == {"b": "too noisy", "c": "too noisy"}


def test_refusing_everything_pays_nowhere():
    found = evaluation(refused("a", C1), refused("b"))
    statistics = found.statistics()
    assert (statistics.sensitivity.value, statistics.specificity.value, statistics.auc.value) == (0.0, 0.0, 0.0)
    assert found.rsna().loss.value == pytest.approx(np.log(2))
    assert found.level_calibration() is None


def test_a_level_of_unknown_truth_is_counted_and_named_and_not_judged():
    known = result("a", level(C1, 0.9, True), level(C2, 0.8, None), unknown=(C2,))
    doubtful = result("b", level(C1, 0.2), unknown=(C2, C3))
    found = evaluation(known, doubtful)
    assert found.unknown() == {C2: ("a", "b"), C3: ("b",)}
    assert found.levels().truth.tolist() == [True, False]
    assert found.studies().truth.tolist() == [True]
    lines = cautions(found)
    assert any(line.startswith("3 levels were not judged") for line in lines)
    assert any(line.startswith("1 studies may have a fracture or not") for line in lines)


def test_a_level_that_was_not_found_counts_as_intact_and_is_told():
    found = evaluation(
        result("a", level(C1, 0.0, True, found=False), level(C2, 0.1)), result("b", level(C1, 0.9, True))
    )
    assert counts(found.statistics().sensitivity) == (1, 2)
    assert found.not_found() == {C1: 1}
    assert "Levels that the bundle did not find, taken as probability 0: C1 1." in cautions(found)
    assert found.level_calibration().observed == pytest.approx(1 / 2)


def test_studies_of_one_patient_are_drawn_together():
    rng = np.random.default_rng(1)
    hits = rng.random(24) < 0.5
    results = [result(f"{n}", level(C1, 0.9 if hits[n // 4] else 0.1, True), level(C2, 0.1)) for n in range(24)]
    apart = evaluation(*results)
    together = evaluation(*(replace(one, patient=f"p{n // 4}") for n, one in enumerate(results)))
    assert (apart.patients, together.patients) == (24, 6)
    narrow, wide = apart.statistics().sensitivity, together.statistics().sensitivity
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
    assert any("24 studies of 6 patients" in line for line in cautions(together))


def test_types_and_sites_have_rows_of_their_own():
    found = evaluation(
        result("a", level(C1, 0.9, True, kind="Jefferson"), site="north"),
        result("b", level(C1, 0.2, True, kind="odd"), level(C2, 0.9, True), site="south"),
        result("c", level(C1, 0.2), level(C2, 0.1), level(C3, 0.6)),
    )
    assert {kind: counts(share) for kind, share in found.by_kind().items()} == {
        "Jefferson": (1, 1),
        "odd": (0, 1),
        UNKNOWN_KIND: (1, 1),
    }
    sites = found.by_site()
    assert list(sites) == [UNKNOWN_SITE, "north", "south"]
    assert counts(sites["south"].statistics().sensitivity) == (1, 2)
    assert counts(sites[UNKNOWN_SITE].statistics().specificity) == (2, 3)
    assert evaluation_json(found)["sites"]["north"]["studies"] == 1


def test_confusion_counts_names_and_levels_that_are_not_there():
    wrong = replace(MASK, right=False, named_as=C2, distance=None, dice=0.0)
    gone = replace(wrong, named_as=None)
    found = evaluation(
        result("a", level(C1, 0.1, mask=replace(MASK, named_as=C1)), level(C3, 0.1, mask=wrong), wrongly_named=(C2,)),
        result("b", level(C3, 0.1, mask=gone)),
    )
    table = found.confusion()
    assert (table[1, 1], table[3, 2], table[3, 0], table[0, 2]) == (1, 1, 1, 1)
    assert table.sum() == 4
    assert found.dice(C1).value == 0.9
    assert found.dice(C3).value == 0.0
    assert found.surface_mm().value == 0.4
    assert found.without_surface() == (2, 3)
    assert counts(found.all_right(enough_levels=False)) == (0, 2)


def test_studies_without_masks_have_fractures_and_no_names():
    found = evaluation(result("a", level(C1, 0.9, True)))
    assert found.all_right(enough_levels=False) is None
    assert found.dice() is None
    assert not found.confusion().any()
    assert evaluation_json(found)["results"][0]["all_right"] is None


def test_whole_studies_reach_a_goal_by_the_threshold_of_their_levels():
    results = [result(f"{n}", level(C1, 0.02 * n, n >= 20), level(C2, 0.01)) for n in range(40)]
    found = evaluation(*(replace(one, probability=0.5) for one in results))
    sensitive, specific = found.study_decisions()
    assert 0.4 <= sensitive.threshold.value <= 0.42
    assert sensitive.sensitivity.value >= 0.95
    assert specific.specificity.value >= 0.97


def test_the_rsna_loss_is_that_of_the_answers():
    found = evaluation(result("a", level(C1, 0.9, True), level(C2, 0.2)), result("b", level(C1, 0.3), level(C3, 0.1)))
    exams = [
        Exam(0.9, True, {C1: (0.9, True), C2: (0.2, False)}),
        Exam(0.3, False, {C1: (0.3, False), C3: (0.1, False)}),
    ]
    assert found.rsna().loss.value == pytest.approx(rsna_loss(exams))


def test_few_values_of_a_class_are_told():
    lines = cautions(evaluation(result("a", level(C1, 0.9, True), level(C2, 0.2))))
    assert any(line.startswith("Only 1 fractured levels") for line in lines)
    assert any(line.startswith("There are no intact studies") for line in lines)
    assert any("100% of these studies have a fracture" in line for line in lines)
