"""What no event would trigger, found in the rows every few seconds: quiet studies, dead workers, bells to ring (again).

The sweeps need the database alone; without a broker only the bells stay silent. Several clerks may sweep at once: rows
that another one is looking at are passed over.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from worker import queue_order, shadow_queue, studies, triage
from worker.database import Database
from worker.failures import Failure, FailureCode
from worker.model_choice import chosen
from worker.ports import Bell, BellUnavailable, Clock
from worker.records import (
    RETRACTION,
    Commitment,
    CommitmentState,
    Delivery,
    DeliveryState,
    ModelRole,
    ResultObject,
    Run,
    Study,
)
from worker.rule_file import read_rules
from worker.rules import Decision
from worker.settings import Settings
from worker.states import ENDS, SERVED, Cause, StudyState
from worker.studies import Move, Position

logger = logging.getLogger(__name__)

_LIMIT = 100
"""Rows that one sweep moves in one transaction; the rest comes with the next sweep."""

_WINDOW = 64
"""Rows at the head of each queue that are rung: workers never lack a message, the broker never holds thousands."""


BARRING = frozenset({*studies.VOIDING, FailureCode.NO_DESTINATION, FailureCode.POISON})
"""Failures that would meet a retraction as well: the operator comes first."""


@dataclass(frozen=True, slots=True)
class SweepReport:
    """How many studies one sweep moved or rang for; ``bell_answers`` is False when the broker did not take a ring."""

    completed: int = 0
    requeued: int = 0
    poisoned: int = 0
    rung: int = 0
    bell_answers: bool = True


class Sweeps:
    """All sweeps, over one database; SQLAlchemyError when that cannot be reached, and the next run makes up for it.

    Raises ``SettingsError`` when the rules of the site are wrong.
    """

    def __init__(self, database: Database, settings: Settings, bell: Bell, clock: Clock) -> None:
        self._database = database
        self._settings = settings
        self._bell = bell
        self._clock = clock
        self._rules = read_rules(settings)
        self._shadow_rung: tuple[int, datetime] | None = None

    def run(self) -> SweepReport:
        """Run every sweep once."""
        completed = self.complete_quiet()
        requeued, poisoned = self.expire_leases()
        self.resume_retractions()
        self.wake_reported()
        rung, bell_answers = self.ring()
        if bell_answers:
            self.ring_shadow()
        report = SweepReport(completed, requeued, poisoned, rung, bell_answers)
        if report != SweepReport():
            logger.info(
                "swept: %d completed, %d leases expired, %d set aside, %d rung", completed, requeued, poisoned, rung
            )
        return report

    def complete_quiet(self) -> int:
        """RECEIVING to QUEUED where nothing came for the quiet period, or where receiving lasts for too long.

        Where a rule says so, to SKIPPED; headers are read for that before any row is locked.
        """
        now = self._clock()
        quiet = Study.last_received_at <= now - timedelta(seconds=self._settings.quiet_seconds)
        endless = Study.receiving_since <= now - timedelta(seconds=self._settings.max_receiving_seconds)
        complete = and_(Study.state == StudyState.RECEIVING, or_(quiet, endless))
        decisions = self._decide(complete)
        with self._database.transaction() as session:
            rows = [row for row in _lock(session, complete) if self._rules is None or row.id in decisions]
            for row in rows:
                silent_seconds = (now - row.last_received_at).total_seconds()
                by = "quiet" if silent_seconds >= self._settings.quiet_seconds else "max age"
                detail = f"nothing received for {silent_seconds:.0f} s" if by == "quiet" else "received for too long"
                move = Move(Cause.COMPLETED, now, detail, completed_by=by)
                triage.complete(session, _position(row), move, decisions.get(row.id))
        return len(rows)

    def _decide(self, complete: ColumnElement[bool]) -> Mapping[int, Decision]:
        """What the rules decide on each of these studies; nothing where there are none."""
        if self._rules is None:
            return {}
        with self._database.reading() as session:
            ids = session.scalars(select(Study.id).where(complete).order_by(Study.id).limit(_LIMIT)).all()
            found = triage.spooled(session, ids, self._settings.spool_dir)
        return {study_id: self._rules.decide(triage.read_facts(study)) for study_id, study in found.items()}

    def expire_leases(self) -> tuple[int, int]:
        """Take studies back from workers that went silent; returns (waiting again, set aside as POISON)."""
        now = self._clock()
        poisoned = 0
        with self._database.transaction() as session:
            rows = _lock(session, Study.lease_expires_at <= now)
            for row in rows:
                crashes = row.crashes + 1
                move = Move(Cause.LEASE_EXPIRED, now, f"no sign of life of attempt {row.attempts}")
                if crashes >= self._settings.max_attempts:
                    text = f"{crashes} attempts ended without an answer"
                    move = Move(Cause.POISONED, now, text, failure=Failure(FailureCode.POISON, text))
                    poisoned += 1
                studies.transition(session, _position(row), move)
        return len(rows) - poisoned, poisoned

    def resume_retractions(self) -> int:
        """To SENDING where a Key Object that withdraws results is due and nothing else moves the study; how many."""
        due = (
            select(Run.study_id)
            .join(Run.results)
            .join(ResultObject.deliveries)
            .where(ResultObject.kind == RETRACTION, Delivery.state == DeliveryState.PENDING)
        )
        now = self._clock()
        mendable = or_(Study.failure_code.is_(None), Study.failure_code.not_in(BARRING))
        with self._database.transaction() as session:
            rows = _lock(session, and_(Study.state.in_(ENDS), mendable, Study.id.in_(due)))
            for row in rows:
                studies.transition(session, _position(row), Move(Cause.RETRACTED, now, "a retraction is to be sent"))
        return len(rows)

    def wake_reported(self) -> int:
        """End the pause of studies whose destination reported on their storage commitment; how many."""
        reported = select(Commitment.study_id).where(Commitment.state == CommitmentState.REPORTED)
        now = self._clock()
        statement = (
            update(Study)
            .where(Study.state.in_(SERVED), Study.lease_token.is_(None), Study.not_before > now, Study.id.in_(reported))
            .values(not_before=now, dispatched_at=None)
            .execution_options(synchronize_session=False)
        )
        with self._database.transaction() as session:
            return session.connection().execute(statement).rowcount

    def ring(self) -> tuple[int, bool]:
        """Ring for the studies at the head of both queues; returns how many, and whether the bell answered.

        Rung is marked afterwards: a ring that failed, or a process that died between, leads to another ring.
        """
        rung = 0
        for state, ring in (
            (StudyState.QUEUED, self._bell.ring_analysis),
            (StudyState.SENDING, self._bell.ring_delivery),
            (StudyState.DELIVERED, self._bell.ring_delivery),
        ):
            for position in self._due(state):
                try:
                    ring(position.study_id, position.generation)
                except BellUnavailable as error:
                    logger.warning("the broker does not answer, the bell rings later", extra={"reason": str(error)})
                    return rung, False
                self._mark(position)
                rung += 1
        return rung, True

    def ring_shadow(self) -> None:
        """Let the shadow model look at one finished run, when there is a shadow and no study waits for its analysis."""
        now = self._clock()
        with self._database.reading() as session:
            shadow = chosen(session, ModelRole.SHADOW)
            if shadow.sha256 is None or shadow_queue.must_wait(session, now):
                return
        with self._database.transaction() as session:
            if shadow_queue.expire(session, shadow, now):
                logger.error("the shadow ended its worker again and again: it is ended")
                return
            run_id = shadow_queue.next_run(session, shadow)
        lately = now - timedelta(seconds=self._settings.ring_again_seconds)
        rung_id, rung_at = self._shadow_rung or (None, now)
        if run_id is None or (run_id == rung_id and rung_at > lately):
            return
        try:
            self._bell.ring_shadow(run_id)
        except BellUnavailable as error:
            logger.warning("the broker does not answer, the shadow waits", extra={"reason": str(error)})
        else:
            self._shadow_rung = run_id, now

    def _due(self, state: StudyState) -> list[Position]:
        """The studies at the head of the queue that were not rung for lately."""
        now = self._clock()
        lately = now - timedelta(seconds=self._settings.ring_again_seconds)
        with self._database.reading() as session:
            rows = queue_order.due(session, state, now, _WINDOW)
        return [_position(row) for row in rows if row.dispatched_at is None or row.dispatched_at <= lately]

    def _mark(self, position: Position) -> None:
        """Remember the ring, unless the study moved meanwhile (which began a new wait or ended this one)."""
        statement = (
            update(Study)
            .where(
                Study.id == position.study_id,
                Study.state == position.state,
                Study.generation == position.generation,
                Study.lease_token.is_(None),
            )
            .values(dispatched_at=self._clock())
        )
        with self._database.transaction() as session:
            session.connection().execute(statement)


def _lock(session: Session, condition: ColumnElement[bool]) -> Sequence[Any]:
    """The rows that meet the condition, held until the transaction ends; rows that another holds are left out."""
    columns = (
        Study.id,
        Study.state,
        Study.generation,
        Study.lease_token,
        Study.last_received_at,
        Study.attempts,
        Study.crashes,
    )
    query = select(*columns).where(condition).order_by(Study.id).limit(_LIMIT).with_for_update(skip_locked=True)
    return session.execute(query).all()


def _position(row: Any) -> Position:
    return Position(row.id, row.state, row.generation, row.lease_token)
