"""Figures of known truth: right names, Dice, fractures by level, study and type, and the data sets they come from."""

from dataclasses import replace

import numpy as np
import pytest

from model.errors import UnusableVolume
from model.findings import Limitation, Vertebra
from tests.training.scripted_predictor import (
    LAMINA_OF_C5,
    ScriptedAnswer,
    ScriptedPredictor,
    findings_of,
    perfect,
    stack,
    study,
)
from training.evaluation import synthetic_sets
from training.evaluation.evaluate import StudySet, evaluate
from training.evaluation.evaluation_json import evaluation_json
from training.evaluation.judging import KnownStudy, judge
from training.evaluation.synthetic_sets import cut, seen, synthetic_set, synthetic_study, thickened
from training.synthesis.fractures import FractureKind
from training.synthesis.phantom import Phantom


def answered(study, labels) -> ScriptedAnswer:
    return ScriptedAnswer(labels, findings_of(labels, {}), np.zeros_like(labels))


def evaluated(studies, answers=perfect):
    """An evaluation of these studies, each answered by what ``answers`` makes of its phantom."""
    waiting = [answers(known.phantom) for known in studies]
    return evaluate(ScriptedPredictor(lambda _: waiting.pop(0)), StudySet("set", "what", "1–2", len(studies), studies))


def test_the_truth_itself_scores_one():
    result = judge(study(kinds=LAMINA_OF_C5), perfect(stack(kinds=LAMINA_OF_C5)))
    assert result.all_right
    assert result.enough_levels
    assert result.fractured
    assert {level.mask.dice for level in result.levels} == {1.0}
    broken = next(level for level in result.levels if level.vertebra is Vertebra.C5)
    assert (broken.fractured, broken.called, broken.kind, broken.lesion_dice) == (True, True, FractureKind.LAMINA, 1.0)
    assert result.seconds == 1.5


def test_names_off_by_one_are_wrong():
    known = study(levels=tuple(Vertebra)[:5])
    shifted = np.where(known.phantom.labels > 0, known.phantom.labels + 1, 0).astype(np.uint8)
    result = judge(known, answered(known, shifted))
    assert not result.all_right
    assert not any(level.mask.right for level in result.levels)
    assert result.wrongly_named == (Vertebra.C6,)


def test_a_sliver_of_a_level_is_not_judged_and_its_name_is_no_mistake():
    known = study(levels=(Vertebra.C1, Vertebra.C2, Vertebra.C3))
    sliver = cut(known.phantom, 0, 22)
    result = judge(KnownStudy("cut", sliver), answered(known, sliver.labels))
    assert [level.vertebra for level in result.levels] == [Vertebra.C1, Vertebra.C2]
    assert result.all_right
    assert not result.enough_levels


def test_an_absent_level_that_gets_a_name_makes_the_study_wrong():
    known = study(levels=(Vertebra.C1, Vertebra.C2))
    labels = known.phantom.labels.copy()
    labels[15:, 20:] = Vertebra.C3
    result = judge(known, answered(known, labels))
    assert [level.mask.right for level in result.levels] == [True, True]
    assert result.wrongly_named == (Vertebra.C3,)
    assert not result.all_right


def test_a_fracture_out_of_view_makes_its_level_neither_broken_nor_intact():
    phantom = stack(kinds=LAMINA_OF_C5)
    hidden = replace(phantom, fracture=np.zeros_like(phantom.fracture))
    result = judge(KnownStudy("hidden", hidden), perfect(phantom))
    level = next(level for level in result.levels if level.vertebra is Vertebra.C5)
    assert level.fractured is None
    assert result.fractured is None
    evaluation = evaluated([KnownStudy("hidden", hidden), study()])
    assert evaluation.statistics().specificity.total == 13
    assert evaluation.study_statistics().specificity.total == 1
    assert evaluation.rsna().loss == evaluated([study()]).rsna().loss


def test_an_alarm_on_a_level_that_is_not_judged_is_a_stray_alarm():
    known = study(levels=(Vertebra.C1, Vertebra.C2))
    labels = known.phantom.labels.copy()
    labels[0, :6] = Vertebra.C7
    answer = replace(answered(known, labels), findings=findings_of(labels, {Vertebra.C7: 0.8}))
    result = judge(known, answer)
    assert result.stray_alarms == (Vertebra.C7,)
    assert result.called
    assert not any(level.called for level in result.levels)


