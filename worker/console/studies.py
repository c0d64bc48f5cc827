"""The list of studies with its search, and the page of one study: where it is and why."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest, NotFound

from dicom_node.study_attributes import StudyAttributes
from model.findings import Vertebra
from worker import audit
from worker.console.access import LOOKS_BY_ITSELF, actor, blueprint, needs, who
from worker.console.account import names_in_lists
from worker.console.answers import answer
from worker.console.services import services
from worker.console_records import Act, Role
from worker.failures import explain
from worker.states import TRANSITIONS, Cause, StudyState
from worker.study_details import StudyDetails, details_of
from worker.study_identity import newest_file, read_identity
from worker.study_numbers import number_digest
from worker.study_search import Place, StudyFilter, StudyPage, id_of, search, senders
from worker.waiting import HIGHEST_PRIORITY, HOLDABLE

area = blueprint("studies")

PAGE_ROWS = 50
MOST_ROWS = 200
RETRIABLE = frozenset({StudyState.FAILED, StudyState.SKIPPED})
SENDABLE = frozenset(state for state, cause in TRANSITIONS if cause is Cause.SEND_REQUESTED)


@dataclass(frozen=True, slots=True)
class Search:
    """What the address of a list asks for; ``values`` are as they came, for the form and for the next address."""

    wanted: StudyFilter
    limit: int
    before: Place | None
    after: Place | None
    values: dict[str, Any]


@area.get("/")
@needs(Role.VIEWER)
def start() -> ResponseReturnValue:
    """Begin with the list."""
    return redirect(url_for("studies.list_studies"), 303)


@area.get("/studies")
@needs(Role.VIEWER)
def list_studies() -> ResponseReturnValue:
    """One page of the list."""
    asked = read_search(request.args)
    with services().database.reading() as session:
        page = search(session, asked.wanted, asked.limit, before=asked.before, after=asked.after)
        choices = senders(session)
    names = _names(page) if names_in_lists() else {}
    return answer(
        "studies.html",
        lambda: _page_as_json(page, asked),
        page=page,
        asked=asked,
        names=names,
        senders=choices,
        states=list(StudyState),
        levels=[level.name for level in Vertebra],
        explain=explain,
    )


@area.post("/studies/search")
@needs(Role.VIEWER)
def find() -> ResponseReturnValue:
    """Find studies by what must not stand in an address: a number of the RIS, or a Study Instance UID."""
    text = request.form.get("text", "").strip()[:64]
    with services().database.reading() as session:
        study_id = id_of(session, text)
    if study_id is not None:
        return redirect(url_for("studies.show", study_id=study_id), 303)
    digest = number_digest(services().key, text)
    return redirect(url_for("studies.list_studies", number=digest or None), 303)


@area.get("/studies/<int:study_id>")
@needs(Role.VIEWER)
def show(study_id: int) -> ResponseReturnValue:
    """The page of a study."""
    details = read_details(study_id)
    identity = _identity(study_id)
    return answer(
        "study.html",
        details.as_json,
        study=details,
        identity=identity,
        destinations=services().destinations,
        may=_possible(details),
        highest_priority=HIGHEST_PRIORITY,
        completeness=completeness(details),
    )


def read_details(study_id: int) -> StudyDetails:
    """One study in full; there is no such page where there is no such study."""
    with services().database.reading() as session:
        details = details_of(session, study_id)
    if details is None:
        raise NotFound
    return details


def completeness(details: StudyDetails) -> str:
    """Whether everything is there, and by what that is known."""
    count = f"{details.row.instances} instances"
    if details.row.state is StudyState.RECEIVING:
        return f"{count} so far, still receiving"
    known = {"quiet": "nothing came for a while", "max age": "it was received for too long"}
    by = details.completed_by
    return f"{count}, taken for complete: {known.get(by, by)}" if by else count


def read_search(values: "MultiDict[str, str]") -> Search:
    """What an address asks for; a 400 for what cannot be."""
    try:
        wanted = StudyFilter(
            states=tuple(StudyState(text) for text in values.getlist("state") if text),
            calling_ae_title=values.get("sender") or None,
            received_from=_day(values.get("from")),
            received_before=_day(values.get("to"), days=1),
            vertebra=_level(values.get("level")),
            probability_from=_share(values.get("least")),
            probability_to=_share(values.get("most")),
            number_digest=values.get("number") or None,
            held=values.get("held") == "on",
        )
        before, after = (Place.parse(values[name]) if values.get(name) else None for name in ("before", "after"))
        limit = min(max(int(values.get("limit") or PAGE_ROWS), 1), MOST_ROWS)
    except ValueError as error:
        raise BadRequest from error
    kept = {name: values.getlist(name) for name in values if name not in {"before", "after"} and any(values[name])}
    return Search(wanted, limit, before, after, kept)


def _day(text: str | None, days: int = 0) -> datetime | None:
    """The beginning of a day, or of one after it, on the clock of the site."""
    if not text:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").date() + timedelta(days=days)  # noqa: DTZ007  (a day of the site)
    except OverflowError as error:
        raise ValueError("there is no such day") from error
    return datetime.combine(day, time()).astimezone()


def _level(text: str | None) -> str | None:
    if text and text not in Vertebra.__members__:
        raise ValueError("there is no such level")
    return text or None


def _share(text: str | None) -> float | None:
    """A probability, given in percent."""
    if not text:
        return None
    value = float(text) / 100
    if not 0 <= value <= 1:
        raise ValueError("a probability is from 0 to 100 percent")
    return value


def _page_as_json(page: StudyPage, asked: Search) -> dict[str, object]:
    """The list, and where the pages beside it are."""
    return {
        "studies": [row.as_json() for row in page.rows],
        "newer": page.newer and url_for("studies.list_studies", **asked.values, after=page.newer),
        "older": page.older and url_for("studies.list_studies", **asked.values, before=page.older),
    }


def _names(page: StudyPage) -> dict[int, StudyAttributes | None]:
    """Whose the studies of a page are; that somebody looked is written down."""
    shared = services()
    with shared.database.reading() as session:
        files = {row.study_id: newest_file(session, row.study_id, shared.settings.spool_dir) for row in page.rows}
    if page.rows and LOOKS_BY_ITSELF not in request.headers:
        with shared.database.transaction() as session:
            detail = f"in a list of {len(page.rows)} studies"
            audit.record(session, actor(), Act.IDENTITY_SHOWN, shared.now(), detail=detail)
    return {study_id: None if file is None else read_identity(file) for study_id, file in files.items()}


def _identity(study_id: int) -> StudyAttributes | None:
    """Whose the study is, for who may see it; that they looked is written down. Programs are not told."""
    shared = services()
    if not who().sees_identity or who().session_id is None:
        return None
    with shared.database.reading() as session:
        file = newest_file(session, study_id, shared.settings.spool_dir)
    identity = None if file is None else read_identity(file)
    if identity is not None and LOOKS_BY_ITSELF not in request.headers:
        with shared.database.transaction() as session:
            audit.record(session, actor(), Act.IDENTITY_SHOWN, shared.now(), study_id)
    return identity


def _possible(details: StudyDetails) -> dict[str, bool]:
    """What can be done with the study now by who is signed in."""
    state, run = details.row.state, details.run
    acts = who().role.covers(Role.OPERATOR)
    usable = run is not None and run.withdrawn_at is None
    return {
        "act": acts,
        "retry": acts and state in RETRIABLE,
        "hold": acts and not details.row.held and state in HOLDABLE,
        "release": acts and details.row.held,
        "prioritize": acts and state in HOLDABLE,
        "send": acts and usable and run is not None and run.is_current and state in SENDABLE,
        "retract": acts and any(one.withdrawn_at is None and one.objects for one in details.runs),
        "download": acts and who().sees_identity,
    }
