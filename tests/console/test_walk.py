"""The whole product as its users meet it: ``cspine up``, a real PACS, and a browser that is used by keyboard alone."""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dicom_node.scu import send
from tests.console.visitor import Visitor
from tests.orthanc import Orthanc, orthanc
from tests.peers import wait_until
from tests.system.conftest import study_uid
from tests.system.product import Product, running_product
from tests.viewer.chromium import Chromium
from tests.worker.console_client import PASSWORD

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(600)]

LINK = re.compile(r"open (http://127\.0\.0\.1:\d+)(/set-up/[\w-]+)")
SENDER = "SENDER"
QUICKLY = {"CONSOLE": "on", "RETRY_AGE_SECONDS": "1", "RETRY_MAX_SECONDS": "1"}
"""A destination that is away is given up, and tried again, after a second."""
PICTURE = "document.querySelector('figure img')?.naturalWidth > 500"
FAILED_ROWS = "document.querySelectorAll('#list .failed').length"


@dataclass
class Hospital:
    """The product, its PACS, and an administrator in front of the console, who came by ``link``."""

    product: Product
    pacs: Orthanc
    admin: Visitor
    link: str


@pytest.fixture(scope="module")
def hospital(browser: Chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """A first start; the administrator follows the link of the log, chooses a password and signs in."""
    folder = tmp_path_factory.mktemp("hospital")
    with (
        orthanc(folder / "orthanc") as pacs,
        running_product(folder / "data", pacs.peer, **QUICKLY) as product,
    ):
        wait_until(lambda: LINK.search(product.log.read_text()) is not None, 60, "the link for the first user")
        address, link = LINK.findall(product.log.read_text())[0]
        admin = Visitor.comes(browser, address)
        admin.open(link)
        admin.arrives("Set up the first administrator")
        admin.look_at("set-up")
        admin.fill("Name", "anna")
        admin.fill("Password", PASSWORD)
        admin.fill("Password again", PASSWORD)
        admin.follow("Set the password")
        admin.arrives("Sign in")
        assert admin.page.shows(".told", "Your password is set")
        admin.sign_in("anna")
        yield Hospital(product, pacs, admin, link)
        assert admin.complaints() == []


@pytest.fixture(scope="module")
def studies(
    hospital: Hospital, make_neck: Callable[[int], Path], tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """One study that was sent while the administrator looked at the list, one that was uploaded; the PACS was away."""
    admin, product = hospital.admin, hospital.product
    hospital.pacs.stop()
    sent, uploaded = make_neck(1), make_neck(2)
    admin.open("/studies")
    admin.page.run("window.loadedOnce = true")
    assert all(outcome.accepted for outcome in send(sorted(sent.iterdir()), product.peer, SENDER))
    admin.page.wait_for("#list th", "Study 1")
    assert admin.page.run("window.loadedOnce")
    archive = shutil.make_archive(str(tmp_path_factory.mktemp("zip") / "study"), "zip", uploaded)
    admin.open("/uploads")
    admin.page.choose_files("#files", Path(archive))  # the dialog is the browser's
    admin.follow("Upload the study")
    admin.arrives("Upload 1")
    uids = [study_uid(sent), study_uid(uploaded)]
    for uid in uids:
        product.wait_for_end(uid)
    admin.open("/studies")
    admin.page.wait(f"{FAILED_ROWS} === 2", 30, "two studies FAILED in the list")
    hospital.pacs.start()
    return uids


def test_the_link_works_once_and_users_sign_out_and_in_again(hospital: Hospital) -> None:
    admin = hospital.admin
    admin.open("/studies")
    admin.sign_out()
    assert admin.page.shows(".told", "You are signed out.")
    admin.open("/studies")
    assert admin.path() == "/sign-in"
    admin.sign_in("anna")
    admin.follow("Users")
    admin.arrives("Users")
    assert admin.page.shows("th", "anna")
    wrong = Visitor.comes(admin.page.browser, admin.address)
    wrong.open(hospital.link)
    wrong.arrives("Not found")
    assert wrong.page.shows(".problem", "This link was used already")


def test_a_study_is_found_by_its_accession_number_and_by_its_uid(hospital: Hospital, studies: list[str]) -> None:
    admin = hospital.admin
    for text, heading in (("A1", "Studies"), (studies[1], "Study 2")):
        admin.open("/studies")
        admin.fill("Accession number or Study Instance UID", text)
        admin.page.press_key("Enter")
        admin.page.wait("!location.href.endsWith('/studies')", 30, "the answer of the search")
        admin.arrives(heading)
        assert admin.page.shows("a" if heading == "Studies" else "dd", "Study 2" if heading == "Studies" else text)


def test_an_uploaded_study_leads_to_its_result(hospital: Hospital, studies: list[str]) -> None:
    admin = hospital.admin
    admin.open("/uploads")
    admin.look_at("uploads")
    admin.follow("Upload 1")
    admin.arrives("Upload 1")
    admin.page.wait_for("#outcome a", "Fracture detected")
    admin.look_at("upload")
    admin.follow("Fracture detected")
    admin.arrives("Result of study 2")
    assert admin.page.shows("p", "Suspected: C5")
    assert admin.page.shows("p", "Not a medical device")
    admin.page.wait(PICTURE, 30, "the picture of the findings")
    admin.look_at("result")


def test_a_failed_study_says_the_next_step_and_is_retried_until_it_is_delivered(
    hospital: Hospital, studies: list[str]
) -> None:
    admin = hospital.admin
    admin.open("/studies")
    admin.follow("Study 1", within="#list")
    admin.arrives("Study 1")
    assert admin.page.shows(".next", "Next step: ")
    assert admin.page.shows("#where .problem", "DELIVERY_TIMED_OUT")
    admin.photograph("walk-study-failed")
    admin.follow("Retry", within="#acts")
    admin.page.wait_for(".told", "The study waits again (SENDING).")
    admin.page.run("window.loadedOnce = true")
    admin.page.wait_for("#where .delivered", "DELIVERED")
    admin.page.wait_for("#acts button", "Send")
    assert not admin.page.shows("#acts button", "Retry")
    assert admin.page.run("window.loadedOnce")
    admin.page.wait(PICTURE, 30, "the picture of the findings")
    admin.open("/studies/1")
    timeline = admin.page.run("document.querySelector('[aria-label=Timeline]').innerText")
    assert [word for word in ("CREATED", "ANALYZED", "FAILED", "by anna", "DELIVERED") if word not in timeline] == []
    assert len(hospital.pacs.instances(studies[0])) == 4
    admin.photograph("walk-study-delivered")


def test_what_failed_is_replayed_from_the_dead_letters(hospital: Hospital, studies: list[str]) -> None:
    admin = hospital.admin
    admin.open("/queues")
    admin.follow("Failed studies: 1")
    admin.arrives("Failed studies")
    assert admin.page.shows("th", "Study 2")
    admin.follow("Replay all that failed")
    admin.page.wait_for(".told", "1 studies wait again.")
    hospital.product.wait_for_delivery(studies[1])
    admin.open("/queues")
    assert not admin.page.shows("a", "Failed studies:")
    for process in ("clerk", "listener", "gpu", "console"):
        assert admin.page.shows("td", process), process
    admin.photograph("walk-queues")
    admin.open("/studies")
    assert admin.page.run("[...document.querySelectorAll('#list .delivered')].length") == 2
    admin.photograph("walk-list-delivered")
