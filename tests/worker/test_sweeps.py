"""worker.sweeps: quiet studies complete, dead workers lose their leases, bells ring until someone comes."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.worker.conftest import FakeClock
from worker import studies
from worker.database import Database
from worker.ports import BellUnavailable
from worker.records import Study, StudyEvent
from worker.settings import Settings
from worker.states import Cause, StudyState
from worker.studies import Arrival, Lease, Move, Position
from worker.sweeps import SweepReport, Sweeps

S, C = StudyState, Cause
SETTINGS = Settings(
    quiet_seconds=30, max_receiving_seconds=600, lease_seconds=60, max_attempts=3, ring_again_seconds=30
)


@dataclass
class MemoryBell:
    """A bell that remembers; ``broken`` makes it unreachable."""

    analyses: list[tuple[int, int]] = field(default_factory=list)
    deliveries: list[tuple[int, int]] = field(default_factory=list)
    comparisons: list[int] = field(default_factory=list)
    broken: bool = False

    def ring_shadow(self, run_id: int) -> None:
        if self.broken:
            raise BellUnavailable("no broker")
        self.comparisons.append(run_id)

    def ring_analysis(self, study_id: int, generation: int) -> None:
        if self.broken:
            raise BellUnavailable("no broker")
        self.analyses.append((study_id, generation))

    def ring_delivery(self, study_id: int, generation: int) -> None:
        if self.broken:
            raise BellUnavailable("no broker")
        self.deliveries.append((study_id, generation))


@pytest.fixture
def bell() -> MemoryBell:
    return MemoryBell()


@pytest.fixture
def sweeps(database: Database, bell: MemoryBell, clock: FakeClock) -> Sweeps:
    return Sweeps(database, SETTINGS, bell, clock)


def new(database: Database, clock: FakeClock, uid: str = "1.1") -> Position:
    with database.transaction() as session:
        study_id = studies.create(session, Arrival(uid, "PACS", "10.0.0.1", clock()))
    assert study_id is not None
    return Position(study_id, S.RECEIVING, 1)


def move(database: Database, position: Position, cause: Cause, clock: FakeClock, **more) -> Position:
    with database.transaction() as session:
        return studies.transition(session, position, Move(cause, clock(), **more))


def queued(database: Database, clock: FakeClock, uid: str = "1.1") -> Position:
    return move(database, new(database, clock, uid), C.COMPLETED, clock)


def claim(database: Database, position: Position, clock: FakeClock) -> Lease:
    with database.transaction() as session:
        return studies.claim(session, position, clock(), 60)


def row(database: Database, position: Position) -> Study:
    with database.reading() as session:
        return session.get_one(Study, position.study_id)


def last_event(database: Database, position: Position) -> StudyEvent:
    with database.reading() as session:
        query = select(StudyEvent).where(StudyEvent.study_id == position.study_id).order_by(StudyEvent.id.desc())
        return session.scalars(query.limit(1)).one()


def test_a_study_is_complete_when_it_was_quiet_and_not_before(database: Database, sweeps: Sweeps, clock: FakeClock):
    position = new(database, clock)
    clock.advance(29)
    assert sweeps.complete_quiet() == 0
    clock.advance(1)
    assert sweeps.complete_quiet() == 1
    study = row(database, position)
    assert (study.state, study.generation, study.completed_by) == (S.QUEUED, 1, "quiet")
    assert last_event(database, position).detail == "nothing received for 30 s"
    assert sweeps.complete_quiet() == 0


def test_a_study_that_never_falls_silent_is_completed_by_its_age(database: Database, sweeps: Sweeps, clock: FakeClock):
    position = new(database, clock)
    for _ in range(60):
        assert sweeps.complete_quiet() == 0
        now = clock.advance(10)
        with database.transaction() as session:
            session.get_one(Study, position.study_id).last_received_at = now
    assert sweeps.complete_quiet() == 1
    assert row(database, position).completed_by == "max age"


def test_a_late_instance_starts_a_new_quiet_period(database: Database, sweeps: Sweeps, clock: FakeClock):
    position = queued(database, clock)
    clock.advance(1000)
    late = move(database, position, C.LATE_INSTANCE, clock)
    assert sweeps.complete_quiet() == 0
    clock.advance(30)
    assert sweeps.complete_quiet() == 1
    assert row(database, late).generation == 2


def test_a_lease_that_ran_out_goes_back_and_the_third_time_the_study_is_set_aside(
    database: Database, sweeps: Sweeps, clock: FakeClock
):
    position = queued(database, clock)
    for attempt in (1, 2):
        claim(database, position, clock)
        clock.advance(59)
        assert sweeps.expire_leases() == (0, 0)
        clock.advance(1)
        assert sweeps.expire_leases() == (1, 0)
        assert row(database, position).crashes == attempt
    claim(database, position, clock)
    clock.advance(60)
    assert sweeps.expire_leases() == (0, 1)
    study = row(database, position)
    assert (study.state, study.failure_code, study.lease_token) == (S.FAILED, "POISON", None)


def test_a_renewed_lease_is_left_alone(database: Database, sweeps: Sweeps, clock: FakeClock):
    lease = claim(database, queued(database, clock), clock)
    for _ in range(10):
        clock.advance(50)
        with database.transaction() as session:
            studies.renew(session, lease, clock(), 60)
        assert sweeps.expire_leases() == (0, 0)


def test_a_delivery_whose_clerk_died_is_rung_for_again(
    database: Database, sweeps: Sweeps, bell: MemoryBell, clock: FakeClock
):
    sending = move(database, claim(database, queued(database, clock), clock).position, C.ANALYZED, clock)
    sweeps.run()
    claim(database, sending, clock)
    clock.advance(45)
    sweeps.run()
    assert bell.deliveries == [(sending.study_id, 1)]
    clock.advance(15)
    assert sweeps.run() == SweepReport(requeued=1, rung=1)
    assert bell.deliveries == [(sending.study_id, 1)] * 2
    assert row(database, sending).state is S.SENDING


def test_a_waiting_study_is_rung_for_until_somebody_takes_it(
    database: Database, sweeps: Sweeps, bell: MemoryBell, clock: FakeClock
):
    position = queued(database, clock)
    assert sweeps.ring() == (1, True)
    clock.advance(29)
    assert sweeps.ring() == (0, True)
    clock.advance(1)
    assert sweeps.ring() == (1, True)
    assert bell.analyses == [(position.study_id, 1)] * 2
    claim(database, position, clock)
    clock.advance(30)
    assert sweeps.ring() == (0, True)


def test_nobody_is_rung_for_before_the_pause_is_over(
    database: Database, sweeps: Sweeps, bell: MemoryBell, clock: FakeClock
):
    lease = claim(database, queued(database, clock), clock)
    move(database, lease.position, C.POSTPONED, clock, not_before=clock() + timedelta(seconds=10))
    assert sweeps.ring() == (0, True)
    clock.advance(10)
    assert sweeps.ring() == (1, True)


def test_a_new_wait_is_rung_for_at_once(database: Database, sweeps: Sweeps, bell: MemoryBell, clock: FakeClock):
    position = queued(database, clock)
    sweeps.ring()
    lease = claim(database, position, clock)
    move(database, lease.position, C.ANALYZED, clock)
    assert sweeps.ring() == (1, True)
    assert bell.deliveries == [(position.study_id, 1)]


def test_a_broken_bell_leaves_the_rows_to_ring_again(
    database: Database, sweeps: Sweeps, bell: MemoryBell, clock: FakeClock
):
    positions = [queued(database, clock, f"1.{number}") for number in range(3)]
    bell.broken = True
    assert sweeps.run() == SweepReport(bell_answers=False)
    assert all(row(database, position).dispatched_at is None for position in positions)
    bell.broken = False
    assert sweeps.ring() == (3, True)


def test_a_bell_that_crashes_leaves_the_row_to_ring_again(database: Database, clock: FakeClock):
    class Crash(MemoryBell):
        def ring_analysis(self, study_id: int, generation: int) -> None:
            raise ZeroDivisionError(study_id, generation)

    position = queued(database, clock)
    with pytest.raises(ZeroDivisionError):
        Sweeps(database, SETTINGS, Crash(), clock).run()
    assert row(database, position).dispatched_at is None


def test_the_bell_is_rung_outside_of_any_transaction(sqlite_database: Database, clock: FakeClock):
    """A worker that is quick enough to claim while the bell still rings must find the row, and no lock."""

    class QuickWorker(MemoryBell):
        def ring_analysis(self, study_id: int, generation: int) -> None:
            claim(sqlite_database, Position(study_id, S.QUEUED, generation), clock)

    position = queued(sqlite_database, clock)
    assert Sweeps(sqlite_database, SETTINGS, QuickWorker(), clock).ring() == (1, True)
    study = row(sqlite_database, position)
    assert (study.state, study.dispatched_at) == (S.ANALYZING, None)


def test_the_head_of_the_queue_is_rung_first_and_the_rest_when_it_moves(
    sqlite_database: Database, bell: MemoryBell, clock: FakeClock
):
    sweeps = Sweeps(sqlite_database, SETTINGS, bell, clock)
    for number in range(70):
        queued(sqlite_database, clock, f"1.{number}")
        clock.advance(0.1)
    with sqlite_database.transaction() as session:
        urgent = session.scalars(select(Study).where(Study.study_instance_uid == "1.69")).one()
        urgent.priority = 10
    assert sweeps.ring() == (64, True)
    assert bell.analyses[0] == (urgent.id, 1)
    for study_id, generation in bell.analyses[:10]:
        claim(sqlite_database, Position(study_id, S.QUEUED, generation), clock)
    assert sweeps.ring() == (6, True)


def test_clerks_that_sweep_together_move_each_study_once(database: Database, bell: MemoryBell, clock: FakeClock):
    positions = [new(database, clock, f"1.{number}") for number in range(40)]
    clock.advance(30)
    clerks = [Sweeps(database, SETTINGS, bell, clock) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        moved = sum(pool.map(lambda clerk: clerk.complete_quiet(), clerks))
    assert moved == 40
    with database.reading() as session:
        kinds = list(session.scalars(select(StudyEvent.kind).where(StudyEvent.kind == "COMPLETED")))
    assert len(kinds) == 40
    assert all(row(database, position).state is S.QUEUED for position in positions)


def test_a_sweep_without_work_reports_nothing(sweeps: Sweeps):
    assert sweeps.run() == SweepReport()


def test_the_settings_bound_the_attempts(database: Database, bell: MemoryBell, clock: FakeClock):
    sweeps = Sweeps(database, replace(SETTINGS, max_attempts=1), bell, clock)
    position = queued(database, clock)
    claim(database, position, clock)
    clock.advance(60)
    assert sweeps.expire_leases() == (0, 1)
