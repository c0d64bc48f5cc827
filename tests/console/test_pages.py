"""Every page of the console in a real browser: nobody is kept from using it, nothing is cut off, nothing is complained.

Each page is kept as a picture in ``build/console``, for a desk and for a phone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import select

from tests.console.axe import serious
from tests.console.visitor import FOCUSED, Visitor
from tests.viewer.chromium import Chromium
from tests.worker.console_client import Console, console
from tests.worker.scripted import Workplace, workplace, write_boxes
from tests.worker.watched import watched
from training.synthesis.phantom_series import Identity, SeriesOptions
from worker import studies
from worker.records import Study
from worker.states import Cause, StudyState
from worker.studies import Move

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(300)]

HOSTILE = Identity(seed=3, patient_name="<img src=http://127.0.0.1:9/x>^Zoë", patient_id="<script>throw 1</script>")


@dataclass
class Site:
    """A console with a study in every kind of end, and an administrator in front of it."""

    place: Workplace
    running: Console
    admin: Visitor


@pytest.fixture(scope="module")
def site(browser: Chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Study 1 is delivered, 2 skipped, 3 failed; the patient of 1 and 3 has a name that is markup."""
    folder = tmp_path_factory.mktemp("site")
    write_boxes(folder / "series", SeriesOptions(identity=HOSTILE))
    with workplace(folder / "template") as made:
        made.receive(folder / "series")
        made.analyzer().analyze(*made.complete())
    with watched(folder / "template", folder / "watched") as place:
        add_failed(place)
        with console(place) as running:
            admin = Visitor.comes(browser, f"http://127.0.0.1:{running.port}")
            admin.sign_in("admin-i")
            yield Site(place, running, admin)


def add_failed(place: Workplace) -> None:
    """A third study, that found no destination."""
    folder = place.settings.data_dir.parent / "third"
    write_boxes(folder, SeriesOptions(identity=Identity(seed=4)))
    place.receive(folder)
    with place.database.transaction() as session:
        study = session.scalars(select(Study).where(Study.state == StudyState.RECEIVING)).one()
        position = studies.position_of(session, study.id)
        studies.transition(session, position, Move(Cause.COMPLETED, place.clock(), completed_by="quiet"))
    place.analyzer().analyze(study.id, study.generation)
    place.delivery([]).deliver(study.id, study.generation)


PAGES = {
    "studies": ("/studies", "Studies"),
    "studies-none": ("/studies?level=C1&least=99", "Studies"),
    "study-delivered": ("/studies/1", "Study 1"),
    "study-skipped": ("/studies/2", "Study 2"),
    "study-failed": ("/studies/3", "Study 3"),
    "queues": ("/queues", "Queues and workers"),
    "failed": ("/queues/failed", "Failed studies"),
    "users": ("/users", "Users"),
    "audit": ("/audit", "Audit trail"),
    "account": ("/account", "Account of admin-i"),
    "sign-in": ("/sign-in", "Sign in"),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_used_by_everybody_on_every_screen(site: Site, name: str) -> None:
    path, heading = PAGES[name]
    visitor = site.admin
    visitor.open(path)
    visitor.arrives(heading)
    visitor.look_at(name)


def test_what_the_policy_forbids_is_not_done_and_is_heard(site: Site) -> None:
    visitor = Visitor.comes(site.admin.page.browser, site.admin.address)
    visitor.open("/studies")
    visitor.page.run("document.body.append(Object.assign(document.createElement('script'), {text: 'window.evil = 1'}))")
    visitor.page.run("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x'}))")
    assert visitor.page.run("window.evil === undefined")
    assert len([line for line in visitor.complaints() if "Content Security Policy" in line]) == 2


def test_the_keyboard_skips_the_navigation_and_pauses_the_updates(site: Site) -> None:
    visitor = site.admin
    visitor.open("/studies")
    visitor.follow("Skip to the content")
    visitor.page.press_key("Tab")
    assert visitor.page.run(FOCUSED) == "Pause updates"
    visitor.page.press_key("Space")
    assert visitor.page.run(FOCUSED) == "Continue updates"
    visitor.page.press_key("Tab")
    assert visitor.page.run(FOCUSED) == "Accession number or Study Instance UID"
    visitor.page.press_key("Tab", shift=True)
    assert visitor.page.run(FOCUSED) == "Continue updates"


def test_patients_are_named_in_lists_once_somebody_says_so(site: Site) -> None:
    visitor = site.admin
    for shown in (True, False):
        visitor.open("/account")
        visitor.tab_to("Lists of studies name the patients, in this browser")
        visitor.page.press_key("Space")
        visitor.follow("Save")
        visitor.arrives("Studies")
        assert visitor.page.shows("th", "Patient") is shown
        if shown:
            assert visitor.page.shows("td", "Zoë")
            visitor.look_at("studies-named")


def test_what_is_refused_is_said_on_a_page_for_everybody(site: Site) -> None:
    visitor = Visitor.comes(site.admin.page.browser, site.admin.address)
    for path, heading in (("/nothing", "Not found"), ("/studies?level=T1", "Not understood")):
        visitor.open(path)
        visitor.arrives(heading)
        assert serious(visitor.page) == []
    visitor.open("/sign-in")
    visitor.page.wait("document.activeElement.id === 'name'", 30, "the focus in the field of the name")
    visitor.page.write("nobody")
    visitor.fill("Password", "not the password")
    visitor.page.press_key("Enter")
    visitor.page.wait_for("[role=alert]", "Name and password do not fit together")
    assert serious(visitor.page) == []
    assert visitor.cut_off() == []
