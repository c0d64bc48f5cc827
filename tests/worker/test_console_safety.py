"""The console among strangers: every endpoint for every role, forged requests, hostile texts, bounds, headers."""

import logging
import re
import socket
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from tests.worker.console_client import PASSWORD, ROLES, ROOT, Browser, Console, console
from tests.worker.scripted import Workplace, analyzed, workplace
from training.synthesis.phantom_series import Identity, SeriesOptions
from worker.console import access
from worker.console.app import make_app
from worker.console_records import Act, AuditEntry, Role, UserSession
from worker.lockout import NAME_LIMIT
from worker.records import Delivery, Run, Series, Study, StudyEvent
from worker.settings import Settings
from worker.sign_in import IDLE
from worker.states import StudyState

# Who gets past the guard: everybody (-), or from which role on; +i: only with the right to see identity.
TABLE = {
    ("GET", "/sign-in"): "-",
    ("POST", "/sign-in"): "-",
    ("GET", "/set-up/<secret>"): "-",
    ("POST", "/set-up/<secret>"): "-",
    ("GET", "/static/<path:filename>"): "-",
    ("POST", "/sign-out"): "viewer",
    ("GET", "/account"): "viewer",
    ("POST", "/account/password"): "viewer",
    ("POST", "/account/names"): "viewer+i",
    ("GET", "/"): "viewer",
    ("GET", "/studies"): "viewer",
    ("POST", "/studies/search"): "viewer",
    ("GET", "/studies/<int:study_id>"): "viewer",
    ("POST", "/studies/<int:study_id>/retry"): "operator",
    ("POST", "/studies/<int:study_id>/hold"): "operator",
    ("POST", "/studies/<int:study_id>/release"): "operator",
    ("POST", "/studies/<int:study_id>/priority"): "operator",
    ("POST", "/studies/<int:study_id>/send"): "operator",
    ("POST", "/studies/<int:study_id>/retract"): "operator",
    ("GET", "/studies/<int:study_id>/results/<int:result_id>.png"): "viewer",
    ("GET", "/studies/<int:study_id>/results/<int:result_id>.dcm"): "operator+i",
    ("GET", "/studies/<int:study_id>/results.zip"): "operator+i",
    ("GET", "/studies/<int:study_id>/result"): "viewer",
    ("GET", "/uploads"): "operator",
    ("POST", "/uploads/study"): "operator",
    ("POST", "/uploads/images"): "operator",
    ("GET", "/uploads/<int:upload_id>"): "viewer",
    ("GET", "/images/<int:image_id>"): "viewer",
    ("GET", "/images/<int:image_id>/overlay.png"): "viewer",
    ("GET", "/queues"): "viewer",
    ("POST", "/queues/mode"): "operator",
    ("GET", "/queues/failed"): "viewer",
    ("POST", "/queues/failed/replay"): "operator",
    ("GET", "/users"): "admin",
    ("GET", "/audit"): "admin",
}
USERS = (*ROLES, *(f"{role}-i" for role in ROLES))


@pytest.fixture
def running(tmp_path):
    """A console over an empty installation."""
    with workplace(tmp_path / "data") as place, console(place) as made:
        yield made


def endpoints(running: Console) -> dict[tuple[str, str], str]:
    """Every method and path of the application, with the name of its endpoint."""
    rules = make_app(running.services).url_map.iter_rules()
    methods = {"GET", "POST", "PUT", "PATCH", "DELETE"}
    return {(method, rule.rule): rule.endpoint for rule in rules for method in rule.methods & methods}


def concrete(rule: str) -> str:
    """A path that the rule takes; nothing has the key 9."""
    path = rule.replace("<path:filename>", "console.css").replace("<secret>", "spent")
    return re.sub(r"<int:\w+>", "9", path)


def allowed(entry: str, user: str) -> bool:
    if entry == "-":
        return True
    role, _, identity = entry.partition("+")
    enough = ROLES.index(user.removesuffix("-i")) >= ROLES.index(role)
    return enough and (not identity or user.endswith("-i"))


def test_every_endpoint_is_in_the_table_and_says_what_the_table_says(running):
    found = endpoints(running)
    assert set(found) == set(TABLE)
    app = make_app(running.services)
    for key, entry in TABLE.items():
        need = access.need_of(app, found[key])
        assert need is not None, key
        stated = "-" if need.role is None else need.role.value + ("+i" if need.identity else "")
        assert stated == entry, key


