"""Uploads over HTTP: the real server, the real spool and records, and what is refused before it is received."""

import io
import socket
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from model.image_predictor import ImagePredictor
from tests.model.image_bundles import write_image_bundle
from tests.worker.console_client import Answer, Browser, Console, console
from tests.worker.scripted import Workplace, workplace
from tests.worker.test_console_pages import assert_accessible
from tests.worker.test_single_images import neck
from worker.console.app import make_app
from worker.console.receiving import PackedFiles
from worker.console.turns import Turns
from worker.console_records import Act, AuditEntry
from worker.image_analysis import ImageAnalyzer
from worker.image_files import ImageFiles
from worker.image_model import open_image_bundle
from worker.records import Instance
from worker.settings import Settings
from worker.states import StudyState
from worker.sweeps import Sweeps
from worker.upload_records import Upload

MOST_BYTES = 8 << 20
BOUNDARY = "----a-boundary"


@pytest.fixture(scope="session")
def predictor(tmp_path_factory):
    folder = write_image_bundle(tmp_path_factory.mktemp("bundle"))
    return ImagePredictor(open_image_bundle(Settings(image_bundle_path=folder)))


def settings_with(place: Workplace, bundle: Path) -> Settings:
    return replace(place.settings, image_bundle_path=bundle, upload_bytes=MOST_BYTES, min_free_bytes=1)


@pytest.fixture
def running(tmp_path, predictor):
    """A console over an empty installation, with a model for single images."""
    with workplace(tmp_path / "data") as place:
        place.settings = settings_with(place, predictor.bundle.path)
        with console(place) as made:
            yield place, made


def multipart(files, **fields: str) -> bytes:
    """A form with files, whose names are hostile."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    body = "".join(parts).encode()
    for content in files:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="../../<b>x"\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def send(browser: Browser, path: str, *files: bytes, token: str | None = None, **headers: str) -> Answer:
    """Upload as a browser does, with the token of the form unless another is given; a script needs none."""
    fields = {}
    if browser.token is None:
        fields["csrf_token"] = browser.csrf_token("/uploads") if token is None else token
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return browser.request("POST", path, multipart(files, **fields), Content_Type=kind, **headers)


def files_of(folder) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def zipped(files) -> bytes:
    """A zip file, stored: large enough to come in many pieces."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for number, data in enumerate(files):
            archive.writestr(f"../{number}", data)
    return target.getvalue()


def acts(place: Workplace) -> list[tuple[Act, str, int | None]]:
    with place.database.reading() as session:
        rows = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
    return [(row.act, row.by, row.study_id) for row in rows if row.act in {Act.UPLOADED, Act.IDENTITY_SHOWN}]


def count(place: Workplace, table) -> int:
    with place.database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def scratch(place: Workplace) -> list:
    folder = place.settings.scratch_dir
    return list(folder.iterdir()) if folder.exists() else []


def test_an_uploaded_study_is_followed_to_its_result(running, boxes_folder):
    place, made = running
    browser = made.browser("operator")
    upload = zipped([*files_of(boxes_folder), b"a text"])
    assert len(upload) > 500_000
    sent = send(browser, "/uploads/study", upload)
    assert (sent.status, sent.location) == (303, "/uploads/1")
    page = browser.get("/uploads/1")
    assert "64 instances taken in. 1 other file left out." in page.text
    assert "no DICOM files" in page.text
    assert "Not analyzed yet" in page.text
    assert "RECEIVING" in page.text
    assert_accessible(page.text)
    assert "Not analyzed yet" in browser.get("/studies/1/result").text
    assert acts(place) == [(Act.UPLOADED, "operator", None), (Act.UPLOADED, "operator", 1)]

    place.advance(seconds=60)
    Sweeps(place.database, place.settings, place.bell, place.clock).run()
    place.analyzer().analyze(*place.position())
    assert place.deliver() is StudyState.FAILED  # there is no destination
    browser = made.browser("operator")  # the clock moved: signed out meanwhile
    result = browser.get("/studies/1/result")
    for told in (
        "Fracture detected",
        "C5",
        "90.0 %",
        "Not a medical device",
        "boxes 1",
        "results are kept here",
        "<img ",
    ):
        assert told in result.text, told
    assert_accessible(result.text)
    assert "Fracture detected" in browser.get("/uploads/1").text
    json = made.script("viewer").get("/studies/1/result").json
    assert (json["result"], json["fractured_levels"], json["levels_not_found"]) == ("Fracture detected", ["C5"], [])
    followed = made.script("viewer").get("/uploads/1").json
    assert followed["files"] == {"TAKEN": 64, "NOT_DICOM": 1}
    assert [study["result"] for study in followed["studies"]] == ["Fracture detected"]
    assert scratch(place) == []


