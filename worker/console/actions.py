"""What operators do with a study. Each act and its line in the audit trail are one transaction."""

from collections.abc import Callable

from flask import request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.exceptions import BadRequest, NotFound

from dicom_node.retraction import RejectionReason
from worker import audit, studies, waiting
from worker.console.access import actor, blueprint, needs, who
from worker.console.answers import Refused, done
from worker.console.services import services
from worker.console.studies import read_details
from worker.console_records import Act, Role
from worker.devices import device_of
from worker.errors import StartupError
from worker.retraction import Retraction
from worker.states import ForbiddenMove
from worker.studies import StaleStudy, UnknownStudy
from worker.tracking import ProfileNotBuilt

area = blueprint("actions", "/studies/<int:study_id>")


@area.post("/retry")
@needs(Role.OPERATOR)
def retry(study_id: int) -> ResponseReturnValue:
    """Try a FAILED or SKIPPED study again."""

    def work(session: Session) -> str:
        reached = studies.retry(session, study_id, services().now(), f"by {who().name}")
        return f"The study waits again ({reached.state})."

    return _act(study_id, Act.RETRIED, work)


@area.post("/hold")
@needs(Role.OPERATOR)
def hold(study_id: int) -> ResponseReturnValue:
    """Begin nothing with the study."""

    def work(session: Session) -> str:
        waiting.hold(session, study_id, services().now(), who().name)
        return "The study is held."

    return _act(study_id, Act.HELD, work)


@area.post("/release")
@needs(Role.OPERATOR)
def release(study_id: int) -> ResponseReturnValue:
    """End a hold."""

    def work(session: Session) -> str:
        waiting.release(session, study_id, services().now(), who().name)
        return "The study is released."

    return _act(study_id, Act.RELEASED, work)


@area.post("/priority")
@needs(Role.OPERATOR)
def prioritize(study_id: int) -> ResponseReturnValue:
    """Let the study wait before others."""
    text = request.form.get("priority", "")
    if not (text.isascii() and text.isdecimal() and len(text) <= 3):
        raise BadRequest

    def work(session: Session) -> str:
        waiting.prioritize(session, study_id, int(text), services().now(), who().name)
        return f"The study has priority {int(text)}."

    return _act(study_id, Act.PRIORITIZED, work, text)


@area.post("/send")
@needs(Role.OPERATOR)
def send(study_id: int) -> ResponseReturnValue:
    """Send the results to a destination, whatever it has of them."""
    name = request.form.get("destination", "")
    destination = next((item for item in services().destinations if item.name == name), None)
    if destination is None:
        raise BadRequest

    def work(session: Session) -> str:
        studies.send_again(session, study_id, destination, services().now(), who().name)
        return f"The results are sent to {destination.name}."

    return _act(study_id, Act.SENT_AGAIN, work, destination.name)


@area.post("/retract")
@needs(Role.OPERATOR)
def retract(study_id: int) -> ResponseReturnValue:
    """Withdraw every version of the results; destinations that may have them get a Key Object that rejects them."""
    try:
        reason = RejectionReason(request.form.get("reason", ""))
    except ValueError as error:
        raise BadRequest from error
    shared = services()
    uid = read_details(study_id).row.study_instance_uid
    with shared.database.transaction() as session:  # first: whatever comes of it, somebody asked for it
        audit.record(session, actor(), Act.RETRACTED, shared.now(), study_id, reason.value)
    now = shared.now().astimezone()
    retraction = Retraction(shared.database, shared.results, device_of(shared.settings), now, reason)
    try:
        withdrawn = retraction.retract(uid)
    except StartupError as error:
        raise Refused("The study has no results, or they are withdrawn already.") from error
    told = ", ".join(withdrawn.destinations)
    sentence = f"{withdrawn.versions} version(s) withdrawn; " + (f"to be told: {told}." if told else "nobody had them.")
    if withdrawn.unreadable:
        sentence += f" {withdrawn.unreadable} stored objects cannot be read: reject them in the PACS by hand."
    return done(sentence, url_for("studies.show", study_id=study_id), study=_now_as_json(study_id))


def _act(study_id: int, act: Act, work: Callable[[Session], str], detail: str = "") -> ResponseReturnValue:
    """Do it, write it down, and say so."""
    shared = services()
    try:
        with shared.database.transaction() as session:
            sentence = work(session)
            audit.record(session, actor(), act, shared.now(), study_id, detail)
    except UnknownStudy as error:
        raise NotFound from error
    except StaleStudy as error:
        raise Refused("The study moved just now. Look at it again.") from error
    except (ForbiddenMove, ProfileNotBuilt, ValueError) as error:
        raise Refused(f"This cannot be done: {error}.") from error
    return done(sentence, url_for("studies.show", study_id=study_id), study=_now_as_json(study_id))


def _now_as_json(study_id: int) -> dict[str, object]:
    """The study as it is now, for programs."""
    return read_details(study_id).row.as_json()