def test_every_role_gets_past_the_guard_exactly_where_the_table_says(running):
    for user in USERS:
        script = running.script(user)
        for (method, rule), entry in TABLE.items():
            answer = script.request(method, concrete(rule), "" if method == "POST" else None)
            assert (answer.status != 403) == allowed(entry, user), (user, method, rule, answer.status)
            assert answer.status != 500


def test_nobody_gets_past_the_sign_in_but_to_what_is_for_everybody(running):
    for (method, rule), entry in TABLE.items():
        browser = running.anonymous()
        if method == "POST":
            token = browser.csrf_token("/sign-in")
            answer = browser.request("POST", concrete(rule), f"csrf_token={token}")
        else:
            answer = browser.get(concrete(rule))
        is_sent_to_sign_in = answer.status == 303 and answer.location.startswith("/sign-in")
        assert is_sent_to_sign_in == (entry != "-"), (method, rule, answer.status)
        told = running.anonymous().request(
            method, concrete(rule), "" if method == "POST" else None, Accept="application/json"
        )
        if entry != "-":
            assert told.status == (400 if method == "POST" else 401), (method, rule)


def test_a_view_that_names_no_role_is_shut(running):
    app = make_app(running.services)
    app.add_url_rule("/forgotten", "forgotten", lambda: "open")
    script = running.script("admin-i")
    answer = app.test_client().get(
        "/forgotten", headers={"Authorization": f"Bearer {script.token}", "Host": "localhost"}
    )
    assert answer.status_code == 403


def test_every_post_needs_the_token_of_its_form(running):
    for (method, rule), entry in TABLE.items():
        if method != "POST":
            continue
        browser = running.browser("admin-i") if entry != "-" else running.anonymous()
        for body in ("", "csrf_token=forged", f"csrf_token={running.browser('admin-i').csrf_token('/studies')}"):
            assert browser.request("POST", concrete(rule), body).status == 400, (rule, body)


def test_a_wrong_token_of_a_script_is_never_made_good_by_a_cookie(running):
    browser = running.browser("admin")
    browser.token = "cspine_made_up"
    answer = browser.get("/studies")
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert browser.request("POST", "/queues/mode", "mode=paused").status == 401


def test_signing_in_leads_where_one_wanted_to_go_and_nowhere_else(running):
    browser = running.anonymous()
    asked = browser.get("/studies?state=FAILED")
    assert asked.location == "/sign-in?next=/studies?state%3DFAILED"
    assert 'value="/studies?state=FAILED"' in browser.get(asked.location).text
    for wanted in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb", ""):
        answer = running.anonymous().post("/sign-in", form_of="/sign-in", name="viewer", password=PASSWORD, next=wanted)
        assert answer.location == "/studies", wanted


def test_the_session_gets_a_new_secret_when_somebody_signs_in_and_ends_on_the_server(running):
    browser = running.anonymous()
    browser.get("/sign-in")
    before = dict(browser.cookies)
    assert browser.sign_in("viewer").status == 303
    stolen = Browser(running.port, cookies=dict(browser.cookies))
    assert browser.cookies != before
    assert stolen.get("/studies").status == 200
    assert browser.post("/sign-out", form_of="/studies").status == 303
    assert stolen.get("/studies").status == 303
    assert browser.get("/studies").status == 303


def test_a_session_that_ended_says_so(running):
    browser = running.browser("viewer")
    with running.services.database.transaction() as session:
        session.execute(update(UserSession).values(seen_at=running.services.now() - IDLE))
    assert browser.get("/studies", X_Looks_By_Itself="1").status == 401
    assert browser.get("/studies").status == 303
    assert "You were signed out" in browser.get("/sign-in").text


def test_a_role_that_was_taken_is_gone_at_once(running):
    browser, script = running.browser("admin"), running.script("admin")
    running.services.accounts.change("admin", Role.VIEWER, ROOT, sees_identity=False)
    assert browser.get("/audit").status == 303
    assert script.get("/audit").status == 403
    running.services.accounts.disable("admin", ROOT)
    assert script.get("/studies").status == 401


def test_too_many_wrong_passwords_are_answered_as_one(running):
    browser = running.anonymous()
    answers = [browser.sign_in("viewer", "wrong words of mine") for _ in range(NAME_LIMIT + 1)]
    answers += [browser.sign_in("viewer"), browser.sign_in("nobody")]
    assert {answer.status for answer in answers} == {401}
    assert len({re.sub(r'value="[^"]*"', "", answer.text) for answer in answers}) == 1


