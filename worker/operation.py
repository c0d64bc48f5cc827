"""Whether work is begun: the mode that operators set (pause, drain), and what each mode lets begin."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from worker.console_records import Mode, ModeChange
from worker.records import Study
from worker.states import SERVED, StudyState

BEGINS: Mapping[Mode, frozenset[StudyState]] = {
    Mode.RUNNING: SERVED | {StudyState.QUEUED},
    Mode.DRAINING: SERVED,
    Mode.PAUSED: frozenset(),
}
"""The states of studies that may be taken up in each mode."""


def mode_of(session: Session) -> Mode:
    """The mode at present."""
    found = session.scalar(select(ModeChange.mode).order_by(ModeChange.id.desc()).limit(1))
    return Mode.RUNNING if found is None else found


def last_change(session: Session) -> ModeChange | None:
    """Who set the mode, and when; None where it was never changed."""
    return session.scalar(select(ModeChange).order_by(ModeChange.id.desc()).limit(1))


def change_mode(session: Session, mode: Mode, at: datetime, by: str) -> bool:
    """Set the mode; False where it is set already. What waits and may begin is announced by the next sweep."""
    if mode_of(session) is mode:
        return False
    session.add(ModeChange(at=at, mode=mode, by=by))
    waiting = update(Study).where(Study.state.in_(BEGINS[mode]), Study.lease_token.is_(None))
    session.execute(waiting.values(dispatched_at=None).execution_options(synchronize_session=False))
    return True
