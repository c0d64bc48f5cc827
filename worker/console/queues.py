"""Queues and workers: what waits, who works, how long things take; pause and drain; the studies that failed."""

from collections import Counter

from flask import request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from werkzeug.exceptions import BadRequest

from worker import audit, operation, studies
from worker.console.access import actor, blueprint, needs, who
from worker.console.answers import answer, done
from worker.console.services import services
from worker.console_records import Act, Mode, Role
from worker.failures import explain
from worker.heartbeats import Vitals, alive
from worker.records import Heartbeat, Study
from worker.states import ForbiddenMove, StudyState
from worker.studies import StaleStudy
from worker.study_search import Place, StudyFilter, failed_studies, search
from worker.throughput import throughput

area = blueprint("queues", "/queues")

FAILED_ROWS = 50
REPLAYED_AT_ONCE = 100
"""Studies that are replayed in one transaction."""
REPLAYED = 2000
"""Studies that one request replays at most."""


@area.get("")
@needs(Role.VIEWER)
def show() -> ResponseReturnValue:
    """The page."""
    shared = services()
    now = shared.now()
    with shared.database.reading() as session:
        figures = throughput(session, now)
        mode, change = operation.mode_of(session), operation.last_change(session)
        processes = [(row, Vitals.of_json(row.vitals)) for row in alive(session, now)]
        codes = _failed_by_code(session)
    return answer(
        "queues.html",
        lambda: {
            "mode": mode.value,
            **figures.as_json(),
            "failed_by_code": codes,
            "processes": [_process_as_json(row, vitals) for row, vitals in processes],
        },
        figures=figures,
        mode=mode,
        modes=list(Mode),
        change=change,
        processes=processes,
        codes=codes,
        now=now,
        may_act=who().role.covers(Role.OPERATOR),
        explain=explain,
    )


@area.get("/failed")
@needs(Role.VIEWER)
def failed() -> ResponseReturnValue:
    """The studies that failed: the dead letters."""
    try:
        before = Place.parse(request.args["before"]) if request.args.get("before") else None
    except ValueError as error:
        raise BadRequest from error
    with services().database.reading() as session:
        page = search(session, StudyFilter(states=(StudyState.FAILED,)), FAILED_ROWS, before=before)
        codes = _failed_by_code(session)
    return answer(
        "failed.html",
        lambda: {
            "failed_by_code": codes,
            "studies": [row.as_json() for row in page.rows],
            "older": page.older and url_for("queues.failed", before=page.older),
        },
        page=page,
        codes=codes,
        explain=explain,
        may_act=who().role.covers(Role.OPERATOR),
    )


@area.post("/mode")
@needs(Role.OPERATOR)
def change_mode() -> ResponseReturnValue:
    """Pause, drain, or go on."""
    try:
        mode = Mode(request.form.get("mode", ""))
    except ValueError as error:
        raise BadRequest from error
    shared = services()
    with shared.database.transaction() as session:
        if operation.change_mode(session, mode, shared.now(), who().name):
            audit.record(session, actor(), Act.MODE_CHANGED, shared.now(), detail=mode.value)
    return done(f"The mode is: {mode.value}.", url_for("queues.show"), mode=mode.value)


@area.post("/failed/replay")
@needs(Role.OPERATOR)
def replay() -> ResponseReturnValue:
    """Try every FAILED study again; those of one code, where one is named."""
    code = request.form.get("code", "")
    counts: Counter[str] = Counter()
    after = 0
    while counts.total() < REPLAYED:
        with services().database.transaction() as session:
            keys = failed_studies(session, REPLAYED_AT_ONCE, after_id=after)
            for study_id in keys:
                counts[_replay(session, study_id, code)] += 1
        if not keys:
            break
        after = keys[-1]
    sentence = f"{counts['replayed']} studies wait again."
    if counts["moved"]:
        sentence += f" {counts['moved']} had moved already."
    if counts.total() >= REPLAYED:
        sentence += " There may be more: repeat it."
    return done(sentence, url_for("queues.failed"), replayed=counts["replayed"])


def _replay(session: Session, study_id: int, code: str) -> str:
    """Try one study again; what keeps it from that keeps no other."""
    shared = services()
    if code and session.scalar(select(Study.failure_code).where(Study.id == study_id)) != code:
        return "other"
    try:
        with session.begin_nested():
            studies.retry(session, study_id, shared.now(), f"by {who().name}")
            audit.record(session, actor(), Act.RETRIED, shared.now(), study_id, "with all that failed")
    except (ForbiddenMove, StaleStudy):
        return "moved"
    return "replayed"


def _failed_by_code(session: Session) -> dict[str, int]:
    query = select(Study.failure_code, func.count()).where(Study.state == StudyState.FAILED)
    found = session.execute(query.group_by(Study.failure_code).order_by(func.count().desc()))
    return {row[0] or "unknown": row[1] for row in found}


def _process_as_json(row: Heartbeat, vitals: Vitals) -> dict[str, object]:
    return {
        "name": row.name,
        "role": row.role,
        "started_at": row.started_at.isoformat(),
        "beat_at": row.beat_at.isoformat(),
        "vitals": vitals.as_json(),
    }