def test_cookies_stay_in_this_site_and_away_from_scripts(running, tmp_path):
    header = running.anonymous().get("/sign-in").headers["Set-Cookie"]
    assert re.fullmatch(r"cspine=[^;]+; HttpOnly; Path=/; SameSite=Strict", header)
    settings = Settings(data_dir=tmp_path / "tls", console_https=True, console_names=frozenset({"cspine.example"}))
    with workplace(tmp_path / "tls") as place, console(place, settings, users=False) as secure:
        answer = secure.anonymous().get("/sign-in", Host="cspine.example")
        assert re.fullmatch(
            r"__Host-cspine=[^;]+; Secure; HttpOnly; Path=/; SameSite=Strict", answer.headers["Set-Cookie"]
        )
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_every_answer_has_the_headers(running):
    browser = running.browser("viewer-i")
    for path in ("/studies", "/studies/9", "/static/live.js", "/nowhere", "/audit", "/sign-in", "/account"):
        headers = browser.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        for part in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
            assert part in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == ("public, max-age=3600" if path.startswith("/static") else "no-store")
        assert headers["Server"] is None


def test_pages_hold_no_script_style_or_address_of_elsewhere(running):
    for path in ("/studies", "/queues", "/queues/failed", "/account", "/users", "/audit"):
        page = running.browser("admin-i").get(path).text
        assert re.findall(r"<script[^>]*>", page) == ['<script src="/static/live.js" defer>']
        assert "<style" not in page
        assert not re.search(r'(?:src|href|action)="(?!/|#|\?)', page)
    for name in ("live.js", "console.css"):
        assert not re.search(
            r"https?://|@import|eval\(|innerHTML\s*=[^=]", running.anonymous().get(f"/static/{name}").text
        )


def test_a_request_for_another_host_is_refused(running):
    browser = running.anonymous()
    assert browser.get("/sign-in", Host="evil.example").status == 400
    assert browser.get("/sign-in", Host=f"localhost:{running.port}").status == 200
    assert browser.get("/sign-in", X_Forwarded_Host="evil.example").status == 200


def test_the_address_of_who_asks_is_believed_to_the_proxy_alone(tmp_path):
    forged = {"X_Forwarded_For": "203.0.113.7"}
    for proxy, address in (("", "127.0.0.1"), ("127.0.0.1", "203.0.113.7")):
        folder = tmp_path / (proxy or "none")
        with workplace(folder) as place, console(place, Settings(data_dir=folder, console_proxy=proxy)) as running:
            browser = running.anonymous()
            token = browser.csrf_token("/sign-in")
            body = f"csrf_token={token}&name=viewer&password=wrong+words+of+mine"
            assert browser.request("POST", "/sign-in", body, **forged).status == 401
            with place.database.reading() as session:
                refused = session.scalars(select(AuditEntry).where(AuditEntry.act == Act.SIGN_IN_REFUSED)).one()
            assert (refused.by, refused.address) == ("viewer", address)


def test_bodies_and_headers_have_bounds(running):
    browser = running.browser("viewer")
    large = "text=" + "x" * 100_000
    assert browser.request("POST", "/studies/search", large).status == 413
    assert browser.request("POST", "/studies/search", "x" * 1_000_000).status == 413
    assert browser.get("/studies", X_Large="x" * 20_000).status == 431
    many = "&".join(f"f{number}=1" for number in range(5000))
    assert browser.request("POST", "/studies/search", many).status in {400, 413}


def test_a_request_that_is_none_gets_no_more_than_an_error(running):
    for sent in (b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"\x00" * 100):
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(4096)
        assert answer == b"" or answer.startswith(b"HTTP/1.")
    assert running.anonymous().get("/sign-in").status == 200


HOSTILE = "<script>alert(1)</script>"
MARKUP = "\"'><img src=x onerror=alert(1)>&{{7*7}}"


def test_hostile_text_is_shown_and_never_run(tmp_path, named_template):
    with analyzed(named_template, tmp_path / "data") as place:
        assert place.deliver() is StudyState.FAILED
        with place.database.transaction() as session:
            study = session.scalars(select(Study)).one()
            study.calling_ae_title, study.peer_address = "<b>&\"'</b>", HOSTILE[:64]
            study.failure_text = MARKUP
            session.scalars(select(Series)).one().verdict = MARKUP
            run = session.scalars(select(Run)).one()
            run.bundle_name = HOSTILE
            run.manifest = {**run.manifest, "seconds": {HOSTILE: 1.0}}
            run.findings = {**run.findings, "limitations": [{"code": "X", "text": MARKUP}]}
            session.add(Delivery(result_object_id=1, destination=MARKUP, comment=HOSTILE))
            session.add(StudyEvent(study_id=1, at=place.clock(), kind="READING", generation=1, detail=HOSTILE))
            session.add(AuditEntry(at=place.clock(), by="x", act=Act.HELD, address="", detail=MARKUP))
        with console(place) as running:
            browser = running.browser("admin-i")
            for path in (
                "/studies/1",
                "/studies",
                "/queues",
                "/queues/failed",
                "/audit",
                "/studies?number=%22%3E%3Cb%3E",
            ):
                page = browser.get(path).text
                assert "<img src=x" not in page
                assert "alert(1)</script>" not in page
                assert "<b>" not in page
                assert re.findall(r"<script[^>]*>", page) == ['<script src="/static/live.js" defer>']
            assert "&lt;script&gt;alert(1)" in browser.get("/studies/1").text


