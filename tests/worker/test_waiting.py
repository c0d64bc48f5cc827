"""What operators decide of waiting studies, and of all work: hold, release, priority, pause, drain, send again."""

import pytest
from sqlalchemy import select

from dicom_node.node import AETitle, Peer
from tests.worker.conftest import FakeClock
from tests.worker.scripted import RecordsRings, ScriptedPacs, Workplace, analyzed
from worker import operation, studies, waiting
from worker.console_records import Mode
from worker.database import Database
from worker.destinations import Destination
from worker.records import Delivery, StudyEvent
from worker.settings import Settings
from worker.states import Cause, ForbiddenMove, StudyState
from worker.studies import Arrival, Move, Position, StaleStudy
from worker.sweeps import Sweeps


def queued(database: Database, clock: FakeClock, uid: str = "1.1") -> Position:
    """A study that waits for its analysis."""
    with database.transaction() as session:
        study_id = studies.create(session, Arrival(uid, "SENDER", "10.0.0.1", clock()))
        assert study_id is not None
        return studies.transition(session, studies.position_of(session, study_id), Move(Cause.COMPLETED, clock()))


def claim(database: Database, position: Position, clock: FakeClock) -> None:
    with database.transaction() as session:
        studies.claim(session, position, clock(), 60)


def rings(database: Database, settings: Settings, clock: FakeClock) -> list[tuple[int, int]]:
    bell = RecordsRings()
    Sweeps(database, settings, bell, clock).ring()
    return bell.analyses


def details(database: Database, kind: str) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(select(StudyEvent.detail).where(StudyEvent.kind == kind)))


def test_a_held_study_is_neither_announced_nor_claimed_until_it_is_released(database: Database, clock: FakeClock):
    position, settings = queued(database, clock), Settings()
    for _ in range(2):  # a second hold changes nothing
        with database.transaction() as session:
            waiting.hold(session, position.study_id, clock(), "anna")
    assert rings(database, settings, clock) == []
    with pytest.raises(StaleStudy):
        claim(database, position, clock)
    with database.transaction() as session:
        waiting.release(session, position.study_id, clock(), "ben")
    assert rings(database, settings, clock) == [(position.study_id, 1)]
    claim(database, position, clock)
    assert (details(database, "HELD"), details(database, "RELEASED")) == (["by anna"], ["by ben"])


def test_a_retraction_ends_a_hold(database: Database, clock: FakeClock):
    position = queued(database, clock)
    with database.transaction() as session:
        lease = studies.claim(session, position, clock(), 60)
        position = studies.transition(session, lease.position, Move(Cause.ANALYZED, clock()))
        waiting.hold(session, position.study_id, clock(), "anna")
        position = studies.transition(session, position, Move(Cause.RETRACTED, clock()))
    claim(database, position, clock)


def test_a_study_at_its_end_cannot_be_held(database: Database, clock: FakeClock):
    position = queued(database, clock)
    with database.transaction() as session:
        lease = studies.claim(session, position, clock(), 60)
        studies.transition(session, lease.position, Move(Cause.ANALYSIS_FAILED, clock()))
    with pytest.raises(ForbiddenMove, match="FAILED"), database.transaction() as session:
        waiting.hold(session, position.study_id, clock(), "anna")


def test_a_study_of_higher_priority_is_announced_first(database: Database, clock: FakeClock):
    queued(database, clock, "1.1")
    clock.advance(1)
    later = queued(database, clock, "1.2")
    with database.transaction() as session:
        waiting.prioritize(session, later.study_id, 5, clock(), "anna")
    assert next(study for study, _ in rings(database, Settings(), clock)) == later.study_id
    assert details(database, "PRIORITY") == ["5, by anna"]


@pytest.mark.parametrize("priority", [-1, waiting.HIGHEST_PRIORITY + 1])
def test_a_priority_has_bounds(database: Database, clock: FakeClock, priority: int):
    position = queued(database, clock)
    with pytest.raises(ValueError, match="0 to 10"), database.transaction() as session:
        waiting.prioritize(session, position.study_id, priority, clock(), "anna")


def test_paused_nothing_is_begun_and_afterwards_everything_at_once(database: Database, clock: FakeClock):
    position, settings = queued(database, clock), Settings()
    assert rings(database, settings, clock) == [(position.study_id, 1)]
    with database.transaction() as session:
        assert operation.change_mode(session, Mode.PAUSED, clock(), "anna")
    with pytest.raises(StaleStudy):  # the message that was in the broker already
        claim(database, position, clock)
    assert rings(database, settings, clock) == []
    with database.transaction() as session:
        assert operation.change_mode(session, Mode.RUNNING, clock(), "anna")
        assert not operation.change_mode(session, Mode.RUNNING, clock(), "anna")
    assert rings(database, settings, clock) == [(position.study_id, 1)]
    claim(database, position, clock)


def test_drained_what_was_analyzed_is_still_sent(tmp_path, analyzed_template):
    pacs = ScriptedPacs()
    with analyzed(analyzed_template, tmp_path / "data", pacs.peer) as place:
        with place.database.transaction() as session:
            operation.change_mode(session, Mode.PAUSED, place.clock(), "anna")
        assert place.deliver() is StudyState.SENDING
        assert pacs.received == []
        with place.database.transaction() as session:
            operation.change_mode(session, Mode.DRAINING, place.clock(), "anna")
        assert place.deliver() is StudyState.DELIVERED
    pacs.stop()
    assert pacs.received != []


def send_again(place: Workplace, destination: Destination) -> Position:
    with place.database.transaction() as session:
        return studies.send_again(session, 1, destination, place.clock(), "anna")


def test_results_go_once_more_to_the_destination_that_is_named_and_to_no_other(tmp_path, analyzed_template):
    pacs, other = ScriptedPacs(), ScriptedPacs()
    always = Destination("always", peer=pacs.peer)
    asked = Destination("asked", peer=other.peer, automatic=False)
    with analyzed(analyzed_template, tmp_path / "data") as place:
        assert place.deliver([always, asked]) is StudyState.DELIVERED
        assert other.received == []
        sent = list(pacs.received)
        assert send_again(place, asked).state is StudyState.SENDING
        assert place.deliver([always, asked]) is StudyState.DELIVERED
        assert (sorted(other.received), pacs.received) == (sorted(sent), sent)
        send_again(place, always)
        assert place.deliver([always, asked]) is StudyState.DELIVERED
        assert sorted(pacs.received) == sorted(sent * 2)
        assert all(len(held) == 1 for held in pacs.held.values())
        with place.database.reading() as session:
            assert {row.attempts for row in session.scalars(select(Delivery))} == {1, 2}
    pacs.stop()
    other.stop()


def test_a_study_without_results_cannot_be_sent(place: Workplace):
    place.complete()
    with pytest.raises(ForbiddenMove, match="no results"):
        send_again(place, Destination("a", peer=Peer(AETitle("A"), "127.0.0.1", 9)))


def test_withdrawn_results_cannot_be_sent(tmp_path, analyzed_template):
    with analyzed(analyzed_template, tmp_path / "data") as place:
        with place.database.transaction() as session:
            run = studies.tracking.current_run(session, 1, 1)
            assert run is not None
            run.withdrawn_at = place.clock()
        with pytest.raises(ForbiddenMove, match="no results"):
            send_again(place, Destination("a", peer=Peer(AETitle("A"), "127.0.0.1", 9)))
