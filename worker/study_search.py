"""Lists of studies: what is searched for, and one page of it, found by key and never by counting off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from worker.records import Instance, LevelFinding, Run, Study
from worker.states import StudyState

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class StudyFilter:
    """What is searched for; what is None or empty does not matter.

    ``vertebra`` alone asks for a suspected fracture there, with a probability for that of the level; a probability
    alone is that of any fracture.
    """

    states: tuple[StudyState, ...] = ()
    calling_ae_title: str | None = None
    received_from: datetime | None = None
    received_before: datetime | None = None
    vertebra: str | None = None
    probability_from: float | None = None
    probability_to: float | None = None
    number_digest: str | None = None
    held: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the list, which is ordered by the last receipt, newest first; as text for an address."""

    at: datetime
    study_id: int

    def __str__(self) -> str:
        return f"{(self.at - _EPOCH) // _MICROSECOND}-{self.study_id}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place that ``str`` wrote; raises ValueError."""
        microseconds, _, study_id = text.partition("-")
        if not (microseconds.isascii() and microseconds.isdecimal() and study_id.isascii() and study_id.isdecimal()):
            raise ValueError("this is no place in a list")
        try:
            return cls(_EPOCH + int(microseconds) * _MICROSECOND, int(study_id[:18]))
        except OverflowError:
            raise ValueError("this is no place in a list") from None


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One study in a list; ``suspected`` names levels. No identity in it."""

    study_id: int
    study_instance_uid: str
    state: StudyState
    generation: int
    priority: int
    held: bool
    instances: int
    created_at: datetime
    last_received_at: datetime
    calling_ae_title: str
    progress: str | None
    not_before: datetime | None
    failure_code: str | None
    failure_text: str | None
    probability: float | None
    suspected: tuple[str, ...] = ()

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.last_received_at, self.study_id)

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "id": self.study_id,
            "study_instance_uid": self.study_instance_uid,
            "state": self.state.value,
            "generation": self.generation,
            "priority": self.priority,
            "held": self.held,
            "instances": self.instances,
            "created_at": self.created_at.isoformat(),
            "last_received_at": self.last_received_at.isoformat(),
            "calling_ae_title": self.calling_ae_title,
            "progress": self.progress,
            "failure_code": self.failure_code,
            "failure_text": self.failure_text,
            "probability": self.probability,
            "suspected": list(self.suspected),
        }


@dataclass(frozen=True, slots=True)
class StudyPage:
    """A part of the list, and where the ``newer`` and the ``older`` one begin, where there are any."""

    rows: tuple[StudyRow, ...]
    newer: Place | None
    older: Place | None


def search(
    session: Session, wanted: StudyFilter, limit: int, *, before: Place | None = None, after: Place | None = None
) -> StudyPage:
    """The newest studies, those received ``before`` a place, or the nearest ones received ``after`` it."""
    query = _where(_columns(), wanted)
    if after is not None:
        query = query.where(_beyond(after, newer=True)).order_by(Study.last_received_at, Study.id)
    else:
        query = query.order_by(Study.last_received_at.desc(), Study.id.desc())
        if before is not None:
            query = query.where(_beyond(before, newer=False))
    found = session.execute(query.limit(limit + 1)).all()
    more = len(found) > limit
    rows = _completed(session, found[:limit])
    if after is not None:
        rows = rows[::-1]
    if not rows:
        return StudyPage((), None, None)
    has_newer = more if after is not None else before is not None
    has_older = True if after is not None else more
    return StudyPage(rows, rows[0].place if has_newer else None, rows[-1].place if has_older else None)


def failed_studies(session: Session, limit: int, *, after_id: int = 0) -> Sequence[int]:
    """The keys of FAILED studies, in the order of their keys."""
    query = select(Study.id).where(Study.state == StudyState.FAILED, Study.id > after_id).order_by(Study.id)
    return session.scalars(query.limit(limit)).all()


def row_of(session: Session, study_id: int) -> StudyRow | None:
    """One study as a row of a list."""
    rows = _completed(session, session.execute(_columns().where(Study.id == study_id)).all())
    return rows[0] if rows else None


def id_of(session: Session, study_instance_uid: str) -> int | None:
    """The key of a study."""
    return session.scalar(select(Study.id).where(Study.study_instance_uid == study_instance_uid))


def senders(session: Session, limit: int = 50) -> Sequence[str]:
    """The AE titles that sent studies."""
    return session.scalars(
        select(Study.calling_ae_title).distinct().order_by(Study.calling_ae_title).limit(limit)
    ).all()


def _columns() -> Any:
    """The columns of a row, beside those of the run of its generation."""
    run = and_(Run.study_id == Study.id, Run.generation == Study.generation)
    columns = (
        Study.id,
        Study.study_instance_uid,
        Study.state,
        Study.generation,
        Study.priority,
        Study.held_at,
        Study.created_at,
        Study.last_received_at,
        Study.calling_ae_title,
        Study.progress,
        Study.not_before,
        Study.failure_code,
        Study.failure_text,
    )
    return select(*columns, Run.id.label("run_id"), Run.probability).outerjoin(Run, run)


def _where(query: Any, wanted: StudyFilter) -> Any:
    if wanted.states:
        query = query.where(Study.state.in_(wanted.states))
    if wanted.calling_ae_title is not None:
        query = query.where(Study.calling_ae_title == wanted.calling_ae_title)
    if wanted.received_from is not None:
        query = query.where(Study.last_received_at >= wanted.received_from)
    if wanted.received_before is not None:
        query = query.where(Study.last_received_at < wanted.received_before)
    if wanted.number_digest is not None:
        query = query.where(Study.number_digest == wanted.number_digest)
    if wanted.held:
        query = query.where(Study.held_at.is_not(None))
    if wanted.vertebra is not None:
        return query.where(_has_level(wanted, wanted.vertebra))
    bounds = _within(Run.probability, wanted)
    return query.where(*bounds) if bounds else query


def _has_level(wanted: StudyFilter, vertebra: str) -> ColumnElement[bool]:
    bounds = _within(LevelFinding.probability, wanted) or [LevelFinding.fractured.is_(True)]
    return exists().where(LevelFinding.run_id == Run.id, LevelFinding.vertebra == vertebra, *bounds)


def _within(column: Any, wanted: StudyFilter) -> list[ColumnElement[bool]]:
    bounds = []
    if wanted.probability_from is not None:
        bounds.append(column >= wanted.probability_from)
    if wanted.probability_to is not None:
        bounds.append(column <= wanted.probability_to)
    return bounds


def _beyond(place: Place, *, newer: bool) -> ColumnElement[bool]:
    same = Study.last_received_at == place.at
    if newer:
        return or_(Study.last_received_at > place.at, and_(same, Study.id > place.study_id))
    return or_(Study.last_received_at < place.at, and_(same, Study.id < place.study_id))


def _completed(session: Session, found: Sequence[Any]) -> tuple[StudyRow, ...]:
    """Rows with the number of their instances and their suspected levels, by one query each."""
    counts = _instance_counts(session, [row.id for row in found])
    suspected: dict[int, list[str]] = {}
    keys = [row.run_id for row in found if row.run_id is not None]
    query = select(LevelFinding.run_id, LevelFinding.vertebra).where(
        LevelFinding.run_id.in_(keys), LevelFinding.fractured
    )
    for run_id, vertebra in session.execute(query.order_by(LevelFinding.vertebra)):
        suspected.setdefault(run_id, []).append(vertebra)
    return tuple(
        replace(_row(row), instances=counts.get(row.id, 0), suspected=tuple(suspected.get(row.run_id, ())))
        for row in found
    )


def _instance_counts(session: Session, keys: Sequence[int]) -> Mapping[int, int]:
    """Instances of each study, revisions counted with what they revise."""
    query = select(Instance.study_id, func.count(Instance.sop_instance_uid.distinct()))
    found = session.execute(query.where(Instance.study_id.in_(keys)).group_by(Instance.study_id))
    return {row[0]: row[1] for row in found}


def _row(row: Any) -> StudyRow:
    return StudyRow(
        study_id=row.id,
        study_instance_uid=row.study_instance_uid,
        state=row.state,
        generation=row.generation,
        priority=row.priority,
        held=row.held_at is not None,
        instances=0,
        created_at=row.created_at,
        last_received_at=row.last_received_at,
        calling_ae_title=row.calling_ae_title,
        progress=row.progress,
        not_before=row.not_before,
        failure_code=row.failure_code,
        failure_text=row.failure_text,
        probability=row.probability,
    )