def test_a_patients_name_with_markup_is_text(tmp_path):
    from tests.worker.scripted import write_boxes  # noqa: PLC0415

    identity = replace(Identity(seed=5), patient_name="Doe^<b>Jane</b>&\"'")
    write_boxes(tmp_path / "series", SeriesOptions(identity=identity))
    with workplace(tmp_path / "data") as place:
        place.receive(tmp_path / "series")
        with console(place) as running:
            browser = running.browser("viewer-i")
            browser.post("/account/names", form_of="/account", names="on")
            for path in ("/studies/1", "/studies"):
                page = browser.get(path).text
                assert "Jane" in page
                assert "<b>" not in page
                assert "&amp;&#34;&#39;" in page


def test_no_identity_is_in_the_logs_or_in_addresses(tmp_path, named_template, caplog):
    caplog.set_level(logging.DEBUG)
    with analyzed(named_template, tmp_path / "data") as place, console(place) as running:
        identity = str(_header(place).PatientName), _header(place).PatientID, _header(place).AccessionNumber
        browser = running.browser("operator-i")
        found = browser.post("/studies/search", form_of="/studies", text=identity[2])
        pages = [browser.get(path).text for path in ("/studies", "/studies/1", found.location)]
        browser.get("/studies/1/results.zip")
        browser.post("/studies/search", form_of="/studies", text=identity[2] + "'")
    assert not any(text in caplog.text for text in identity)
    links = [link for page in pages for link in re.findall(r'(?:href|src|action)="([^"]*)"', page)]
    assert not any(text in link for link in [*links, found.location] for text in identity)


def _header(place: Workplace):
    from pydicom import dcmread  # noqa: PLC0415

    return dcmread(next(iter(sorted(place.settings.spool_dir.rglob("*.dcm")))), stop_before_pixels=True)


def test_the_first_administrator_comes_by_a_link_that_works_once(tmp_path):
    with workplace(tmp_path / "data") as place, console(place, users=False) as running:
        link = running.services.accounts.first_link()
        browser = running.anonymous()
        page = f"/set-up/{link}"
        assert "first administrator" in browser.get(page).text
        for name, password, again in (
            ("anna", "short", "short"),
            ("anna", PASSWORD, "other"),
            ("A B", PASSWORD, PASSWORD),
        ):
            refused = browser.post(page, form_of=page, name=name, password=password, again=again)
            assert refused.status == 400
            assert password not in refused.text
        assert browser.post(page, form_of=page, name="anna", password=PASSWORD, again=PASSWORD).location == "/sign-in"
        assert browser.get(page).status == 404
        assert browser.sign_in("anna").status == 303
        assert browser.get("/audit").status == 200


def test_a_password_is_changed_and_other_browsers_are_signed_out(running):
    browser, other = running.browser("viewer"), running.browser("viewer")
    new = "other words of mine"

    def change(old: str, password: str, again: str) -> int:
        return browser.post("/account/password", form_of="/account", old=old, password=password, again=again).status

    assert change("wrong words of mine", new, new) == 400
    assert change(PASSWORD, new, "different") == 400
    assert change(PASSWORD, "short", "short") == 400
    assert change(PASSWORD, new, new) == 303
    assert browser.get("/studies").status == 200
    assert other.get("/studies").status == 303
    assert running.script("viewer").post("/account/password", old=new, password=PASSWORD, again=PASSWORD).status == 409


def test_a_database_that_is_away_is_said_in_words(running):
    script = running.script("viewer")
    running.services.database.engine.dispose()
    with running.services.database.transaction() as session:
        session.connection().exec_driver_sql("ALTER TABLE studies RENAME TO elsewhere")
    answer = script.get("/studies")
    assert (answer.status, list(answer.json)) == (503, ["error"])
    assert "studies" not in answer.text.replace("doctor", "")
