"""What a bundle's provenance tells of its training data, and the doubt where it was split otherwise."""

from dataclasses import replace

import pytest

from tests.training.prepared_phantoms import BarDataSet, prepare_bars
from training.evaluation.trained_on import doubts, trained_on, training_data
from training.fitting.provenance import data_record
from training.preparation.prepared import Split


@pytest.fixture
def prepared(tmp_path):
    return prepare_bars(tmp_path / "prepared", BarDataSet("bars", 3), BarDataSet("others", 1))


def provenance(*folders):
    return {"training": {"levels": {"prepared": data_record(folders), "step": 3}, "fractures": {"continues": None}}}


def test_a_bundle_of_the_same_split_raises_no_doubt(prepared):
    said = provenance(prepared)
    assert doubts(said, prepared, Split.TEST) == []
    assert trained_on(said, prepared) == "bars, others: this very split"


def test_a_bundle_that_was_trained_on_another_split_of_a_measured_data_set_raises_doubt(prepared):
    moved = tuple(replace(one, split=Split.TRAIN) for one in prepared.studies if one.data_set == "bars")
    said = {"continues": [provenance(replace(prepared, studies=moved))]}
    [doubt] = doubts(said, prepared, Split.TEST)
    assert "another split of bars" in doubt
    assert doubts(said, prepared, Split.VALIDATION) == []
    assert trained_on(said, prepared) == "bars: another split"


def test_a_bundle_of_synthetic_data_names_no_folder(prepared):
    said = {"training": {"levels": {"prepared": [], "data": "parametric phantom"}}}
    assert training_data(said) == frozenset()
    assert doubts(said, prepared, Split.TEST) == []
    assert trained_on(said, prepared).startswith("no prepared folder")
