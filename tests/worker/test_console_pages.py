"""The console's pages: what stands on them, for whom, and what the acts on them do."""

import io
import re
import zipfile

import pytest
from markupsafe import escape
from PIL import Image
from pydicom import dcmread
from sqlalchemy import select, update

from tests.worker.console_client import Answer, console
from tests.worker.scripted import ScriptedPacs, Workplace, analyzed, copy_records, workplace
from worker import studies
from worker.console_records import Act, AuditEntry
from worker.records import NoteKind, ResultObject, Study
from worker.states import StudyState
from worker.study_numbers import StudyNumbers

UID = re.compile(r"Study Instance UID</dt><dd>([0-9.]+)<")


@pytest.fixture
def delivered(tmp_path, named_template):
    """One study, delivered, behind a console."""
    pacs = ScriptedPacs()
    with analyzed(named_template, tmp_path / "data", pacs.peer) as place:
        assert place.deliver() is StudyState.DELIVERED
        with console(place) as running:
            yield place, running
    pacs.stop()


@pytest.fixture
def failed(tmp_path, named_template):
    """One study that failed for want of a destination."""
    with analyzed(named_template, tmp_path / "data") as place:
        assert place.deliver() is StudyState.FAILED
        with console(place) as running:
            yield place, running


def acts(place: Workplace) -> list[tuple[Act, str, int | None]]:
    with place.database.reading() as session:
        rows = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
    sign_ups = {Act.USER_ADDED, Act.PASSWORD_SET, Act.SIGNED_IN, Act.TOKEN_MADE}
    return [(row.act, row.by, row.study_id) for row in rows if row.act not in sign_ups]


def identity_of(place: Workplace) -> dict[str, str]:
    """Whose the one study is, as its files say."""
    header = dcmread(next(iter(sorted(place.settings.spool_dir.rglob("*.dcm")))), stop_before_pixels=True)
    return {"name": str(header.PatientName), "number": header.PatientID, "accession": header.AccessionNumber}


def names_anybody(place: Workplace, answer: Answer) -> bool:
    return any(text in answer.text for text in identity_of(place).values())


def test_a_study_is_found_from_the_list_and_its_page_says_where_it_is_and_why(delivered):
    place, running = delivered
    browser = running.browser("viewer")
    assert browser.get("/").location == "/studies"
    listed = browser.get("/studies").text
    assert 'href="/studies/1">Study 1</a>' in listed
    page = browser.get("/studies/1").text
    assert UID.search(page)[1] == place.view().line.study_instance_uid
    for told in (
        "DELIVERED",
        "64 instances, taken for complete: nothing came for a while",
        "ANALYZED",
        "suspected fracture",
        "90.0 %",
        "Not a medical device",
        "chosen",
        "ACCEPTED",
        "boxes 1",
        "input.sha256",
    ):
        assert told in page, told
    assert browser.get("/studies/2").status == 404


def test_the_page_names_the_line_of_the_rules_that_decided(delivered):
    place, running = delivered
    line = "rule 'neck-ct' (line 8 of rules.toml): analyze, urgent"
    with place.database.transaction() as session:
        studies.note(session, studies.position_of(session, 1), NoteKind.RULE, place.clock(), line)
    browser = running.browser("viewer")
    assert f"<dt>Rules</dt><dd>{escape(line)}</dd>" in browser.get("/studies/1").text
    assert running.script("viewer").get("/studies/1").json["rule"] == line


def test_only_who_may_see_identity_sees_it_and_it_is_written_down(delivered):
    place, running = delivered
    assert not names_anybody(place, running.browser("admin").get("/studies/1"))
    assert acts(place) == []
    seeing = running.browser("viewer-i")
    page = seeing.get("/studies/1").text
    assert all(text in page for text in identity_of(place).values())
    assert acts(place) == [(Act.IDENTITY_SHOWN, "viewer-i", 1)]
    seeing.get("/studies/1", X_Looks_By_Itself="1")
    assert len(acts(place)) == 1
    assert not names_anybody(place, seeing.get("/studies"))
    assert seeing.post("/account/names", form_of="/account", names="on").status == 303
    assert identity_of(place)["name"] in seeing.get("/studies").text
    assert acts(place)[-1] == (Act.IDENTITY_SHOWN, "viewer-i", None)
    assert seeing.post("/account/names", form_of="/account").status == 303
    assert not names_anybody(place, seeing.get("/studies"))


def test_programs_are_not_told_whose_a_study_is(delivered):
    place, running = delivered
    script = running.script("admin-i")
    assert not names_anybody(place, script.get("/studies/1"))
    assert not names_anybody(place, script.get("/studies"))