def test_a_script_uploads_with_a_token_and_is_told_where_to_look(running, boxes_folder):
    place, made = running
    script = made.script("operator")
    answer = send(script, "/uploads/study", *files_of(boxes_folder)[:3]).json
    assert (answer["done"], answer["files"]) == ("3 instances taken in.", {"TAKEN": 3})
    assert script.get(answer["page"]).json["studies"][0]["instances"] == 3
    assert script.get("/uploads").json["uploads"][0]["by"] == "operator"
    assert count(place, Instance) == 3


def test_a_single_image_is_followed_to_its_prediction(running, predictor):
    place, made = running
    browser = made.browser("operator")
    assert send(browser, "/uploads/images", neck(), b"no image").location == "/uploads/1"
    assert "Single image 1" in browser.get("/uploads/1").text
    assert "Not analyzed yet" in browser.get("/images/1").text
    assert browser.get("/images/1/overlay.png").status == 404
    ImageAnalyzer(place.database, ImageFiles(place.settings.images_dir), lambda: predictor, place.clock).predict(1)
    page = browser.get("/images/1")
    for told in (
        "Single image prediction.",
        "Not a medical device",
        "fracture beside it is not seen",
        "tiny 1",
        "<img ",
    ):
        assert told in page.text, told
    assert_accessible(page.text)
    json = made.script("viewer").get("/images/1").json
    assert json["kind"] == "single image prediction"
    assert json["result"] in {"Fracture detected", "No fracture detected"}
    assert len(json["findings"]["levels"]) == 7
    picture = browser.get("/images/1/overlay.png")
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.body.startswith(b"\x89PNG")


def test_the_picture_of_an_image_is_for_its_uploader_and_those_who_may_see_identity(running, predictor):
    place, made = running
    send(made.browser("operator"), "/uploads/images", neck())
    ImageAnalyzer(place.database, ImageFiles(place.settings.images_dir), lambda: predictor, place.clock).predict(1)
    for user, status in (("viewer", 403), ("admin", 403), ("operator", 200), ("viewer-i", 200)):
        browser = made.browser(user)
        assert browser.get("/images/1/overlay.png").status == status, user
        assert ("<img " in browser.get("/images/1").text) == (status == 200), user
    assert acts(place)[1:] == [(Act.IDENTITY_SHOWN, "viewer-i", None)]


def test_an_image_that_cannot_be_judged_says_why(running, predictor):
    place, made = running
    browser = made.browser("operator")
    send(browser, "/uploads/images", neck()[:200])
    ImageAnalyzer(place.database, ImageFiles(place.settings.images_dir), lambda: predictor, place.clock).predict(1)
    page = browser.get("/images/1").text
    assert "Not analyzed" in page
    assert "damaged or truncated" in page


def test_without_a_model_no_image_is_taken(tmp_path):
    with workplace(tmp_path / "data") as place:
        place.settings = settings_with(place, tmp_path / "nothing")
        with console(place) as made:
            browser = made.browser("operator")
            assert "There is no model for single images here" in browser.get("/uploads").text
            assert send(browser, "/uploads/images", neck()).status == 409
            assert not place.settings.images_dir.exists()


def test_the_form_works_without_a_script_and_says_what_happens(running):
    _, made = running
    page = made.browser("operator").get("/uploads")
    assert_accessible(page.text)
    assert page.text.count('enctype="multipart/form-data"') == 2
    assert "its results stay here: no destination is configured" in page.text
    assert "trained on synthetic images alone" in page.text


def test_nothing_is_uploaded_without_files(running):
    _, made = running
    assert send(made.browser("operator"), "/uploads/study").status == 400


def test_a_forged_form_uploads_nothing(running, boxes_folder):
    place, made = running
    answer = send(made.browser("operator"), "/uploads/study", *files_of(boxes_folder), token="forged")
    assert answer.status == 400
    assert (count(place, Upload), count(place, Instance), scratch(place)) == (0, 0, [])


def test_a_hostile_archive_is_counted_and_its_names_are_nowhere(running, caplog):
    place, made = running
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("<script>alert(1)</script>/etc/passwd", bytes(30 << 20))
        archive.writestr("../x.zip", zipped([b"x"]))
    browser = made.browser("operator")
    send(browser, "/uploads/study", target.getvalue())
    page = browser.get("/uploads/1").text
    assert "compressed too well to be true" in page
    assert "archives inside an archive" in page
    assert "passwd" not in page + caplog.text
    assert (count(place, Instance), scratch(place)) == (0, [])


