"""worker.intake: what is received is recorded once, moves the study by the table, and orphans are adopted."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from dicom_node.header import InstanceHeader
from dicom_node.node import deterministic_uid
from dicom_node.part10 import FileMeta
from dicom_node.receipts import ReceivedInstance
from dicom_node.spool import Spool
from tests.worker.conftest import FakeClock
from worker import studies
from worker.database import Database, GroupCommitWriter, WriterClosed, migrate
from worker.intake import ADOPTED, Intake
from worker.records import Instance, Series, Study, StudyEvent
from worker.states import Cause, StudyState
from worker.studies import Move

NOW = FakeClock()()
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def received(
    instance: int = 1, *, study: str = "1.1", content: str = "a", seconds: float = 0, series: int = 1
) -> ReceivedInstance:
    sha256 = hashlib.sha256(f"{study}/{instance}/{content}".encode()).hexdigest()
    return ReceivedInstance(
        header=InstanceHeader(CT, f"{study}.{series}.{instance}", study, f"{study}.{series}", modality="CT"),
        transfer_syntax_uid=EXPLICIT,
        sha256=sha256,
        size_bytes=100,
        path=f"store/{study}/{instance}-{sha256[:8]}.dcm",
        calling_ae_title="PACS",
        peer_address="10.0.0.1",
        association_id="association-1",
        received_at=NOW + timedelta(seconds=seconds),
    )


@pytest.fixture
def intake(database: Database) -> Iterator[Intake]:
    writer = GroupCommitWriter(database)
    yield Intake(writer)
    writer.close()


@dataclass(frozen=True)
class Seen:
    """What the records say of one study."""

    state: StudyState
    generation: int
    instances: int
    events: tuple[str, ...]
    last_received_at: object


def seen(database: Database, uid: str = "1.1") -> Seen:
    with database.reading() as session:
        study = session.scalars(select(Study).where(Study.study_instance_uid == uid)).one()
        count = session.scalar(select(func.count()).where(Instance.study_id == study.id))
        kinds = session.scalars(select(StudyEvent.kind).where(StudyEvent.study_id == study.id).order_by(StudyEvent.id))
        return Seen(study.state, study.generation, count, tuple(kinds), study.last_received_at)


def bring_to(database: Database, *causes: Cause) -> None:
    """Move the only study by these causes."""
    with database.transaction() as session:
        for cause in causes:
            position = studies.position_of(session, session.scalars(select(Study.id)).one())
            if cause is Cause.CLAIMED:
                studies.claim(session, position, NOW, 60)
            else:
                studies.transition(session, position, Move(cause, NOW))


def test_the_first_instance_creates_study_series_and_instance(database: Database, intake: Intake):
    intake.record(received())
    assert seen(database) == Seen(StudyState.RECEIVING, 1, 1, ("CREATED",), NOW)
    with database.reading() as session:
        study = session.scalars(select(Study)).one()
        assert (study.calling_ae_title, study.peer_address) == ("PACS", "10.0.0.1")
        assert session.scalars(select(Series)).one().modality == "CT"
        row = session.scalars(select(Instance)).one()
        assert (row.path, row.association_id, row.revision) == (received().path, "association-1", False)


def test_more_instances_are_no_more_events_and_prolong_the_quiet_period(database: Database, intake: Intake):
    for number in range(5):
        intake.record(received(number, seconds=number, series=number % 2))
    assert seen(database) == Seen(StudyState.RECEIVING, 1, 5, ("CREATED",), NOW + timedelta(seconds=4))


def test_an_instance_that_was_overtaken_does_not_turn_the_quiet_period_back(database: Database, intake: Intake):
    intake.record(received(1, seconds=10))
    intake.record(received(2, seconds=5))
    assert seen(database).last_received_at == NOW + timedelta(seconds=10)


def test_the_same_instance_again_adds_nothing(database: Database, intake: Intake):
    for _ in range(3):
        intake.record(received())
    assert seen(database) == Seen(StudyState.RECEIVING, 1, 1, ("CREATED",), NOW)


ROUTES = {
    StudyState.QUEUED: (Cause.COMPLETED,),
    StudyState.ANALYZING: (Cause.COMPLETED, Cause.CLAIMED),
    StudyState.SENDING: (Cause.COMPLETED, Cause.CLAIMED, Cause.ANALYZED),
    StudyState.DELIVERED: (Cause.COMPLETED, Cause.CLAIMED, Cause.ANALYZED, Cause.DELIVERED),
    StudyState.SKIPPED: (Cause.COMPLETED, Cause.CLAIMED, Cause.INELIGIBLE),
    StudyState.FAILED: (Cause.COMPLETED, Cause.CLAIMED, Cause.ANALYSIS_FAILED),
}


@pytest.mark.parametrize("state", ROUTES)
def test_a_late_instance_begins_a_new_generation_and_a_repeated_one_does_not(
    sqlite_database: Database, state: StudyState
):
    writer = GroupCommitWriter(sqlite_database)
    intake = Intake(writer)
    intake.record(received(1))
    bring_to(sqlite_database, *ROUTES[state])
    before = seen(sqlite_database)
    intake.record(received(1, seconds=60))
    assert seen(sqlite_database) == before
    intake.record(received(2, seconds=60))
    after = seen(sqlite_database)
    assert (after.state, after.generation, after.instances) == (StudyState.RECEIVING, 2, 2)
    assert after.events[-1] == "LATE_INSTANCE"
    assert after.last_received_at == NOW + timedelta(seconds=60)
    writer.close()


def test_other_bytes_under_the_same_uid_are_a_revision(database: Database, intake: Intake):
    intake.record(received(1, content="a"))
    intake.record(received(1, content="b"))
    assert seen(database) == Seen(StudyState.RECEIVING, 1, 2, ("CREATED", "REVISED_INSTANCE"), NOW)
    bring_to(database, Cause.COMPLETED)
    intake.record(received(1, content="b"))
    assert seen(database).state is StudyState.QUEUED
    intake.record(received(1, content="c"))
    after = seen(database)
    assert (after.state, after.generation, after.events[-1]) == (StudyState.RECEIVING, 2, "REVISED_INSTANCE")
    with database.reading() as session:
        assert list(session.scalars(select(Instance.revision).order_by(Instance.id))) == [False, True, True]


def test_the_same_sop_instance_in_two_studies_is_recorded_in_both(database: Database, intake: Intake):
    first = received(1)
    other = replace(first, header=replace(first.header, study_instance_uid="1.2", series_instance_uid="1.2.1"))
    intake.record(first)
    intake.record(other)
    assert seen(database, "1.1").instances == seen(database, "1.2").instances == 1


def test_many_associations_at_once_lose_nothing(database: Database, intake: Intake):
    instances = [received(number % 100, study=f"1.{1 + number % 3}") for number in range(300)] * 2
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(intake.record, instances))
    assert sum(seen(database, f"1.{number}").instances for number in (1, 2, 3)) == 300


@pytest.mark.peer
def test_two_listeners_on_one_postgresql_lose_nothing(request: pytest.FixtureRequest):
    url = request.getfixturevalue("postgresql_peer").create_database("two_listeners")
    databases = [Database.open(url) for _ in range(2)]
    migrate(databases[0])
    writers = [GroupCommitWriter(database, timeout_seconds=60) for database in databases]
    intakes = [Intake(writer) for writer in writers]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: intakes[n % 2].record(received(n // 2 % 150)), range(600)))
    for writer in writers:
        writer.close()
    assert seen(databases[0]).instances == 150
    assert seen(databases[0]).events == ("CREATED",)
    for database in databases:
        database.close()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from("ab")), min_size=1, max_size=12))
def test_recording_is_idempotent_in_any_order(sqlite_database: Database, arrivals: list[tuple[int, str]]):
    test_recording_is_idempotent_in_any_order.number = number = (
        getattr(test_recording_is_idempotent_in_any_order, "number", 0) + 1
    )
    writer = GroupCommitWriter(sqlite_database)
    for instance, content in [*arrivals, *arrivals]:
        Intake(writer).record(received(instance, study=f"7.{number}", content=content))
    writer.close()
    assert seen(sqlite_database, f"7.{number}").instances == len(set(arrivals))


def test_a_closed_writer_is_told_to_the_scp(sqlite_database: Database):
    writer = GroupCommitWriter(sqlite_database)
    writer.close()
    with pytest.raises(WriterClosed):
        Intake(writer).record(received())


def store_file(spool: Spool, number: int) -> str:
    """One small CT instance in the spool, as the SCP leaves it; returns its path."""
    uid = deterministic_uid("instance", str(number))
    meta = FileMeta(CT, uid, EXPLICIT, "SCANNER")
    data = tiny_ct(uid)
    incoming = spool.receive(meta)
    incoming.write(data)
    header = InstanceHeader(CT, uid, "1.1", "1.1.1", modality="CT")
    return spool.keep(incoming, header).path


def tiny_ct(uid: str) -> bytes:
    """The encoded data set of a 2x2 CT instance."""

    def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
        value += (b"\0" if vr in {b"UI", b"OW"} else b" ") * (len(value) % 2)
        head = group.to_bytes(2, "little") + number.to_bytes(2, "little") + vr
        long = vr == b"OW"
        return head + (b"\0\0" + len(value).to_bytes(4, "little") if long else len(value).to_bytes(2, "little")) + value

    def short(value: int) -> bytes:
        return value.to_bytes(2, "little")

    return b"".join(
        [
            element(0x0008, 0x0016, b"UI", CT.encode()),
            element(0x0008, 0x0018, b"UI", uid.encode()),
            element(0x0008, 0x0060, b"CS", b"CT"),
            element(0x0020, 0x000D, b"UI", b"1.1"),
            element(0x0020, 0x000E, b"UI", b"1.1.1"),
            element(0x0028, 0x0002, b"US", short(1)),
            element(0x0028, 0x0010, b"US", short(2)),
            element(0x0028, 0x0011, b"US", short(2)),
            element(0x0028, 0x0100, b"US", short(16)),
            element(0x7FE0, 0x0010, b"OW", bytes(8)),
        ]
    )


def test_files_without_a_record_are_adopted_once(sqlite_database: Database, tmp_path: Path):
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    paths = [store_file(spool, number) for number in range(3)]
    writer = GroupCommitWriter(sqlite_database)
    intake = Intake(writer)
    assert intake.adopt(spool) == 3
    assert intake.adopt(spool) == 0
    writer.close()
    with sqlite_database.reading() as session:
        rows = session.scalars(select(Instance).order_by(Instance.path)).all()
        assert [row.path for row in rows] == sorted(paths)
        assert {(row.association_id, row.calling_ae_title) for row in rows} == {(ADOPTED, "SCANNER")}
    assert seen(sqlite_database).state is StudyState.RECEIVING


def test_a_file_that_is_no_instance_is_left_alone(sqlite_database: Database, tmp_path: Path):
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    good = spool.root / store_file(spool, 1)
    (good.parent / "torn.dcm").write_bytes(good.read_bytes()[:-3])
    (good.parent / "empty.dcm").write_bytes(b"")
    writer = GroupCommitWriter(sqlite_database)
    assert Intake(writer).adopt(spool) == 1
    writer.close()
    assert (good.parent / "torn.dcm").exists()
