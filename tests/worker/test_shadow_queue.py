"""The queue of the shadow on both databases: what waits, who has it, what is over, what is kept."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.worker.conftest import FakeClock
from worker import model_choice, shadow_queue, studies
from worker.database import Database
from worker.model_choice import Actor, Chosen, chosen
from worker.records import ModelRole, Run, ShadowRun, ShadowState
from worker.shadow_queue import Claim
from worker.states import Cause
from worker.studies import Arrival, Move

SHADOW, SERVING = "b" * 64, "a" * 64
S = ShadowState


@pytest.fixture
def shadow(database: Database, clock: FakeClock) -> Chosen:
    """A shadow since now."""
    with database.transaction() as session:
        before = chosen(session, ModelRole.SHADOW)
        model_choice.start_shadow(session, before, SHADOW, Actor("operator", clock()))
        return chosen(session, ModelRole.SHADOW)


def analyzed(database: Database, clock: FakeClock, uid: str, made_by: str = SERVING) -> int:
    """A study with a run; return the run's key."""
    with database.transaction() as session:
        study_id = studies.create(session, Arrival(uid, "PACS", "10.0.0.1", clock()))
        values = {"bundle_name": "b", "bundle_version": "1", "findings": {}, "manifest": {}, "seconds": 1.0}
        run = Run(study_id=study_id, generation=1, created_at=clock(), bundle_sha256=made_by, **values)
        session.add(run)
        session.flush()
        return run.id


def next_run(database: Database, shadow: Chosen) -> int | None:
    with database.reading() as session:
        return shadow_queue.next_run(session, shadow)


def claimed(database: Database, clock: FakeClock, run_id: int) -> Claim | None:
    with database.transaction() as session:
        return shadow_queue.claim(session, run_id, SHADOW, clock())


def concluded(database: Database, mine: Claim | None, state: ShadowState) -> bool:
    assert mine is not None
    with database.transaction() as session:
        return shadow_queue.conclude(session, mine, state)


def test_runs_come_one_by_one_oldest_first_and_each_once(database: Database, clock: FakeClock, shadow: Chosen) -> None:
    first, second = (analyzed(database, clock, uid) for uid in ("1.1", "1.2"))
    analyzed(database, clock, "1.3", made_by=SHADOW)
    assert next_run(database, shadow) == first
    mine = claimed(database, clock, first)
    assert claimed(database, clock, first) is None
    assert next_run(database, shadow) is None
    assert concluded(database, mine, S.COMPARED)
    assert not concluded(database, mine, S.FAILED)
    assert next_run(database, shadow) == second
    assert concluded(database, claimed(database, clock, second), S.FAILED)
    assert next_run(database, shadow) is None
    assert claimed(database, clock, second) is None


def test_what_gave_way_waits_again_under_a_new_claim(database: Database, clock: FakeClock, shadow: Chosen) -> None:
    run_id = analyzed(database, clock, "1.1")
    old = claimed(database, clock, run_id)
    assert old is not None
    with database.transaction() as session:
        shadow_queue.give_way(session, old)
    assert next_run(database, shadow) == run_id
    new = claimed(database, clock, run_id)
    assert new == Claim(old.row_id, 2)
    assert not concluded(database, old, S.COMPARED)
    assert concluded(database, new, S.COMPARED)


def test_a_newer_generation_and_earlier_runs_are_left_out(database: Database, clock: FakeClock, shadow: Chosen) -> None:
    run_id = analyzed(database, clock, "1.1")
    with database.transaction() as session:
        row = session.get_one(Run, run_id)
        row.created_at = clock() - timedelta(seconds=1)
    assert next_run(database, shadow) is None
    run_id = analyzed(database, clock, "1.2")
    with database.transaction() as session:
        position = studies.position_of(session, session.get_one(Run, run_id).study_id)
        queued = studies.transition(session, position, Move(Cause.COMPLETED, clock(), completed_by="quiet"))
        assert shadow_queue.must_wait(session, clock())
        studies.transition(session, queued, Move(Cause.LATE_INSTANCE, clock()))
        assert not shadow_queue.must_wait(session, clock())
    assert next_run(database, shadow) is None


def test_a_silent_worker_loses_its_claim_and_rows_are_pruned(
    database: Database, clock: FakeClock, shadow: Chosen
) -> None:
    runs = [analyzed(database, clock, f"1.{number}") for number in range(5)]
    for run_id in runs[:4]:
        assert concluded(database, claimed(database, clock, run_id), S.COMPARED)
    dead = claimed(database, clock, runs[4])
    clock.advance(shadow_queue.LIFE_SECONDS)
    with database.transaction() as session:
        assert not shadow_queue.expire(session, shadow, clock())
        assert shadow_queue.prune(session, 10) is None
        oldest = shadow_queue.prune(session, 2)
    assert not concluded(database, dead, S.COMPARED)
    with database.reading() as session:
        rows = session.scalars(select(ShadowRun).order_by(ShadowRun.id)).all()
    assert [(row.run_id, row.state) for row in rows] == [(runs[3], S.COMPARED), (runs[4], S.FAILED)]
    assert rows[0].id == oldest
    assert next_run(database, shadow) is None