def test_a_full_disk_is_said_before_and_after(running, boxes_folder):
    place, made = running
    settings = replace(made.services.settings, min_free_bytes=1 << 60)
    with console(replace(place, settings=settings), users=False) as full:
        browser = full.browser("operator")
        assert "The disk is too full" in browser.get("/uploads").text
        small = send(browser, "/uploads/study", files_of(boxes_folder)[0])
        assert (small.status, "Free some space" in small.text) == (409, True)
        token = browser.csrf_token("/uploads")
        assert head_only(full, browser, "/uploads/study", 1 << 20, token).startswith(b"HTTP/1.1 507")
    assert count(place, Instance) == 0


def head_only(made: Console, browser: Browser, path: str, length: int, token: str = "") -> bytes:
    """Send the head of an upload and nothing of its body; return the first line of the answer."""
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    head = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Cookie: {cookies}",
        f"Content-Length: {length}",
        f"X-CSRFToken: {token}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
    ]
    if browser.token is not None:
        head.append(f"Authorization: Bearer {browser.token}")
    with socket.create_connection(("127.0.0.1", made.port), timeout=3) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        try:
            return connection.recv(200).partition(b"\r\n")[0]
        except TimeoutError:
            return b"it waits for the body"


LARGE = 1 << 20


def test_a_large_body_is_taken_from_who_may_upload_and_from_nobody_else(running):
    place, made = running
    for browser in (
        made.anonymous(),
        made.browser("viewer"),
        made.script("viewer-i"),
        Browser(made.port, token="none"),
    ):
        assert head_only(made, browser, "/uploads/study", LARGE).startswith(b"HTTP/1.1 413")
    for browser in (made.browser("operator"), made.script("admin")):
        assert head_only(made, browser, "/uploads/images", LARGE) == b"it waits for the body"
        assert head_only(made, browser, "/uploads/study", MOST_BYTES + 1).startswith(b"HTTP/1.1 413")
        assert head_only(made, browser, "/studies/search", LARGE).startswith(b"HTTP/1.1 413")
        assert head_only(made, browser, "/uploads", LARGE).startswith(b"HTTP/1.1 413")
    wait_until(lambda: scratch(place) == [])


def wait_until(holds) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_upload_that_is_cut_off_leaves_nothing(running, boxes_folder):
    place, made = running
    browser = made.browser("operator")
    head_only(made, browser, "/uploads/study", LARGE, browser.csrf_token("/uploads"))
    assert (count(place, Upload), count(place, Instance), scratch(place)) == (0, 0, [])
    assert send(browser, "/uploads/study", files_of(boxes_folder)[0]).status == 303


def test_a_viewer_uploads_nothing_and_sees_what_others_did(running, boxes_folder):
    place, made = running
    send(made.browser("operator"), "/uploads/study", *files_of(boxes_folder)[:2])
    viewer = made.script("viewer")
    assert viewer.get("/uploads/1").json["files"] == {"TAKEN": 2}
    assert viewer.get("/uploads").status == 403
    assert send(viewer, "/uploads/study", files_of(boxes_folder)[3]).status == 403
    assert count(place, Upload) == 1


def test_few_uploads_are_taken_in_at_the_same_time(running, boxes_folder):
    place, made = running
    busy = replace(made.services, uploads=Turns(at_once=1, patience_seconds=0.01))
    script = made.script("operator")
    token = {"Authorization": f"Bearer {script.token}", "Accept": "application/json"}
    client = make_app(busy).test_client()
    with busy.uploads.turn():
        body = {"files": (io.BytesIO(files_of(boxes_folder)[0]), "x")}
        answer = client.post("/uploads/study", data=body, headers=token)
        assert (answer.status_code, "Try again in a moment" in answer.json["error"]) == (409, True)
    body = {"files": (io.BytesIO(files_of(boxes_folder)[0]), "x")}
    assert client.post("/uploads/study", data=body, headers=token).status_code == 200
    assert count(place, Instance) == 1


def test_files_of_a_request_share_one_file_and_are_read_like_files(tmp_path):
    packed = PackedFiles(tmp_path)
    contents = [zipped([b"one"]), b"", b"second" * 1000]
    parts = []
    for content in contents:
        part = packed.add()
        part.write(content[:5])
        part.write(content[5:])
        part.seek(0)
        parts.append(part)
    assert [part.read() for part in parts] == contents
    assert (parts[2].seek(-6, io.SEEK_END), parts[2].read(100)) == (5994, b"second")
    with zipfile.ZipFile(parts[0]) as archive:
        assert archive.read(archive.infolist()[0]) == b"one"
    packed.file.close()
    assert list(tmp_path.iterdir()) == []