def test_a_study_is_found_by_its_number_which_is_in_no_address(delivered):
    place, running = delivered
    number = identity_of(place)["accession"]
    StudyNumbers(place.database, place.settings, running.services.key, place.clock).run()
    browser = running.browser("viewer")
    found = browser.post("/studies/search", form_of="/studies", text=number)
    assert found.status == 303
    assert number not in found.location
    assert "Study 1" in browser.get(found.location).text
    nothing = browser.post("/studies/search", form_of="/studies", text="no such number")
    assert "No study." in browser.get(nothing.location).text
    by_uid = browser.post("/studies/search", form_of="/studies", text=place.view().line.study_instance_uid)
    assert by_uid.location == "/studies/1"


def test_the_list_is_narrowed_by_what_its_address_says(delivered):
    _, running = delivered
    expected = {
        "": [1],
        "state=DELIVERED": [1],
        "state=FAILED": [],
        "state=FAILED&state=DELIVERED": [1],
        "sender=SENDER": [1],
        "sender=OTHER": [],
        "level=C5": [1],
        "level=C4": [],
        "level=C5&least=95": [],
        "least=90&most=90": [1],
        "from=2000-01-01": [1],
        "to=2000-01-01": [],
        "held=on": [],
        "number=abc": [],
        "from=&to=&level=&least=&most=&sender=&state=": [1],
    }
    script = running.script("viewer")
    found = {query: [row["id"] for row in script.get(f"/studies?{query}").json["studies"]] for query in expected}
    assert found == expected


def test_an_address_that_makes_no_sense_is_refused(delivered):
    _, running = delivered
    script = running.script("viewer")
    senseless = ["state=GONE", "level=T1", "least=101", "least=x", "most=nan", "from=yesterday", "to=9999-12-31"]
    senseless += ["before=5", "after=x-y", "limit=x"]
    assert {query: script.get(f"/studies?{query}").status for query in senseless} == dict.fromkeys(senseless, 400)


def test_pages_of_the_list_keep_what_was_searched_for(tmp_path, boxes_folder):
    with workplace(tmp_path / "data") as place:
        place.receive(boxes_folder)
        copy_study(place, 3)
        with console(place) as running:
            script = running.script("viewer")
            page = script.get("/studies?limit=3&sender=SENDER").json
            assert [row["id"] for row in page["studies"]] == [102, 101, 100]
            assert "sender=SENDER" in page["older"]
            rest = script.get(page["older"]).json
            assert [row["id"] for row in rest["studies"]] == [1]
            assert [row["id"] for row in script.get(rest["newer"]).json["studies"]] == [102, 101, 100]
            html = running.browser("viewer").get("/studies?limit=3&sender=SENDER").text
            assert 'rel="next"' in html


def test_a_failed_study_says_the_next_step_and_is_retried(failed):
    place, running = failed
    browser = running.browser("operator")
    page = browser.get("/studies/1").text
    assert "NO_DESTINATION" in page
    assert "Set CSPINE_DESTINATION" in page
    assert browser.post("/studies/1/retry", form_of="/studies/1").location == "/studies/1"
    assert "The study waits again (SENDING)." in browser.get("/studies/1").text
    assert place.state() is StudyState.SENDING
    assert acts(place) == [(Act.RETRIED, "operator", 1)]
    assert "by operator" in browser.get("/studies/1").text
    refused = browser.post("/studies/1/retry", form_of="/studies/1")
    assert refused.status == 409
    assert "cannot be done" in refused.text
    assert len(acts(place)) == 1


def test_a_study_is_held_raised_and_released(place):
    place.complete()
    with console(place) as running:
        browser = running.browser("operator")
        assert browser.post("/studies/1/hold", form_of="/studies/1").status == 303
        assert "ON HOLD" in browser.get("/studies").text
        assert browser.post("/studies/1/priority", form_of="/studies/1", priority="7").status == 303
        assert "Priority</dt><dd>7" in browser.get("/studies/1").text
        for wrong in ("11", "-1", "x", "", "99999"):
            assert browser.post("/studies/1/priority", form_of="/studies/1", priority=wrong).status in {400, 409}
        assert browser.post("/studies/1/release", form_of="/studies/1").status == 303
        assert "ON HOLD" not in browser.get("/studies").text
    assert [act for act, _, _ in acts(place)] == [Act.HELD, Act.PRIORITIZED, Act.RELEASED]


def test_results_are_sent_again_to_a_destination_that_is_configured(delivered):
    place, running = delivered
    browser = running.browser("operator")
    name = str(place.settings.destination)
    assert browser.post("/studies/1/send", form_of="/studies/1", destination="elsewhere@10.0.0.1:104").status == 400
    assert browser.post("/studies/1/send", form_of="/studies/1", destination=name).status == 303
    assert place.state() is StudyState.SENDING
    assert place.deliver() is StudyState.DELIVERED
    assert acts(place) == [(Act.SENT_AGAIN, "operator", 1)]


