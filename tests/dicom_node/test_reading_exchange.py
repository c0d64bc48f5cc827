"""The child's answer is not taken on trust."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dicom_node.errors import Ineligible, OutOfResources, ReadingAborted, UnusableSeries
from dicom_node.reading_answer import parse_answer
from dicom_node.reading_exchange import (
    ANSWER_NAME,
    VOLUME_NAME,
    ReadingLimits,
    ReadingRequest,
    error_answer,
)
from dicom_node.selection import SeriesVerdict
from tests.dicom_node.small_series import SPACING_MM, read_here, small_hu
from training.synthesis.phantom_series import write_series


def test_a_request_survives_its_json():
    request = ReadingRequest(("/a/ä", "/b"), "/scratch", ReadingLimits(cpu_seconds=3))
    assert ReadingRequest.from_json(request.to_json()) == request


@pytest.mark.parametrize("error", [Ineligible, UnusableSeries, ReadingAborted, OutOfResources])
def test_errors_come_back_as_what_they_were(tmp_path, error):
    verdict = SeriesVerdict("1.2", False, "It is thick.", 1)
    answer = error_answer(error("A sentence.", code="A_CODE"), [verdict], ["1 file was left out."])
    (tmp_path / ANSWER_NAME).write_text(json.dumps(answer))
    with pytest.raises(error, match="A sentence") as raised:
        parse_answer(tmp_path)
    assert raised.value.code == "A_CODE"
    if error is not OutOfResources:
        assert raised.value.verdicts == (verdict,)
        assert raised.value.notes == ("1 file was left out.",)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "null", '{"verdicts": [], "notes": [], "error": {"kind": "SystemExit"}}']
)
def test_what_is_no_answer_is_an_aborted_reading(tmp_path, content):
    (tmp_path / ANSWER_NAME).write_text(content)
    with pytest.raises(ReadingAborted):
        parse_answer(tmp_path)


@pytest.fixture(scope="module")
def answer_of_a_child(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answer")
    read_here(write_series(small_hu(), SPACING_MM, folder / "in"), folder / "scratch")
    return folder / "scratch"


@pytest.fixture
def answered(answer_of_a_child, tmp_path):
    shutil.copytree(answer_of_a_child, tmp_path / "scratch")
    return tmp_path / "scratch"


def tampered(scratch: Path, key: str, value: object) -> None:
    answer = json.loads((scratch / ANSWER_NAME).read_text())
    answer["series"][key] = value
    (scratch / ANSWER_NAME).write_text(json.dumps(answer))


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", [1, 2, 3]),
        ("shape", [INFINITY, 44, 40]),
        ("uid", "9.9"),
        ("transfer_syntax_uid", "1.2.840.10008.1.2.1.99"),
        ("warnings", ["SURPRISE"]),
        ("grid", []),
        ("common", []),
        ("common", {"Modality": "CT"}),
        ("headers", []),
        ("headers", None),
        ("headers", [{"InstanceNumber": 1}] * 48),
    ],
)
def test_an_answer_that_contradicts_itself_is_no_answer(answered, key, value):
    tampered(answered, key, value)
    with pytest.raises(ReadingAborted):
        parse_answer(answered)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("position", [1, 2]),
        ("position", [0.0, 0.0, NAN]),
        ("position", [0.0, 0.0, INFINITY]),
        ("orientation", [1.0, 0.0, 0.0]),
        ("orientation", [NAN] * 6),
        ("orientation", [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
        ("orientation", [2.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
        ("pixel_spacing_mm", [1.0, 0.0]),
        ("pixel_spacing_mm", [1.0]),
        ("slice_spacing_mm", -1.0),
        ("slice_spacing_mm", NAN),
        ("frame_of_reference_uid", 7),
        ("slices", [0] * 48),
        ("slices", list(range(1, 49))),
        ("slices", list(range(-1, 47))),
        ("slices", [*range(47), 100_000]),
        ("slices", [*range(47), INFINITY]),
        ("slices", list(range(47))),
        ("rows", [-1] * 48),
        ("rows", [0] * 47),
        ("rows", [*[0] * 47, 100_000]),
        ("columns", [*[0] * 47, 100_000]),
        ("columns", None),
    ],
)
def test_a_grid_that_cannot_be_is_no_answer(answered, key, value):
    answer = json.loads((answered / ANSWER_NAME).read_text())
    tampered(answered, "grid", {**answer["series"]["grid"], key: value})
    with pytest.raises(ReadingAborted):
        parse_answer(answered)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"verdicts": ' * 50_000])
def test_an_answer_nested_beyond_measure_is_no_answer(tmp_path, content):
    (tmp_path / ANSWER_NAME).write_text(content)
    with pytest.raises(ReadingAborted):
        parse_answer(tmp_path)


def test_headers_of_the_answer_are_sanitized_again(answered):
    answer = json.loads((answered / ANSWER_NAME).read_text())
    answer["series"]["common"]["StudyDescription"] = ["<b>x</b>\n"]
    answer["series"]["common"]["PatientComments"] = ["canary"]
    answer["series"]["common"]["PatientID"] = [{"a": "canary"}]
    answer["series"]["headers"][0]["InstanceNumber"] = ["1\n2"]
    answer["series"]["headers"][0]["PatientName"] = ["canary"]
    (answered / ANSWER_NAME).write_text(json.dumps(answer))
    header = parse_answer(answered).series.headers[0]
    assert header.StudyDescription == "b x /b"
    assert "PatientComments" not in header
    assert header.InstanceNumber is None
    assert "canary" not in str(header)


def test_headers_of_one_series_do_not_change_with_each_other(answered):
    first, second, *_ = parse_answer(answered).series.headers
    description = str(second.StudyDescription)
    del first["StudyDescription"]
    assert second.StudyDescription == description


def test_pickled_volumes_are_never_loaded(answered):
    np.save(answered / VOLUME_NAME, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ReadingAborted):
        parse_answer(answered)