def test_a_data_set_counts_levels_studies_and_types_apart():
    kinds = {Vertebra.C2: FractureKind.HANGMAN, Vertebra.C6: FractureKind.BURST}
    studies = [study("a", kinds=kinds), study("b"), study("c", kinds={Vertebra.C2: FractureKind.HANGMAN})]

    def misses_the_burst(phantom: Phantom) -> ScriptedAnswer:
        answer = perfect(phantom)
        return replace(answer, findings=findings_of(answer.labels, {Vertebra.C2: 0.9 if phantom.kinds else 0.1}))

    found = evaluated(studies, misses_the_burst)
    levels = found.statistics()
    assert (levels.sensitivity.hits, levels.sensitivity.total) == (2, 3)
    assert (levels.specificity.hits, levels.specificity.total) == (18, 18)
    whole = found.study_statistics()
    assert (whole.sensitivity.hits, whole.specificity.hits, whole.auc.value) == (2, 1, 1.0)
    by_kind = {kind: (figure.hits, figure.total) for kind, figure in found.by_kind().items()}
    assert by_kind == {FractureKind.HANGMAN: (2, 2), FractureKind.BURST: (0, 1)}
    assert (found.lesion_hits().hits, found.lesion_hits().total) == (2, 2)
    assert evaluation_json(found)["operating_points"]["high sensitivity"]["sensitivity"]["hits"] == 2
    assert evaluation_json(found)["results"][0]["levels"]["C6"]["fractured"] is True


def test_a_mask_beside_the_fracture_is_no_hit():
    def beside(phantom: Phantom) -> ScriptedAnswer:
        answer = perfect(phantom)
        moved = np.where((answer.labels > 0) & ~phantom.fracture, answer.labels, 0).astype(np.uint8)
        return replace(answer, lesions=moved)

    found = evaluated([study(kinds=LAMINA_OF_C5)], beside)
    assert (found.lesion_hits().hits, found.lesion_hits().total) == (0, 1)
    assert found.lesion_dice().value == 0.0


def test_studies_of_few_levels_are_counted_apart_and_must_say_so():
    few = study(levels=(Vertebra.C3, Vertebra.C4))

    def says_so(phantom: Phantom) -> ScriptedAnswer:
        answer = perfect(phantom)
        return replace(answer, findings=answer.findings.with_limitations(Limitation.FEW_LEVELS))

    silent, telling = evaluated([few, study()]), evaluated([few, study()], says_so)
    assert (silent.limited().hits, telling.limited().hits) == (0, 1)
    assert silent.all_right(enough_levels=True).total == silent.all_right(enough_levels=False).total == 1


def test_a_study_that_the_predictor_refuses_is_not_right_and_finds_no_fracture():
    def refuse(_hu):
        raise UnusableVolume("too noisy")

    found = evaluate(ScriptedPredictor(refuse), StudySet("set", "what", "1", 1, [study(kinds=LAMINA_OF_C5)]))
    assert found.results[0].refused == "too noisy"
    assert found.all_right(enough_levels=True).hits == 0
    assert found.statistics().sensitivity.hits == 0
    assert found.dice().value == 0.0


def test_own_labels_have_no_dice():
    found = replace(evaluated([study()]), own_labels=True)
    assert found.dice() is None
    assert evaluation_json(found)["mean_dice"] is None


def test_thick_slices_hold_the_mean_of_the_thin_ones():
    phantom = replace(stack(), spacing_mm=(1.0, 1.0, 1.0))
    ramp = np.arange(70, dtype=np.int16)[:, None, None] * np.ones((1, 24, 24), dtype=np.int16)
    thick = thickened(replace(phantom, hu=ramp), 2.5)
    assert thick.spacing_mm == (2.5, 1.0, 1.0)
    assert thick.hu.shape == thick.labels.shape == thick.fracture.shape == (28, 24, 24)
    assert np.allclose(thick.hu[:, 0, 0], 2.5 * np.arange(28) + 0.75, atol=0.8)
    assert thick.labels[0, 10, 10] == 1
    assert thick.labels[-1, 10, 10] == 7
    assert thickened(phantom, 0.8) is phantom


def test_views_show_the_whole_neck_or_most_levels_or_a_few():
    whole = stack((*Vertebra, 8, 9))
    shown = []
    for seed in range(40):
        view = seen(whole, np.random.default_rng(seed))
        result = judge(KnownStudy("view", view), perfect(view))
        shown.append(len(result.levels))
        names = [int(level.vertebra) for level in result.levels]
        assert names == list(range(names[0], names[-1] + 1))
    assert 7 in shown
    assert {5, 6} & set(shown)
    assert {2, 3} & set(shown)


@pytest.fixture
def coarse(monkeypatch):
    """Voxels of 2 mm, so that a study takes a second."""
    monkeypatch.setattr(synthetic_sets, "IN_PLANE_MM", 2.0)


def test_a_seed_makes_a_ct_with_levels_in_view_and_makes_it_again(coarse):
    made = synthetic_study(910_000_001)
    phantom = made.phantom
    assert made.name == "seed 910000001"
    assert phantom.hu.dtype == np.int16
    assert phantom.hu.shape == phantom.labels.shape == phantom.fracture.shape
    assert 0.5 <= phantom.spacing_mm[0] <= 3.0
    assert phantom.spacing_mm[1:] == (2.0, 2.0)
    assert len(judge(made, perfect(phantom)).levels) >= 2
    again = next(iter(synthetic_set(1, 910_000_001).studies)).phantom
    assert np.array_equal(again.hu, phantom.hu)
    assert np.array_equal(again.labels, phantom.labels)
    assert again.kinds == phantom.kinds
