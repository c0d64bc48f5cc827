"""A kept lease: renewed while the work moves, given up when a stage hangs, and lost loudly."""

import pytest
from sqlalchemy import select

import worker.lease
from tests.peers import wait_until
from tests.worker.scripted import Workplace
from worker import studies
from worker.lease import KeptLease
from worker.records import Study
from worker.states import Cause, StudyState
from worker.studies import Lease, Move, Position, StaleStudy


def claim(place: Workplace, seconds: float) -> Lease:
    study_id, generation = place.complete()
    with place.database.transaction() as session:
        return studies.claim(session, Position(study_id, StudyState.QUEUED, generation), place.clock(), seconds)


def expiry(place: Workplace) -> object:
    with place.database.reading() as session:
        return session.scalars(select(Study.lease_expires_at)).one()


def test_the_lease_is_renewed_without_a_word_from_the_work(place: Workplace) -> None:
    lease = claim(place, 0.4)
    with KeptLease(place.database, lease, place.clock, 0.4):
        wait_until(lambda: expiry(place) != lease.expires_at, 10, "a renewed lease")
    kept = expiry(place)
    assert kept is not None


def test_a_stage_is_shown_and_renews(place: Workplace) -> None:
    lease = claim(place, 60)
    with KeptLease(place.database, lease, place.clock, 60) as kept:
        kept.stage("predict")
    with place.database.reading() as session:
        assert session.scalars(select(Study.progress)).one() == "predict"


def test_a_lease_that_was_lost_stops_the_work_at_its_next_stage(place: Workplace) -> None:
    lease = claim(place, 60)
    with KeptLease(place.database, lease, place.clock, 60) as kept:
        with place.database.transaction() as session:
            position = studies.position_of(session, lease.study_id)
            studies.transition(session, position, Move(Cause.LATE_INSTANCE, place.clock()))
        with pytest.raises(StaleStudy):
            kept.stage("predict")


def test_a_stage_that_hangs_loses_the_lease(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.lease, "STAGE_SECONDS", 0.0)
    lease = claim(place, 0.2)
    with KeptLease(place.database, lease, place.clock, 0.2) as kept:
        wait_until(lambda: not kept._thread.is_alive(), 10, "the heartbeat to stop")
        with pytest.raises(StaleStudy):
            kept.stage("predict")
