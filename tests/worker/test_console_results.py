"""What the page of a result says first: fracture detected, no fracture detected, or why nothing is known."""

import copy

import pytest
from sqlalchemy import select, update

from tests.worker.console_client import console
from tests.worker.scripted import analyzed
from tests.worker.test_console_pages import assert_accessible
from worker.records import Run, Study
from worker.states import StudyState


@pytest.fixture(scope="module")
def site(tmp_path_factory, analyzed_template):
    """A console with one analyzed study, whose rows the tests change."""
    with analyzed(analyzed_template, tmp_path_factory.mktemp("site") / "data") as place, console(place) as running:
        yield place, running.script("viewer"), running.browser("viewer")


def change(place, *, findings=lambda values: values, withdrawn=False, **columns):
    """Set the rows of the study and its run."""
    with place.database.transaction() as session:
        run = session.scalars(select(Run)).one()
        run.findings = findings(copy.deepcopy(run.findings))
        run.withdrawn_at = place.clock() if withdrawn else None
        session.execute(update(Study).values({"state": StudyState.SENDING, "generation": 1, **columns}))


def levels(*fractured, found=("C1", "C2", "C3", "C4", "C5", "C6", "C7")):
    def findings(values):
        values["levels"] = [
            {"vertebra": name, "probability": 0.9 if name in fractured else 0.1, "fractured": name in fractured}
            for name in found
        ]
        return values

    return findings


FAILED = {"state": StudyState.FAILED, "generation": 2, "failure_code": "UNUSABLE_SERIES", "failure_text": "Too few."}
CASES = {
    "fractures": ({"findings": levels("C2", "C5")}, "Fracture detected", ["C2", "C5"], []),
    "none": ({"findings": levels()}, "No fracture detected", [], []),
    "levels missing": ({"findings": levels("C3", found=("C3", "C4"))}, "Fracture detected", ["C3"], ["C1", "C2", "C5"]),
    "no level": ({"findings": levels(found=())}, "Not analyzed", [], []),
    "withdrawn": ({"findings": levels("C5"), "withdrawn": True}, "Not analyzed", [], []),
    "newer instances": ({"state": StudyState.RECEIVING, "generation": 2}, "Not analyzed yet", [], []),
    "failed": (FAILED, "Not analyzed", [], []),
}


@pytest.mark.parametrize("name", CASES)
def test_the_result_says_first_what_is_known(site, name):
    place, script, browser = site
    changes, title, fractured, missing = CASES[name]
    change(place, **changes)
    result = script.get("/studies/1/result").json
    assert (result["result"], result["fractured_levels"]) == (title, fractured)
    assert result["levels_not_found"][: len(missing)] == missing
    assert (result["findings"] is not None) == (title in {"Fracture detected", "No fracture detected"})
    page = browser.get("/studies/1/result").text
    assert f'<h2 class="large">{title}</h2>' in page
    assert "Not a medical device" in page
    assert_accessible(page)


def test_a_study_that_was_not_analyzed_says_why_and_what_to_do(site):
    place, _, browser = site
    change(place, **FAILED)
    page = browser.get("/studies/1/result").text
    assert "Too few." in page
    assert "Next step:" in page


def test_there_is_no_result_of_a_study_that_is_not_there(site):
    _, script, _ = site
    assert [script.get(path).status for path in ("/studies/2/result", "/images/1", "/uploads/1")] == [404, 404, 404]
