"""Which runs the shadow model is to look at, and how far it is: rows that the studies' own never wait for.

A run waits for the shadow when it was made by the serving model of now, after the shadow was chosen, and is still its
study's newest. Studies that wait for their own analysis always go first.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from worker import model_choice
from worker.model_choice import Actor, Chosen
from worker.operation import BEGINS, mode_of
from worker.records import ModelRole, Run, ShadowRun, ShadowState, Study, insert_once
from worker.states import StudyState

LIFE_SECONDS = 1000.0
"""No comparison lasts longer: the task's time limit ends it before."""
MAX_TRIES = 20
"""After giving way so often a run is left out."""
MAX_DEATHS = 3
"""A shadow that ended its worker so often is ended itself."""
DIED = "its worker ended, or did not report back"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to compare one run; a later claim has a higher ``attempt``."""

    row_id: int
    attempt: int


def must_wait(session: Session, now: datetime) -> bool:
    """Whether a study could be analyzed at this moment, or nothing is to be begun at all (pause, drain)."""
    if StudyState.QUEUED not in BEGINS[mode_of(session)]:
        return True
    ready = or_(Study.not_before.is_(None), Study.not_before <= now)
    waiting = exists().where(Study.state == StudyState.QUEUED, Study.held_at.is_(None), ready)
    return bool(session.scalar(select(waiting)))


def next_run(session: Session, shadow: Chosen) -> int | None:
    """The oldest run that waits for the shadow; None while another one is looked at.

    Runs from before the oldest row that is kept had their turn.
    """
    if shadow.sha256 is None or session.scalar(select(exists().where(ShadowRun.state == ShadowState.RUNNING))):
        return None
    oldest = select(func.min(ShadowRun.run_id)).where(ShadowRun.bundle_sha256 == shadow.sha256).scalar_subquery()
    mine = and_(ShadowRun.run_id == Run.id, ShadowRun.bundle_sha256 == shadow.sha256)
    query = (
        select(Run.id)
        .join(Study, and_(Study.id == Run.study_id, Study.generation == Run.generation))
        .where(
            Run.created_at >= shadow.since,
            Run.withdrawn_at.is_(None),
            Run.bundle_sha256 != shadow.sha256,
            Run.id >= func.coalesce(oldest, 0),
            ~exists().where(mine, ShadowRun.state != ShadowState.WAITING),
        )
        .order_by(Run.id)
        .limit(1)
    )
    return session.scalar(query)


def claim(session: Session, run_id: int, sha256: str, now: datetime) -> Claim | None:
    """Take a run for a shadow; None when it was looked at already, or another worker has it."""
    values = {"run_id": run_id, "bundle_sha256": sha256, "state": ShadowState.RUNNING, "tries": 1, "started_at": now}
    row_id = insert_once(session, ShadowRun, values)
    if row_id is not None:
        return Claim(row_id, 1)
    row = session.scalar(select(ShadowRun).where(ShadowRun.run_id == run_id, ShadowRun.bundle_sha256 == sha256))
    if row is None or row.state is not ShadowState.WAITING:
        return None
    mine = Claim(row.id, row.tries + 1)
    statement = (
        update(ShadowRun)
        .where(ShadowRun.id == row.id, ShadowRun.state == ShadowState.WAITING, ShadowRun.tries == row.tries)
        .values(state=ShadowState.RUNNING, tries=mine.attempt, started_at=now)
        .execution_options(synchronize_session=False)
    )
    return mine if session.connection().execute(statement).rowcount == 1 else None


def conclude(session: Session, mine: Claim, state: ShadowState, **values: object) -> bool:
    """Write what became of a claim; False when it is not held any more."""
    statement = (
        update(ShadowRun)
        .where(ShadowRun.id == mine.row_id, ShadowRun.state == ShadowState.RUNNING, ShadowRun.tries == mine.attempt)
        .values(state=state, **values)
    )
    return session.connection().execute(statement).rowcount == 1


def give_way(session: Session, mine: Claim) -> None:
    """Let the run wait again, for a limited number of times."""
    if mine.attempt >= MAX_TRIES:
        conclude(session, mine, ShadowState.FAILED, failure=f"gave way to waiting studies {MAX_TRIES} times")
    else:
        conclude(session, mine, ShadowState.WAITING)


def expire(session: Session, shadow: Chosen, now: datetime) -> bool:
    """End the claims of workers that went silent; True when the shadow was ended because that came too often."""
    dead = ShadowRun.state == ShadowState.RUNNING, ShadowRun.started_at <= now - timedelta(seconds=LIFE_SECONDS)
    statement = update(ShadowRun).where(*dead).values(state=ShadowState.FAILED, failure=DIED)
    if session.connection().execute(statement).rowcount == 0 or shadow.sha256 is None:
        return False
    deaths = ShadowRun.bundle_sha256 == shadow.sha256, ShadowRun.failure == DIED, ShadowRun.started_at >= shadow.since
    if (session.scalar(select(func.count()).select_from(ShadowRun).where(*deaths)) or 0) < MAX_DEATHS:
        return False
    reason = f"ended by the program: {MAX_DEATHS} times {DIED}"
    present = model_choice.chosen(session, ModelRole.SHADOW)
    if present != shadow:
        return False
    model_choice.end_shadow(session, present, Actor("cspine", now, reason))
    return True


def prune(session: Session, keep: int) -> int | None:
    """Delete all rows but the newest; return the oldest id that is kept, None where there are not more."""
    oldest = session.scalar(select(ShadowRun.id).order_by(ShadowRun.id.desc()).offset(keep - 1).limit(1))
    if oldest is None:
        return None
    old = ShadowRun.id < oldest, ShadowRun.state != ShadowState.RUNNING
    session.connection().execute(delete(ShadowRun).where(*old))
    return oldest
