"""A prepared split is measured from its sources: leaks fail, rows stay apart, an interrupted run goes on."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from model.errors import UnusableVolume
from model.findings import Vertebra
from tests.training.prepared_phantoms import BarDataSet, key_of, prepare_bars
from tests.training.scripted_predictor import POINTS, ScriptedAnswer, ScriptedPredictor, findings_of, stack
from training.datasets.studies import DataSetError
from training.evaluation.evaluate_run import run_prepared
from training.evaluation.evaluation import Refused
from training.evaluation.prepared_measure import PreparedSplit, measure_prepared
from training.evaluation.result_log import ResultLog
from training.evaluation.worst_cases import Gallery
from training.preparation.prepared import Split, write_study

BUNDLE = SimpleNamespace(
    name="scripted", version="1", sha256="a" * 64,
    metadata=SimpleNamespace(operating_point="balanced", operating_points=POINTS, provenance={}),
)  # fmt: skip
BROKEN = {0: (Vertebra.C2,), 1: (Vertebra.C5, Vertebra.C6), 2: (Vertebra.C5,)}


def says(probabilities):
    """A predictor that finds every bar and says these probabilities of the study with each number."""

    def answer(hu):
        labels = stack().labels
        return ScriptedAnswer(labels, findings_of(labels, probabilities.get(key_of(hu), {})), np.zeros_like(labels))

    return ScriptedPredictor(answer, BUNDLE)


SEES_TWO = says({0: {Vertebra.C2: 0.9}, 1: {Vertebra.C5: 0.8}, 4: {Vertebra.C1: 0.7}})


@pytest.fixture
def bars():
    return BarDataSet("bars", 6, BROKEN)


def opened(tmp_path, *data_sets, split=Split.TEST):
    return PreparedSplit(prepare_bars(tmp_path / "prepared", *data_sets, split=split), data_sets, split, 3)


def measured(output, data, predictor=SEES_TWO, worst=0):
    """The evaluations of a run without its report."""
    output.mkdir(exist_ok=True)
    gallery = Gallery(output, worst)
    found = measure_prepared(predictor, data, ResultLog(output, data.measurement(predictor.bundle.sha256)), gallery)
    return found, gallery.finish()


def figures(output):
    return json.loads((output / "figures.json").read_text(encoding="utf-8"))


def test_figures_of_a_split_are_those_of_its_answers(tmp_path, bars):
    text = run_prepared(tmp_path / "out", opened(tmp_path, bars), SEES_TWO, 2)
    [found] = figures(tmp_path / "out")["data_sets"]
    sensitivity, specificity = found["levels"]["sensitivity"], found["levels"]["specificity"]
    assert (sensitivity["hits"], sensitivity["total"]) == (2, 4)
    assert (specificity["hits"], specificity["total"]) == (37, 38)
    assert found["whole_studies"]["sensitivity"]["hits"] == 2
    assert found["mean_dice"]["value"] == 1.0
    assert found["surface_distance_mm"]["C3"]["value"] == 0.0
    assert found["kinds"]["lamina"]["hits"] == 2
    assert sorted(found["sites"]) == ["site 0", "site 1"]
    assert "not a medical device" in text
    assert sorted(path.name for path in (tmp_path / "out" / "worst" / "bars").iterdir()) == sorted(
        case.rpartition("(")[2].rstrip(")") + f"-{case[:2]}-{'ALARM' if 'alarm' in case else 'MISSED'}.png"
        for case in figures(tmp_path / "out")["worst"]["bars"]
    )
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "(no picture)" not in page
    assert page.count("<img") == 5 + 3


def test_each_data_set_has_its_row_and_one_without_masks_has_no_dice(tmp_path, bars):
    plain = BarDataSet("plain", 2, {1: (Vertebra.C7,)}, masked=False)
    run_prepared(tmp_path / "out", opened(tmp_path, bars, plain), SEES_TWO, 1)
    first, second = figures(tmp_path / "out")["data_sets"]
    assert (first["data"], second["data"]) == ("bars", "plain")
    assert (first["studies"], second["studies"]) == (6, 2)
    assert second["mean_dice"] is None
    assert second["levels"]["sensitivity"]["total"] == 1
    assert "no study has a mask" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8").lower()


def test_a_patient_in_two_splits_fails_before_anything_is_measured(tmp_path, bars):
    folder = tmp_path / "prepared"
    one, other = prepare_bars(folder, bars).studies[:2]
    write_study(folder, replace(other, patient=one.patient, split=Split.TRAIN))
    with pytest.raises(DataSetError) as caught:
        PreparedSplit.opened(folder, Split.TEST)
    assert one.name in str(caught.value)
    assert other.name in str(caught.value)
    assert bars.reads == []


def test_an_interrupted_run_goes_on_and_ends_as_if_it_had_not_been(tmp_path, bars):
    data = opened(tmp_path, bars)
    whole = measured(tmp_path / "whole", data, worst=1)
    bars.reads.clear()
    order = [int(study.key) for study in sorted(bars.studies(), key=lambda study: name_of(data, study.key))]
    broken = replace(data, sources=[replace(bars, missing=frozenset(order[3:4]))])
    with pytest.raises(DataSetError, match="the files are gone"):
        measured(tmp_path / "out", broken, worst=1)
    assert len(bars.reads) == 4
    with (tmp_path / "out" / "results.jsonl").open("a") as file:
        file.write('{"name": "cut off in the mid')
    bars.reads.clear()
    again = measured(tmp_path / "out", data, worst=1)
    assert bars.reads == [str(number) for number in order[3:]]
    assert again == whole
    pictures = [sorted((tmp_path / place / "worst" / "bars").iterdir()) for place in ("out", "whole")]
    assert [path.name for path in pictures[0]] == [path.name for path in pictures[1]]


def name_of(data, key):
    return next(study.name for study in data.prepared.studies if study.patient == f"bars {key}")


def test_results_of_another_bundle_are_not_mixed_in(tmp_path, bars):
    data = opened(tmp_path, bars)
    measured(tmp_path / "out", data)
    other = SimpleNamespace(**{**vars(BUNDLE), "sha256": "b" * 64})
    with pytest.raises(DataSetError, match="name another output folder"):
        measured(tmp_path / "out", data, ScriptedPredictor(SEES_TWO.answer, other))


def test_a_damaged_result_is_named(tmp_path, bars):
    data = opened(tmp_path, bars)
    measured(tmp_path / "out", data)
    log = tmp_path / "out" / "results.jsonl"
    log.write_text(log.read_text().replace('"levels"', '"lvls"', 1))
    with pytest.raises(DataSetError, match="no result"):
        measured(tmp_path / "out", data)


def test_a_refused_study_is_wrong_and_named(tmp_path, bars):
    def refuses_the_first(hu):
        if key_of(hu) == 0:
            raise UnusableVolume("too noisy")
        return SEES_TWO.answer(hu)

    [found], _ = measured(tmp_path / "out", opened(tmp_path, bars), ScriptedPredictor(refuses_the_first, BUNDLE))
    assert [result.refused for result in found.refused] == ["too noisy"]
    assert found.statistics().specificity.hits == 31
    assert found.statistics(refused=Refused.LEFT_OUT).sensitivity.total == 3


def test_a_study_that_left_its_source_is_named(tmp_path, bars):
    data = opened(tmp_path, bars)
    with pytest.raises(DataSetError, match="bring it back"):
        measured(tmp_path / "out", replace(data, sources=[BarDataSet("bars", 5, BROKEN)]))


def test_studies_that_were_never_prepared_are_told(tmp_path, bars):
    data = opened(tmp_path, bars)
    known = data.prepared.studies[0].name
    rows = [f"{known},test", "gone-1,test", "gone-2,train", *(f"gone-{number},TEST" for number in range(10, 40))]
    (data.prepared.folder / "split.csv").write_text("\n".join(["name,split", *rows]), encoding="utf-8")
    assert data.unread()[:2] == ("gone-1", "gone-10")
    [warning] = data.warnings()
    assert warning.startswith("31 studies of this split could not be read")
    assert warning.endswith("and 11 more.")


def test_an_empty_split_is_refused_and_another_split_is_no_test(tmp_path, bars):
    data = opened(tmp_path, bars, split=Split.VALIDATION)
    assert data.warnings() == ["Measured on the validation split, which training has seen: nothing here is a test."]
    assert opened(tmp_path, bars).warnings() == []
    with pytest.raises(DataSetError, match="the test split is empty"):
        measured(tmp_path / "out", replace(data, split=Split.TEST))
