"""The only writer of ``Study.state``: every move is one compare-and-set and leaves its event in the same transaction.

All functions work in the caller's transaction and raise StaleStudy when the row is not, or no longer, as the caller
believes: someone else was first, a late instance began a new generation, or the lease was lost. The caller then stops
without writing.
"""

import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import Session

from worker import operation, tracking
from worker.destinations import Destination
from worker.failures import Failure, FailureCode
from worker.records import NoteKind, Run, Study, StudyEvent, UtcDateTime, insert_once
from worker.states import RENEWING, Cause, ForbiddenMove, StudyState, after

VOIDING = frozenset({FailureCode.RESULT_CORRUPT, FailureCode.PROFILE_NOT_BUILT})
"""Failures of a delivery that only another analysis mends."""


FORGIVING = RENEWING | {
    Cause.ANALYZED,
    Cause.DELIVERED,
    Cause.NOT_KEPT,
    Cause.RETRACTED,
    Cause.SEND_REQUESTED,
    Cause.ANALYSIS_RETRIED,
    Cause.DELIVERY_RETRIED,
}
"""Causes that begin something new, or end it well: crashes and retries count from zero again."""


class StaleStudy(Exception):
    """The study is not where the caller believes it to be: stop without writing."""

    def __init__(self, study_id: int, expected: str) -> None:
        super().__init__(f"study {study_id} is not {expected} any more")
        self.study_id = study_id


class UnknownStudy(LookupError):
    """There is no such study."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a caller believes a study to be; ``lease_token`` is the holder's, None where nobody holds a lease."""

    study_id: int
    state: StudyState
    generation: int
    lease_token: str | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one study until ``expires_at``; ``attempt`` grows with every claim of the study."""

    position: Position
    attempt: int
    retries: int
    first_failed_at: datetime | None
    expires_at: datetime

    @property
    def study_id(self) -> int:
        """The study's key."""
        return self.position.study_id

    @property
    def generation(self) -> int:
        """The generation of the study that was claimed."""
        return self.position.generation


@dataclass(frozen=True, slots=True)
class Move:
    """One move of the table, with what the row keeps of it; ``detail`` is for the timeline and names no patient."""

    cause: Cause
    at: datetime
    detail: str = ""
    completed_by: str | None = None
    failure: Failure | None = None
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a new study's row keeps of its first instance."""

    study_instance_uid: str
    calling_ae_title: str
    peer_address: str
    received_at: datetime


def create(session: Session, arrival: Arrival) -> int | None:
    """Insert the study in RECEIVING, generation 1, and return its key; None when it exists already."""
    values = {
        "study_instance_uid": arrival.study_instance_uid,
        "state": StudyState.RECEIVING,
        "generation": 1,
        "created_at": arrival.received_at,
        "receiving_since": arrival.received_at,
        "last_received_at": arrival.received_at,
        "calling_ae_title": arrival.calling_ae_title,
        "peer_address": arrival.peer_address,
    }
    study_id = insert_once(session, Study, values)
    if study_id is not None:
        event = StudyEvent(
            study_id=study_id,
            at=arrival.received_at,
            kind=NoteKind.CREATED,
            new_state=StudyState.RECEIVING,
            generation=1,
            detail=f"first instance from {arrival.calling_ae_title} at {arrival.peer_address}",
        )
        session.add(event)
    return study_id


def position_of(session: Session, study_id: int, *, lock: bool = False) -> Position:
    """Where the study is now; ``lock`` holds its row until the transaction ends. Raises UnknownStudy."""
    query = select(Study.state, Study.generation, Study.lease_token).where(Study.id == study_id)
    row = session.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise UnknownStudy(f"there is no study {study_id}")
    return Position(study_id, row.state, row.generation, row.lease_token)


def transition(session: Session, position: Position, move: Move) -> Position:
    """Move the study from ``position`` by ``move`` and return where it is then.

    Raises ForbiddenMove when the table has no such move, StaleStudy when the study is not at ``position``. CLAIMED is
    for ``claim`` alone. Lease, progress and pause end with the move; a failure stays until the next one. A retraction
    ends a hold: nothing keeps it back.
    """
    if move.cause is Cause.CLAIMED:
        raise ForbiddenMove("a study is claimed by claim(), which makes its lease")
    new_state = after(position.state, move.cause)
    generation = position.generation + (move.cause in RENEWING)
    values: dict[str, Any] = {
        "state": new_state,
        "generation": generation,
        "lease_token": None,
        "lease_expires_at": None,
        "progress": None,
        "progressed_at": None,
        "not_before": move.not_before,
        "dispatched_at": None,
        "failure_code": move.failure.code if move.failure is not None else None,
        "failure_text": move.failure.text if move.failure is not None else None,
    }
    if move.cause is Cause.RETRACTED:
        values["held_at"] = None
    _compare_and_set(session, position, values | _counters(move) | _times(move, new_state))
    reached = Position(position.study_id, new_state, generation)
    _record(session, reached, position.state, move)
    return reached