def test_results_are_retracted_once(delivered):
    place, running = delivered
    browser = running.browser("operator")
    assert browser.post("/studies/1/retract", form_of="/studies/1", reason="bored").status == 400
    assert browser.post("/studies/1/retract", form_of="/studies/1", reason="patient-safety").status == 303
    page = browser.get("/studies/1").text
    assert "1 version(s) withdrawn" in page
    assert "These results are withdrawn" in page
    assert place.deliver() is StudyState.WITHDRAWN
    again = browser.post("/studies/1/retract", form_of="/studies", reason="quality")
    assert again.status == 409


def test_results_are_downloaded_and_that_is_written_down(delivered):
    place, running = delivered
    browser = running.browser("operator-i")
    packed = browser.get("/studies/1/results.zip")
    assert packed.headers["Content-Disposition"] == 'attachment; filename="study-1-results.zip"'
    with place.database.reading() as session:
        stored = {row.variant: row for row in session.scalars(select(ResultObject))}
    with zipfile.ZipFile(io.BytesIO(packed.body)) as archive:
        assert {name.removesuffix(".dcm") for name in archive.namelist()} == set(stored)
        one = archive.read("report.dcm")
    single = browser.get(f"/studies/1/results/{stored['report'].id}.dcm")
    assert single.body == one == (place.settings.results_dir / stored["report"].path).read_bytes()
    assert [act for act, _, _ in acts(place)] == [Act.DOWNLOADED, Act.DOWNLOADED]
    assert browser.get(f"/studies/2/results/{stored['report'].id}.dcm").status == 404


def test_the_picture_is_the_stored_one_without_its_header(delivered):
    place, running = delivered
    browser = running.browser("viewer")
    address = re.search(r'<img src="([^"]+)"', browser.get("/studies/1").text)[1]
    answer = browser.get(address)
    with place.database.reading() as session:
        row = session.scalars(select(ResultObject).where(ResultObject.kind == "summary")).one()
    pixels = dcmread(place.settings.results_dir / row.path).pixel_array
    with Image.open(io.BytesIO(answer.body)) as picture:
        assert (picture.format, picture.info) == ("PNG", {})
        assert picture.tobytes() == pixels.tobytes()
    assert browser.get(address, If_None_Match=answer.headers["ETag"]).status == 304
    (place.settings.results_dir / row.path).unlink()
    assert browser.get(address).status == 200  # drawn already


def test_changed_results_are_neither_shown_nor_given_away(delivered):
    place, running = delivered
    for path in place.settings.results_dir.rglob("*.dcm"):
        path.write_bytes(b"changed")
    browser = running.browser("operator-i")
    address = re.search(r'<img src="([^"]+)"', browser.get("/studies/1").text)[1]
    answers = [browser.get(path) for path in (address, "/studies/1/results.zip", address.replace(".png", ".dcm"))]
    assert [answer.status for answer in answers] == [409, 409, 409]


def test_pictures_are_of_summaries_alone(delivered):
    place, running = delivered
    with place.database.reading() as session:
        report = session.scalars(select(ResultObject.id).where(ResultObject.kind == "report")).first()
    assert running.browser("viewer").get(f"/studies/1/results/{report}.png").status == 404


def test_queues_show_what_waits_and_the_mode_is_set(place):
    place.complete()
    with console(place) as running:
        browser = running.browser("operator")
        page = browser.get("/queues").text
        assert "No process shows a sign of life" in page
        assert browser.post("/queues/mode", form_of="/queues", mode="paused").status == 303
        assert "PAUSED" in browser.get("/queues").text
        assert browser.post("/queues/mode", form_of="/queues", mode="off").status == 400
        shown = running.script("viewer").get("/queues").json
        assert (shown["mode"], shown["studies"]["QUEUED"]) == ("paused", 1)
        place.analyzer().analyze(*place.position())
        assert place.state() is StudyState.QUEUED
        assert browser.post("/queues/mode", form_of="/queues", mode="running").status == 303
        assert browser.post("/queues/mode", form_of="/queues", mode="running").status == 303
        place.analyzer().analyze(*place.position())
        assert place.state() is StudyState.SENDING
    assert [act for act, _, _ in acts(place)] == [Act.MODE_CHANGED, Act.MODE_CHANGED]


