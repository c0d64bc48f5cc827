"""The worst mistakes are the most confident ones, and their pictures show the level."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from model.findings import Vertebra
from tests.training.scripted_predictor import (
    LAMINA_OF_C5,
    ScriptedAnswer,
    ScriptedPredictor,
    findings_of,
    stack,
    study,
)
from training.evaluation.evaluate import StudySet, evaluate
from training.evaluation.judging import judge, judge_refused
from training.evaluation.worst_cases import Mistake, WorstPainter, worst_cases


def answer_with(phantom, probabilities) -> ScriptedAnswer:
    labels = phantom.labels.copy()
    return ScriptedAnswer(labels, findings_of(labels, probabilities), np.where(phantom.fracture, labels, 0))


def result(name, probabilities, kinds=None):
    known = study(name, kinds=kinds)
    return judge(known, answer_with(known.phantom, probabilities))


def test_mistakes_are_ordered_by_confidence_and_each_kind_has_its_own_worst():
    results = [
        result("a", {Vertebra.C1: 0.6}),
        result("b", {Vertebra.C2: 0.9, Vertebra.C3: 0.7}),
        result("c", {Vertebra.C5: 0.3}, LAMINA_OF_C5),
        result("d", {Vertebra.C5: 0.01}, LAMINA_OF_C5),
        result("e", {Vertebra.C5: 0.8}, LAMINA_OF_C5),
    ]
    found = [(case.study, case.level.name, case.mistake) for case in worst_cases(results, 2)]
    assert found == [
        ("d", "C5", Mistake.MISSED),
        ("c", "C5", Mistake.MISSED),
        ("b", "C2", Mistake.ALARM),
        ("b", "C3", Mistake.ALARM),
    ]
    assert worst_cases(results, 1)[0].title == "C5: fracture missed, lamina, probability 0.010"


def test_a_wrong_name_is_a_mistake_and_a_refused_study_has_none():
    known = study(levels=(Vertebra.C1, Vertebra.C2))
    labels = np.where(known.phantom.labels > 0, known.phantom.labels + 1, 0).astype(np.uint8)
    wrong = judge(known, ScriptedAnswer(labels, findings_of(labels, {}), np.zeros_like(labels)))
    titles = [case.title for case in worst_cases([wrong], 5)]
    assert "C1: level not rightly named, taken for C2, Dice 0.00" in titles
    assert worst_cases([judge_refused(study(kinds=LAMINA_OF_C5), "noise")], 5) == ()


def test_only_pictures_of_the_worst_are_left(tmp_path):
    studies = [study(name, kinds=LAMINA_OF_C5) for name in ("first one", "second", "third")]
    answers = [answer_with(one.phantom, {Vertebra.C5: p}) for one, p in zip(studies, (0.3, 0.1, 0.2), strict=True)]
    painter = WorstPainter(tmp_path, 1)
    evaluate(ScriptedPredictor(lambda _: answers.pop(0)), StudySet("s", "w", "1", 3, studies), [painter])
    assert (tmp_path / "first-one-C5-MISSED.png").exists()
    [case] = painter.finish()
    assert case.study == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["second-C5-MISSED.png"]


def test_a_run_that_goes_on_ends_with_the_same_cases(tmp_path):
    studies = [study(name, kinds=LAMINA_OF_C5) for name in ("a", "b")]
    answers = [answer_with(one.phantom, {Vertebra.C5: p}) for one, p in zip(studies, (0.1, 0.2), strict=True)]
    results = [judge(one, answer) for one, answer in zip(studies, answers, strict=True)]
    painter = WorstPainter(tmp_path, 1, results[:1])
    painter(studies[1], answers[1], results[1])
    assert [case.study for case in painter.finish()] == ["a"]


@pytest.mark.parametrize("found", [True, False])
def test_a_picture_shows_the_level_and_what_was_marked_whether_it_was_found_or_not(tmp_path, found):
    known, phantom = study(kinds=LAMINA_OF_C5), stack(kinds=LAMINA_OF_C5)
    if not found:
        phantom = replace(phantom, fracture=np.zeros_like(phantom.fracture), labels=np.zeros_like(phantom.labels))
    painter = WorstPainter(tmp_path, 1)
    answer = answer_with(phantom, {Vertebra.C5: 0.2})
    painter(known, answer, judge(known, answer))
    with Image.open(tmp_path / "study-C5-MISSED.png") as picture:
        assert picture.size == (1100, 560)
        colors = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    yellow = np.abs(colors - (255, 208, 64)).max(axis=1) < 40
    assert yellow.sum() > 50