def claim(session: Session, position: Position, at: datetime, lease_seconds: float) -> Lease:
    """Take the lease of a QUEUED or SENDING study of that generation whose pause is over; exactly one caller gets it.

    A DELIVERED study can be claimed only where a confirmation is awaited, which its pause says. A study that is held,
    or that the mode does not let begin, is claimed by nobody.
    The attempt is counted before the work begins, so that also a caller that dies at once was counted.
    """
    token = str(uuid.uuid4())
    expires_at = at + timedelta(seconds=lease_seconds)
    reached = Position(position.study_id, after(position.state, Cause.CLAIMED), position.generation, token)
    if position.state not in operation.BEGINS[operation.mode_of(session)]:
        raise StaleStudy(position.study_id, f"{position.state} and to be taken up")
    values = {
        "state": reached.state,
        "lease_token": token,
        "lease_expires_at": expires_at,
        "attempts": Study.attempts + 1,
        "progress": None,
        "progressed_at": at,
    }
    ready: ColumnElement[bool] = Study.not_before <= at
    if position.state is not StudyState.DELIVERED:
        ready = or_(Study.not_before.is_(None), ready)
    _compare_and_set(session, replace(position, lease_token=None), values, ready, Study.held_at.is_(None))
    columns = (Study.attempts, Study.retries, Study.first_failed_at)
    row = session.execute(select(*columns).where(Study.id == position.study_id)).one()
    _record(session, reached, position.state, Move(Cause.CLAIMED, at, f"attempt {row.attempts}"))
    return Lease(reached, row.attempts, row.retries, row.first_failed_at, expires_at)


def renew(session: Session, lease: Lease, at: datetime, lease_seconds: float, progress: str | None = None) -> Lease:
    """Extend the lease, and show ``progress`` (a few words) if given; raises StaleStudy when the lease is lost."""
    expires_at = at + timedelta(seconds=lease_seconds)
    values: dict[str, Any] = {"lease_expires_at": expires_at}
    if progress is not None:
        values |= {"progress": progress[:64], "progressed_at": at}
    _compare_and_set(session, lease.position, values)
    return replace(lease, expires_at=expires_at)


def held(session: Session, lease: Lease) -> None:
    """Raise StaleStudy unless the lease still holds; locks the row, so that writes beside it are fenced by it."""
    if position_of(session, lease.study_id, lock=True) != lease.position:
        raise StaleStudy(lease.study_id, f"{lease.position.state} under this lease")


def retry(session: Session, study_id: int, at: datetime, detail: str = "by the operator") -> Position:
    """The operator's retry of a FAILED or SKIPPED study.

    To SENDING when its analysis had succeeded (what was not accepted of the stored results is sent), else to QUEUED;
    results that are corrupt, or lack what a destination is to get, are made again, in a new generation. Raises
    ForbiddenMove for a study in another state.
    """
    position = position_of(session, study_id, lock=True)
    cause = Cause.ANALYSIS_RETRIED
    analyzed = exists().where(Run.study_id == study_id, Run.generation == position.generation)
    if position.state is StudyState.FAILED and session.scalar(select(analyzed)):
        code = session.scalar(select(Study.failure_code).where(Study.id == study_id))
        cause = Cause.RESULTS_VOIDED if code in VOIDING else Cause.DELIVERY_RETRIED
    if cause is Cause.DELIVERY_RETRIED:
        tracking.forgive(session, study_id, position.generation)
    return transition(session, position, Move(cause, at, detail))


def send_again(session: Session, study_id: int, destination: Destination, at: datetime, by: str) -> Position:
    """The operator's wish that a destination gets the results of an analyzed study, whatever it has of them.

    Raises ForbiddenMove where there are none to send, ``ProfileNotBuilt`` where they lack what its profile must have.
    """
    position = position_of(session, study_id, lock=True)
    run = tracking.current_run(session, study_id, position.generation)
    if run is None:
        raise ForbiddenMove(f"a study that is {position.state} has no results to send")
    tracking.plan(session, run, (destination,))
    tracking.start_over(session, run, destination)
    return transition(session, position, Move(Cause.SEND_REQUESTED, at, f"to {destination.name}, by {by}"))


def note(session: Session, position: Position, kind: NoteKind, at: datetime, detail: str) -> None:
    """Append a line to the timeline that moves nothing."""
    event = StudyEvent(study_id=position.study_id, at=at, kind=kind, generation=position.generation, detail=detail)
    session.add(event)


def _compare_and_set(
    session: Session, position: Position, values: dict[str, Any], *conditions: ColumnElement[bool]
) -> None:
    """Write ``values`` if the row is at ``position`` and meets the conditions, else raise StaleStudy."""
    statement = (
        update(Study)
        .where(
            Study.id == position.study_id,
            Study.state == position.state,
            Study.generation == position.generation,
            Study.lease_token == position.lease_token,  # IS NULL where the position has none
            *conditions,
        )
        .values(values)
        .execution_options(synchronize_session=False)
    )
    if session.connection().execute(statement).rowcount != 1:
        raise StaleStudy(position.study_id, f"{position.state} in generation {position.generation}")


def _counters(move: Move) -> dict[str, Any]:
    """What ``move`` counts: crashes towards POISON, retries towards the end of the back-off; success forgives both."""
    if move.cause in {Cause.LEASE_EXPIRED, Cause.CRASHED, Cause.POISONED}:
        return {"crashes": Study.crashes + 1}
    if move.cause is Cause.POSTPONED:
        first = func.coalesce(Study.first_failed_at, move.at, type_=UtcDateTime())
        return {"retries": Study.retries + 1, "first_failed_at": first}
    if move.cause in FORGIVING:
        return {"crashes": 0, "retries": 0, "first_failed_at": None}
    return {}


def _times(move: Move, new_state: StudyState) -> dict[str, Any]:
    """When and by what the set of instances became, or ceased to be, complete."""
    if new_state is StudyState.RECEIVING:
        return {"receiving_since": move.at, "last_received_at": move.at, "completed_by": None, "numbered_at": None}
    return {"completed_by": move.completed_by} if move.completed_by is not None else {}


def _record(session: Session, reached: Position, old_state: StudyState, move: Move) -> None:
    """Append the move to the timeline."""
    event = StudyEvent(
        study_id=reached.study_id,
        at=move.at,
        kind=move.cause,
        old_state=old_state,
        new_state=reached.state,
        generation=reached.generation,
        failure_code=move.failure.code if move.failure is not None else None,
        detail=move.detail,
    )
    session.add(event)
