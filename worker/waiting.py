"""What operators decide of a study that waits: to hold it, to release it, and whom it waits before."""

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from worker import studies
from worker.records import NoteKind, Study
from worker.states import ForbiddenMove, StudyState

HOLDABLE = frozenset({StudyState.RECEIVING, StudyState.QUEUED, StudyState.ANALYZING, StudyState.SENDING})
"""States in which something is still to be begun with a study, so that it can be held."""

HIGHEST_PRIORITY = 10


def hold(session: Session, study_id: int, at: datetime, by: str) -> None:
    """Begin nothing with the study until it is released; what runs goes on. Raises ForbiddenMove at its end."""
    position = studies.position_of(session, study_id, lock=True)
    if position.state not in HOLDABLE:
        raise ForbiddenMove(f"a study that is {position.state} cannot be held")
    statement = update(Study).where(Study.id == study_id, Study.held_at.is_(None)).values(held_at=at)
    if session.connection().execute(statement).rowcount:
        studies.note(session, position, NoteKind.HELD, at, f"by {by}")


def release(session: Session, study_id: int, at: datetime, by: str) -> None:
    """End a hold; the next sweep announces the study."""
    position = studies.position_of(session, study_id, lock=True)
    statement = update(Study).where(Study.id == study_id, Study.held_at.is_not(None))
    if session.connection().execute(statement.values(held_at=None, dispatched_at=None)).rowcount:
        studies.note(session, position, NoteKind.RELEASED, at, f"by {by}")


def prioritize(session: Session, study_id: int, priority: int, at: datetime, by: str) -> None:
    """Let the study wait before others: 0, as it came, to ``HIGHEST_PRIORITY``; else ValueError."""
    if not 0 <= priority <= HIGHEST_PRIORITY:
        raise ValueError(f"a priority is a number from 0 to {HIGHEST_PRIORITY}")
    position = studies.position_of(session, study_id, lock=True)
    statement = update(Study).where(Study.id == study_id, Study.priority != priority).values(priority=priority)
    if session.connection().execute(statement).rowcount:
        studies.note(session, position, NoteKind.PRIORITY, at, f"{priority}, by {by}")
