"""worker.failures: every code that this product raises is explained; the back-off."""

import ast
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dicom_node.errors
from dicom_node.errors import DicomNodeError
from tests.conftest import PROJECT
from worker.failures import EXPLANATIONS, FINER, Backoff, FailureCode, explain

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def raised_codes() -> set[str]:
    """Every literal ``code`` of the DICOM side and the model: class attributes and ``code=`` arguments."""
    codes = set()
    for package in ("dicom_node", "model"):
        for path in (PROJECT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                named = isinstance(node, ast.keyword) and node.arg == "code"
                assigned = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "code"
                if (named or assigned) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                    codes.add(node.value.value)
    return {code for code in codes if code.isupper()}


@pytest.mark.parametrize("code", FailureCode)
def test_every_code_has_a_sentence_and_a_next_step(code: FailureCode):
    explanation = EXPLANATIONS[code]
    assert explanation.sentence.endswith(".")
    assert explanation.next_step.endswith(".")


def test_every_code_of_the_dicom_errors_is_in_the_table():
    classes = [kind for kind in vars(dicom_node.errors).values() if isinstance(kind, type)]
    codes = {kind.code for kind in classes if issubclass(kind, DicomNodeError)}
    assert codes <= set(FailureCode) | set(FINER)


def test_every_code_that_is_raised_anywhere_is_explained():
    assert raised_codes() - set(FailureCode) - set(FINER) == set()


@pytest.mark.parametrize("code", sorted(FINER))
def test_a_finer_code_is_explained_by_its_kind(code: str):
    assert code not in set(FailureCode)
    assert explain(code) is EXPLANATIONS[FINER[code]]


def test_codes_fit_into_their_column():
    assert all(len(code) <= 32 for code in [*FailureCode, *FINER])


def test_an_unknown_code_is_still_explained():
    assert explain("SOMETHING_NEW").next_step


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_a_pause_stays_within_its_bounds(retries: int, jitter: float):
    pause = Backoff(30, 900, 259200).pause(retries, jitter).total_seconds()
    assert 22.5 <= pause <= 900


def test_pauses_double_up_to_the_longest():
    backoff = Backoff(30, 900, 259200)
    assert [backoff.pause(n, 0).total_seconds() for n in range(7)] == [30, 60, 120, 240, 480, 900, 900]


def test_tries_end_when_the_first_failure_is_too_old():
    backoff = Backoff(30, 900, 3600)
    assert not backoff.exhausted(NOW, NOW + timedelta(seconds=3599))
    assert backoff.exhausted(NOW, NOW + timedelta(seconds=3600))