def test_what_failed_is_replayed_by_its_code_or_all_of_it(failed):
    place, running = failed
    copy_study(place, 250)
    with place.database.transaction() as session:
        session.execute(update(Study).where(Study.id <= 103).values(failure_code="POISON"))
    browser = running.browser("operator")
    page = browser.get("/queues/failed").text
    assert "POISON" in page
    assert "Older" in page
    poison = browser.post("/queues/failed/replay", form_of="/queues/failed", code="POISON")
    assert poison.location == "/queues/failed"
    assert "5 studies wait again." in browser.get("/queues/failed").text
    script = running.script("operator")
    assert script.get("/queues/failed").json["failed_by_code"] == {"NO_DESTINATION": 246}
    assert script.post("/queues/failed/replay").json["replayed"] == 246
    assert script.get("/queues/failed").json["studies"] == []
    with place.database.reading() as session:
        assert set(session.scalars(select(Study.state))) == {StudyState.QUEUED, StudyState.SENDING}
    assert len([act for act, _, _ in acts(place) if act is Act.RETRIED]) == 251


def copy_study(place: Workplace, count: int) -> None:
    """As many further studies like the one there is, numbered from 100."""
    with place.database.transaction() as session:
        first = session.scalars(select(Study)).one()
        values = {column.name: getattr(first, column.name) for column in Study.__table__.columns}
        rows = [values | {"id": 100 + number, "study_instance_uid": f"1.{number}"} for number in range(count)]
        session.execute(Study.__table__.insert(), rows)


def test_administrators_see_users_and_the_trail(failed):
    place, running = failed
    running.browser("operator").post("/studies/1/retry", form_of="/studies/1")
    browser = running.browser("admin")
    assert "operator-i" in browser.get("/users").text
    trail = browser.get("/audit").text
    assert "RETRIED" in trail
    assert "127.0.0.1" in trail
    mine = running.script("admin").get("/audit?by=operator").json["entries"]
    assert {entry["by"] for entry in mine} == {"operator"}
    assert [entry["study"] for entry in mine if entry["act"] == "RETRIED"] == [1]
    with place.database.transaction() as session:
        at = place.clock()
        session.add_all([AuditEntry(at=at, by="x", act=Act.HELD, address="", detail=str(n)) for n in range(150)])
    page = running.script("admin").get("/audit").json
    assert len(page["entries"]) == 100
    assert len(running.script("admin").get(page["older"]).json["entries"]) > 50
    assert browser.get("/audit?before=x").status == 400


def test_every_page_is_complete_html(failed):
    _, running = failed
    browser = running.browser("admin-i")
    for path in ("/studies", "/studies/1", "/queues", "/queues/failed", "/users", "/audit", "/account"):
        page = browser.get(path)
        assert page.status == 200, path
        assert_accessible(page.text)
    assert_accessible(running.anonymous().get("/sign-in").text)


@pytest.mark.peer
def test_every_page_answers_over_postgresql(tmp_path, named_template, empty_postgresql):
    pacs = ScriptedPacs()
    with analyzed(named_template, tmp_path / "data", pacs.peer) as source:
        assert source.deliver() is StudyState.DELIVERED
        with workplace(tmp_path / "data", pacs.peer, database_url=empty_postgresql) as place:
            copy_records(source.database, place.database)
            with console(place) as running:
                browser = running.browser("admin-i")
                pages = ("/studies?level=C5&least=10", "/studies/1", "/queues", "/queues/failed", "/users", "/audit")
                assert {path: browser.get(path).status for path in pages} == dict.fromkeys(pages, 200)
                name = str(place.settings.destination)
                assert browser.post("/studies/1/send", form_of="/studies/1", destination=name).status == 303
                assert browser.post("/queues/mode", form_of="/queues", mode="paused").status == 303
                assert browser.post("/studies/1/retract", form_of="/studies/1", reason="quality").status == 303
                assert place.state() is StudyState.SENDING
    pacs.stop()


def assert_accessible(html: str) -> None:
    """What can be told from the markup alone: language, title, one h1, landmarks, labels, headers of tables."""
    assert '<html lang="en">' in html
    assert len(re.findall(r"<h1>[^<]+</h1>", html)) == 1
    assert len(re.findall("<main ", html)) == 1
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    labelled = set(re.findall(r'<label for="([^"]+)"', html))
    for kind, attributes in re.findall(r"<(input|select)\b([^>]*)>", html):
        if re.search(r'type="(hidden|checkbox|radio)"', attributes):
            continue
        assert re.search(r'id="([^"]+)"', attributes)[1] in labelled, (kind, attributes)
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        assert "<caption>" in table
        assert 'scope="col"' in table
    for target in re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', html):
        assert target in ids
    assert not re.search(r"<[^>]+\s(?:style|on\w+)=", html)
