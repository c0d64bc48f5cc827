"""Timelines and instances into counters: the clerk walks what is new since the last time, and counts each row once.

Nothing that receives, analyzes or sends a study takes part: counting costs them nothing, and what happened while no
clerk ran is counted later. Where two clerks count at once, one of them writes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile
from types import MappingProxyType
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from worker import counters, figures
from worker.database import Database
from worker.figures import Series
from worker.ports import Clock
from worker.records import Counter as CounterRow
from worker.records import Instance, NoteKind, Run, Study, StudyEvent
from worker.settings import Settings
from worker.states import Cause, StudyState

_EVENTS = 500
_INSTANCES = 5000
"""Rows that are counted at once; the rest comes with the next sweep."""

_SETTLED: Mapping[str, timedelta] = MappingProxyType({"sqlite": timedelta(0), "postgresql": timedelta(seconds=60)})
"""Rows of PostgreSQL may become visible out of the order of their keys, but not so late as this."""

_STAGES: Mapping[str, tuple[StudyState, str]] = MappingProxyType(
    {
        Cause.COMPLETED: (StudyState.RECEIVING, "receive"),
        Cause.CLAIMED: (StudyState.QUEUED, "wait"),
        Cause.ANALYZED: (StudyState.ANALYZING, "analyze"),
        Cause.DELIVERED: (StudyState.SENDING, "send"),
        Cause.CONFIRMED: (StudyState.DELIVERED, "confirm"),
    }
)
"""The moves that end a stage well, the state that a study was in meanwhile, and what the stage is called."""

_ENDS: Mapping[StudyState, str] = MappingProxyType({StudyState.FAILED: "failed", StudyState.SKIPPED: "skipped"})


@dataclass(slots=True)
class _Batch:
    """New rows of one table up to the key ``after``, and what they add."""

    mark: Series
    before: int
    after: int = 0
    rows: int = 0
    increments: dict[Series, float] = field(default_factory=dict)
    latest: dict[Series, float] = field(default_factory=dict)

    def take(self, key: int) -> None:
        """Count a row as seen."""
        self.after, self.rows = key, self.rows + 1

    def add(self, added: Mapping[Series, float]) -> None:
        """Add to the increments."""
        for series, amount in added.items():
            self.increments[series] = self.increments.get(series, 0.0) + amount


class Tally:
    """Counts what is new in the records; SQLAlchemyError when they cannot be reached."""

    def __init__(self, database: Database, settings: Settings, clock: Clock) -> None:
        self._database = database
        self._allowed = settings.allowed_calling_ae_titles
        self._clock = clock

    def run(self) -> int:
        """Count one batch of each table; return how many rows that were."""
        return self._count(self._events) + self._count(self._instances)

    def _count(self, read: Callable[[Session, datetime], _Batch]) -> int:
        """Read without any lock, then write what was counted with the new mark in one short transaction."""
        with self._database.reading() as session:
            batch = read(session, self._clock() - _SETTLED[session.get_bind().dialect.name])
        if batch.rows == 0:
            return 0
        with self._database.transaction() as session:
            if not counters.advance(session, batch.mark, batch.before, batch.after):
                return 0
            counters.raise_to(session, batch.latest)
            counters.add(session, batch.increments)
        return batch.rows

    def _instances(self, session: Session, until: datetime) -> _Batch:
        batch = _begun(session, "instances")
        query = select(Instance.id, Instance.size_bytes, Instance.received_at).where(Instance.id > batch.before)
        rows = session.execute(query.order_by(Instance.id).limit(_INSTANCES))
        for row in takewhile(lambda row: row.received_at <= until, rows):
            batch.take(row.id)
            batch.add({figures.SPOOL_INSTANCES.series(): 1, figures.SPOOL_BYTES.series(): row.size_bytes})
        return batch

    def _events(self, session: Session, until: datetime) -> _Batch:
        batch = _begun(session, "study_events")
        query = (
            select(StudyEvent, Study.calling_ae_title, Study.generation, Study.last_received_at)
            .join(Study, Study.id == StudyEvent.study_id)
            .where(StudyEvent.id > batch.before)
            .order_by(StudyEvent.id)
            .limit(_EVENTS)
        )
        known = _known_senders(session)
        for row in takewhile(lambda row: row.StudyEvent.at <= until, session.execute(query).all()):
            event: StudyEvent = row.StudyEvent
            batch.take(event.id)
            if event.kind == NoteKind.CREATED:
                sender = figures.calling_ae_title(row.calling_ae_title, self._allowed, frozenset(known))
                known.add(sender)
                batch.add({figures.STUDIES_RECEIVED.series(sender): 1})
                batch.latest[figures.LAST_STUDY.series(sender)] = event.at.timestamp()
            elif event.old_state is not None and event.new_state is not None:
                batch.add(_moved(event))
                batch.add(_stage(session, event))
                if event.kind == Cause.ANALYZED:
                    batch.add(_analyzed(session, event))
                if event.kind == Cause.DELIVERED and event.generation == row.generation:
                    batch.add(_result(session, event, row.last_received_at))
        return batch


def _begun(session: Session, table: str) -> _Batch:
    mark = figures.TALLIED.series(table)
    return _Batch(mark, int(counters.value(session, mark)))


def _known_senders(session: Session) -> set[str]:
    rows = session.execute(select(CounterRow.labels).where(CounterRow.name == figures.STUDIES_RECEIVED.name))
    return {Series(figures.STUDIES_RECEIVED.name, row.labels).values[0] for row in rows}


def _moved(event: StudyEvent) -> dict[Series, float]:
    """The move itself, and the failure that it was for."""
    added: dict[Series, float] = {figures.STUDY_MOVES.series(event.kind): 1}
    if event.failure_code is not None and event.new_state is not None:
        end = _ENDS.get(event.new_state, "postponed")
        added[figures.STUDY_FAILURES.series(event.failure_code, end)] = 1
    return added


def _stage(session: Session, event: StudyEvent) -> dict[Series, float]:
    """How long the stage took that the move ended: since the study last came into the state that it leaves."""
    state, stage = _STAGES.get(event.kind, (None, ""))
    if state is None or event.old_state is not state:
        return {}
    came = or_(StudyEvent.old_state.is_(None), StudyEvent.old_state != state)
    since = _latest(session, event, StudyEvent.new_state == state, came)
    return {} if since is None else figures.STAGE_SECONDS.observation(_seconds(since, event.at), stage)


def _analyzed(session: Session, event: StudyEvent) -> dict[Series, float]:
    """The answer of the model, if its run is still there; both series begin, so that each has its share."""
    query = select(Run).where(Run.study_id == event.study_id, Run.generation == event.generation)
    run = session.scalar(query)
    if run is None:
        return {}
    suspected = suspects(run.findings)
    model = run.bundle_name, run.bundle_version
    return {
        figures.ANALYSES.series(*model, "true"): float(suspected),
        figures.ANALYSES.series(*model, "false"): float(not suspected),
    }


def _result(session: Session, event: StudyEvent, last_received_at: datetime) -> dict[Series, float]:
    """The time from the last instance, once for each generation; nothing came since, or it would be another one."""
    if _latest(session, event, StudyEvent.kind == Cause.DELIVERED, StudyEvent.generation == event.generation):
        return {}
    return figures.RESULT_SECONDS.observation(_seconds(last_received_at, event.at))


def _latest(session: Session, event: StudyEvent, *conditions: Any) -> datetime | None:
    """When the last event of the study before this one was that meets the conditions."""
    query = select(func.max(StudyEvent.at)).where(
        StudyEvent.study_id == event.study_id, StudyEvent.id < event.id, *conditions
    )
    return session.scalar(query)


def _seconds(since: datetime, until: datetime) -> float:
    return max((until - since).total_seconds(), 0.0)


def suspects(findings: Mapping[str, Any]) -> bool:
    """Whether the findings of a run suspect a fracture at any level."""
    return any(level["fractured"] for level in findings["levels"])
