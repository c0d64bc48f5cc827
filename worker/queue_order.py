"""Which studies may be taken up now, and in which order: the rows are the queue, messages only ring."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from worker.operation import BEGINS, mode_of
from worker.records import Study
from worker.states import StudyState


def due(session: Session, state: StudyState, now: datetime, limit: int) -> Sequence[Any]:
    """The studies of this state that nobody has, that are not held and whose pause is over: by priority, then age.

    None where the mode lets nothing of this state begin. Rows have what a ``Position`` has, and ``dispatched_at``.
    """
    if state not in BEGINS[mode_of(session)]:
        return ()
    paused = or_(Study.not_before.is_(None), Study.not_before <= now)
    if state is StudyState.DELIVERED:  # without a pause there is nothing to confirm
        paused = Study.not_before <= now
    query = (
        select(Study.id, Study.state, Study.generation, Study.lease_token, Study.dispatched_at)
        .where(Study.state == state, Study.lease_token.is_(None), Study.held_at.is_(None), paused)
        .order_by(Study.priority.desc(), Study.created_at, Study.id)
        .limit(limit)
    )
    return session.execute(query).all()
