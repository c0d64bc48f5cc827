"""How the work goes, for the page of queues: what waits and for how long, what was done lately, how long it took."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.records import Run, Study, StudyEvent
from worker.states import Cause, StudyState

DAY = timedelta(hours=24)
HOUR = timedelta(hours=1)
SAMPLE = 200
"""The newest delivered studies, over which durations are taken."""
QUEUES = (StudyState.RECEIVING, StudyState.QUEUED, StudyState.ANALYZING, StudyState.SENDING)
"""The states that a study passes through; in all others it stays."""
_MARKS = (Cause.COMPLETED, Cause.CLAIMED, Cause.ANALYZED, Cause.DELIVERED)


@dataclass(frozen=True, slots=True)
class QueueView:
    """The studies of one state; ``oldest_seconds`` is since the last instance of the one that waits longest."""

    state: StudyState
    studies: int
    held: int
    oldest_seconds: float | None

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "state": self.state.value,
            "studies": self.studies,
            "held": self.held,
            "oldest_seconds": self.oldest_seconds,
        }


@dataclass(frozen=True, slots=True)
class DurationView:
    """How long something took lately: half of the studies, and 95 of 100, took no longer than this, in seconds."""

    name: str
    studies: int
    p50: float
    p95: float

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {"name": self.name, "studies": self.studies, "p50_seconds": self.p50, "p95_seconds": self.p95}


@dataclass(frozen=True, slots=True)
class WorkView:
    """One study that a process works on now."""

    study_id: int
    state: StudyState
    progress: str | None
    progressed_at: datetime | None
    lease_expires_at: datetime


@dataclass(frozen=True, slots=True)
class Throughput:
    """Everything about the work at one moment."""

    queues: tuple[QueueView, ...]
    counts: Mapping[StudyState, int]
    analyzed_last_hour: int
    delivered_last_hour: int
    delivered_last_day: int
    durations: tuple[DurationView, ...]
    at_work: tuple[WorkView, ...]

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "queues": [queue.as_json() for queue in self.queues],
            "studies": {state.value: count for state, count in self.counts.items()},
            "analyzed_last_hour": self.analyzed_last_hour,
            "delivered_last_hour": self.delivered_last_hour,
            "delivered_last_day": self.delivered_last_day,
            "durations": [duration.as_json() for duration in self.durations],
            "at_work": [
                {"study": work.study_id, "state": work.state.value, "progress": work.progress} for work in self.at_work
            ],
        }


def throughput(session: Session, now: datetime) -> Throughput:
    """How the work goes at ``now``."""
    found = {row.state: row for row in session.execute(_BY_STATE)}
    return Throughput(
        queues=tuple(_queue(state, found.get(state), now) for state in QUEUES),
        counts={state: found[state].studies if state in found else 0 for state in StudyState},
        analyzed_last_hour=_count(session, Cause.ANALYZED, now - HOUR),
        delivered_last_hour=_count(session, Cause.DELIVERED, now - HOUR),
        delivered_last_day=_count(session, Cause.DELIVERED, now - DAY),
        durations=_durations(session, now),
        at_work=_at_work(session),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


_BY_STATE = select(
    Study.state,
    func.count().label("studies"),
    func.count(Study.held_at).label("held"),
    func.min(Study.last_received_at).label("oldest"),
).group_by(Study.state)


def _queue(state: StudyState, row: Any, now: datetime) -> QueueView:
    if row is None:
        return QueueView(state, 0, 0, None)
    return QueueView(state, row.studies, row.held, max((now - row.oldest).total_seconds(), 0.0))


def _count(session: Session, cause: Cause, since: datetime) -> int:
    query = select(func.count()).select_from(StudyEvent).where(StudyEvent.kind == cause, StudyEvent.at >= since)
    return session.scalar(query) or 0


def _durations(session: Session, now: datetime) -> tuple[DurationView, ...]:
    """From the timelines of the studies that were delivered lately, in the generation that they are in still."""
    delivered = (
        select(StudyEvent.study_id, Study.generation, Study.last_received_at)
        .join(Study, (Study.id == StudyEvent.study_id) & (Study.generation == StudyEvent.generation))
        .where(StudyEvent.kind == Cause.DELIVERED, StudyEvent.at >= now - DAY)
        .order_by(StudyEvent.at.desc())
        .limit(SAMPLE)
    )
    received = {row.study_id: (row.generation, row.last_received_at) for row in session.execute(delivered)}
    marks: dict[int, dict[str, datetime]] = {study_id: {} for study_id in received}
    events = (
        select(StudyEvent.study_id, StudyEvent.generation, StudyEvent.kind, StudyEvent.at)
        .where(StudyEvent.study_id.in_(list(received)), StudyEvent.kind.in_(_MARKS))
        .order_by(StudyEvent.id)
    )
    for row in session.execute(events):
        if row.generation == received[row.study_id][0]:
            marks[row.study_id].setdefault(row.kind, row.at)  # the first claim is that of the analysis
    steps: dict[str, list[float]] = {}
    for study_id, at in marks.items():
        _add_steps(steps, received[study_id][1], at)
    for name, seconds in _stages(session, list(received)):
        steps.setdefault(name, []).append(seconds)
    return tuple(
        DurationView(name, len(values), percentile(values, 0.5), percentile(values, 0.95))
        for name, values in steps.items()
    )


def _add_steps(steps: dict[str, list[float]], received_at: datetime, at: Mapping[str, datetime]) -> None:
    for name, begin, end in (
        ("last instance to result", received_at, at.get(Cause.DELIVERED)),
        ("until complete", received_at, at.get(Cause.COMPLETED)),
        ("waiting for a worker", at.get(Cause.COMPLETED), at.get(Cause.CLAIMED)),
        ("analysis", at.get(Cause.CLAIMED), at.get(Cause.ANALYZED)),
        ("delivery", at.get(Cause.ANALYZED), at.get(Cause.DELIVERED)),
    ):
        if begin is not None and end is not None:
            steps.setdefault(name, []).append(max((end - begin).total_seconds(), 0.0))


def _stages(session: Session, keys: Sequence[int]) -> list[tuple[str, float]]:
    """The seconds of each stage of the analyses of these studies."""
    query = select(Run.manifest).where(Run.study_id.in_(keys)).order_by(Run.id.desc()).limit(SAMPLE)
    found = []
    for manifest in session.scalars(query):
        seconds = manifest.get("seconds")
        if isinstance(seconds, dict):
            found += [(f"analysis: {name}", float(value)) for name, value in seconds.items() if "." not in name]
    return found


def _at_work(session: Session) -> tuple[WorkView, ...]:
    query = select(Study).where(Study.lease_expires_at.is_not(None)).order_by(Study.lease_expires_at).limit(100)
    return tuple(
        WorkView(row.id, row.state, row.progress, row.progressed_at, row.lease_expires_at)
        for row in session.scalars(query)
        if row.lease_expires_at is not None
    )
