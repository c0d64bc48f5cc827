"""The console for programs: a script watches a study and retries it; the same answers as the pages, documented."""

import http.client
import json
import re
import threading
from urllib.parse import urlencode

import pytest

from tests.conftest import PROJECT
from tests.worker.console_client import console
from tests.worker.scripted import ScriptedPacs, analyzed
from worker.console.app import make_app
from worker.destinations import Destination
from worker.states import StudyState

DOCUMENT = PROJECT / "worker" / "console" / "API.md"


@pytest.fixture
def failed(tmp_path, named_template):
    """A study that failed for want of a destination, behind a console."""
    with analyzed(named_template, tmp_path / "data") as place:
        assert place.deliver() is StudyState.FAILED
        with console(place) as running:
            yield place, running


def test_a_script_watches_a_study_and_retries_it_until_it_is_delivered(failed):
    place, running = failed
    pacs = ScriptedPacs()
    headers = {"Authorization": f"Bearer {running.script('operator').token}", "Accept": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)

    def ask(method: str, path: str, **values: str) -> dict:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request(method, path, urlencode(values) if values else None, headers | form)
        answer = connection.getresponse()
        return json.loads(answer.read())

    [found] = ask("GET", "/studies?state=FAILED")["studies"]
    study = ask("GET", f"/studies/{found['id']}")
    assert (study["state"], study["failure_code"]) == ("FAILED", "NO_DESTINATION")
    assert "CSPINE_DESTINATION" in study["next_step"]
    clerk = threading.Thread(target=place.deliver, args=([Destination("pacs", peer=pacs.peer)],))
    assert ask("POST", f"/studies/{found['id']}/retry")["study"]["state"] == "SENDING"
    clerk.start()
    seen = set()
    while (state := ask("GET", f"/studies/{found['id']}")["state"]) not in {"DELIVERED", "FAILED"}:
        seen.add(state)
    clerk.join()
    assert state == "DELIVERED"
    assert seen <= {"SENDING"}
    told = ask("POST", f"/studies/{found['id']}/retry")
    assert list(told) == ["error"]
    connection.close()
    pacs.stop()


def test_errors_are_json_too(failed):
    _, running = failed
    script = running.script("viewer")
    for method, path, status in (
        ("GET", "/studies/99", 404),
        ("GET", "/nowhere", 404),
        ("POST", "/studies/1/retry", 403),
        ("POST", "/studies", 405),
        ("GET", "/studies?state=GONE", 400),
        ("GET", "/audit", 403),
    ):
        answer = script.request(method, path, "" if method == "POST" else None)
        assert answer.status == status, path
        assert answer.headers["Content-Type"] == "application/json"
        assert list(answer.json) == ["error"]


def test_a_signed_in_browser_may_ask_for_json_as_well(failed):
    _, running = failed
    answer = running.browser("viewer").get("/studies", Accept="application/json")
    assert [row["id"] for row in answer.json["studies"]] == [1]


def test_a_program_that_finds_a_study_by_its_number_is_led_to_it(failed):
    _, running = failed
    script = running.script("viewer")
    found = script.post("/studies/search", text=script.get("/studies/1").json["study_instance_uid"])
    assert (found.status, found.location) == (303, "/studies/1")


def test_the_document_names_every_endpoint_of_programs_and_no_other(failed):
    _, running = failed
    rules = make_app(running.services).url_map.iter_rules()
    of_people = ("auth.", "account.", "static", "studies.start")
    served = {
        f"{method} {re.sub('<int:([a-z]+)_id>', lambda m: m[1].upper(), rule.rule)}"
        for rule in rules
        if not rule.endpoint.startswith(of_people)
        for method in rule.methods & {"GET", "POST"}
    }
    documented = set(re.findall(r"^\| `((?:GET|POST) [^`?]+)", DOCUMENT.read_text(), re.MULTILINE))
    assert documented == served


def test_the_document_names_every_value_of_a_study(failed):
    _, running = failed
    text = DOCUMENT.read_text()
    study = running.script("viewer").get("/studies/1").json
    assert [name for name in study if f"`{name}`" not in text] == []
    queues = running.script("viewer").get("/queues").json
    assert [name for name in queues if f"`{name}`" not in text] == []
