"""worker.database: durable transactions on both databases, and the one writer that commits for many."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from tests.conftest import PROJECT
from tests.processes import wait_until
from tests.worker.conftest import FakeClock
from worker import studies
from worker.database import Database, DatabaseError, GroupCommitWriter, WriterClosed, WriteTimedOut, journal_mode
from worker.records import Study
from worker.studies import Arrival

NOW = FakeClock()()


@pytest.fixture
def writer(database: Database) -> Iterator[GroupCommitWriter]:
    made = GroupCommitWriter(database)
    yield made
    made.close()


def insert(session: Session, uid: str) -> int:
    study_id = studies.create(session, Arrival(uid, "PACS", "127.0.0.1", NOW))
    assert study_id is not None
    session.flush()
    return study_id


def uids(database: Database) -> set[str]:
    with database.reading() as session:
        return set(session.scalars(select(Study.study_instance_uid)))


def test_a_transaction_is_kept_and_a_failed_one_is_not(database: Database):
    with database.transaction() as session:
        insert(session, "1.1")
    with suppress(IntegrityError), database.transaction() as session:
        insert(session, "1.2")
        session.execute(text("INSERT INTO studies (study_instance_uid) VALUES ('1.3')"))
    assert uids(database) == {"1.1"}


def test_times_come_back_aware_and_in_utc(database: Database):
    with database.transaction() as session:
        study_id = insert(session, "1.1")
    with database.reading() as session:
        study = session.get_one(Study, study_id)
        assert study.created_at == NOW
        assert study.created_at.utcoffset().total_seconds() == 0


def test_a_naive_time_is_refused(database: Database):
    with pytest.raises(SQLAlchemyError, match="time zone"), database.transaction() as session:
        studies.create(session, Arrival("1.1", "A", "B", NOW.replace(tzinfo=None)))


def test_an_error_does_not_show_the_values(database: Database):
    with pytest.raises(SQLAlchemyError) as caught, database.transaction() as session:
        session.execute(text("INSERT INTO studies (study_instance_uid) VALUES (:uid)"), {"uid": "CANARY"})
    assert "CANARY" not in str(caught.value).partition("DETAIL")[0]


def test_sqlite_is_durable_and_checks_foreign_keys(sqlite_database: Database):
    with sqlite_database.reading() as session:
        assert session.scalar(text("PRAGMA synchronous")) == 2
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
        assert session.scalar(text("PRAGMA busy_timeout")) == 30_000
        expected = journal_mode(sqlite3.sqlite_version_info).lower()
        assert session.scalar(text("PRAGMA journal_mode")) == expected


@pytest.mark.parametrize(
    ("version", "mode"),
    [((3, 40, 1), "TRUNCATE"), ((3, 51, 2), "TRUNCATE"), ((3, 51, 3), "WAL"), ((3, 52, 0), "WAL")],
)
def test_wal_is_used_only_where_its_reset_bug_is_mended(version: tuple[int, ...], mode: str):
    assert journal_mode(version) == mode


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "nonsense", ""])
def test_a_database_that_cannot_hold_the_truth_is_refused(url: str):
    with pytest.raises(DatabaseError):
        Database.open(url)


def test_two_writers_wait_for_each_other(sqlite_database: Database):
    def count_up(_: int) -> None:
        with sqlite_database.transaction() as session:
            study = session.get_one(Study, study_id)
            study.priority += 1

    with sqlite_database.transaction() as session:
        study_id = insert(session, "1.1")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count_up, range(80)))
    with sqlite_database.reading() as session:
        assert session.get_one(Study, study_id).priority == 80


def test_check_tells_a_database_without_the_schema(database_url: str):
    empty = Database.open(database_url)
    with pytest.raises(DatabaseError, match="does not answer"):
        empty.check()
    empty.close()


def test_a_write_returns_its_result_once_it_is_durable(database: Database, writer: GroupCommitWriter):
    study_id = writer.write(lambda session: insert(session, "1.1"))
    with database.reading() as session:
        assert session.get(Study, study_id) is not None


def in_one_batch(writer: GroupCommitWriter, works: Sequence[Callable[[Session], object]]) -> list[Future[object]]:
    """Hand all ``works`` in while the writer is busy, so that it finds them together; return when all are done."""
    busy, go_on = threading.Event(), threading.Event()

    def occupy(_session: Session) -> None:
        busy.set()
        go_on.wait(30)

    with ThreadPoolExecutor(len(works) + 1) as pool:
        pool.submit(writer.write, occupy)
        busy.wait(30)
        futures: list[Future[object]] = []
        for count, work in enumerate(works, 1):
            futures.append(pool.submit(writer.write, work))
            wait_until(lambda count=count: writer._waiting.qsize() == count, 30, "the queue", 0.005)
        go_on.set()
    return futures


def test_writes_that_wait_are_committed_together(database: Database, writer: GroupCommitWriter):
    sessions = []

    def work(session: Session, uid: str) -> int:
        sessions.append(session)
        return insert(session, uid)

    futures = in_one_batch(writer, [partial(work, uid=f"1.{index}") for index in range(20)])
    assert len({future.result() for future in futures}) == 20
    assert len(uids(database)) == 20
    assert len({id(session) for session in sessions}) == 1


def test_a_failed_item_does_not_poison_the_others(database: Database, writer: GroupCommitWriter):
    def bad_statement(session: Session) -> None:
        session.execute(text("INSERT INTO studies (study_instance_uid) VALUES ('1.9')"))

    def bad_code(session: Session) -> None:
        insert(session, "1.8")
        raise ZeroDivisionError

    first, broken, wrong, last = in_one_batch(
        writer, [partial(insert, uid="1.1"), bad_statement, bad_code, partial(insert, uid="1.2")]
    )
    assert first.result() != last.result()
    assert isinstance(broken.exception(), IntegrityError)
    assert isinstance(wrong.exception(), ZeroDivisionError)
    assert uids(database) == {"1.1", "1.2"}
    assert writer.write(partial(insert, uid="1.3")) > 0


def test_when_the_commit_fails_every_caller_is_told(sqlite_database: Database):
    def orphan(session: Session) -> None:  # a foreign key that is checked at the commit only
        session.execute(text("PRAGMA defer_foreign_keys=ON"))
        session.execute(text("INSERT INTO series (study_id, series_instance_uid) VALUES (4711, '1.2')"))

    writer = GroupCommitWriter(sqlite_database)
    futures = in_one_batch(writer, [partial(insert, uid="1.1"), orphan, partial(insert, uid="1.2")])
    assert [type(future.exception()) for future in futures] == [IntegrityError] * 3
    assert uids(sqlite_database) == set()
    assert writer.write(partial(insert, uid="1.1")) > 0
    writer.close()


def test_a_full_disk_never_reports_success(sqlite_database: Database):
    writer = GroupCommitWriter(sqlite_database)
    with sqlite_database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    def limit(connection, _record, _proxy) -> None:
        connection.execute(f"PRAGMA max_page_count={pages + 8}")

    event.listen(sqlite_database.engine, "checkout", limit)
    told = set()
    with ThreadPoolExecutor(16) as pool:
        futures = {f"1.{n}": pool.submit(writer.write, lambda s, n=n: insert(s, f"1.{n}")) for n in range(600)}
        failures = 0
        for uid, future in futures.items():
            if future.exception(30) is None:
                told.add(uid)
            else:
                failures += 1
    writer.close()
    assert failures > 0
    assert told <= uids(sqlite_database)


def test_a_slow_database_is_a_timeout_and_not_for_ever(sqlite_database: Database):
    writer = GroupCommitWriter(sqlite_database, timeout_seconds=0.2)
    started = time.monotonic()
    with sqlite_database.transaction(), pytest.raises(WriteTimedOut):
        writer.write(lambda session: insert(session, "1.1"))
    assert time.monotonic() - started < 5
    writer.close()


def test_a_timeout_of_the_work_itself_is_passed_on(writer: GroupCommitWriter):
    def work(_session: Session) -> None:
        raise TimeoutError("of the work")

    with pytest.raises(TimeoutError, match="of the work"):
        writer.write(work)


def test_close_finishes_what_waits_and_refuses_what_comes(sqlite_database: Database):
    writer = GroupCommitWriter(sqlite_database)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(writer.write, lambda s, n=n: insert(s, f"1.{n}")) for n in range(50)]
        time.sleep(0.05)
        writer.close()
        accepted = sum(future.exception(10) is None for future in futures)
        assert all(isinstance(future.exception(), (WriterClosed, type(None))) for future in futures)
    assert len(uids(sqlite_database)) == accepted
    with pytest.raises(WriterClosed):
        writer.write(lambda session: insert(session, "2.1"))
    writer.close()


def test_closing_twice_or_empty_ends_the_thread(sqlite_database: Database):
    before = threading.active_count()
    writer = GroupCommitWriter(sqlite_database)
    writer.close()
    writer.close()
    assert threading.active_count() == before


WRITING_PROCESS = """
import sys, threading
from datetime import UTC, datetime
from worker import studies
from worker.database import Database, GroupCommitWriter
from worker.studies import Arrival
database = Database.open(sys.argv[1])
writer = GroupCommitWriter(database)
lock = threading.Lock()
def run(thread):
    for n in range(100000):
        uid = f"{thread}.{n}.{sys.argv[2]}"
        writer.write(lambda s: studies.create(s, Arrival(uid, "A", "B", datetime.now(UTC))))
        with lock:
            sys.stdout.write(uid + "\\n"); sys.stdout.flush()
for thread in range(1, 9):
    threading.Thread(target=run, args=(thread,)).start()
"""


@pytest.mark.parametrize("generation", range(1, 4))
def test_a_killed_process_loses_no_acknowledged_row(
    database: Database, database_url: str, generation: int, tmp_path: Path
):
    acknowledged = tmp_path / "acknowledged"
    with acknowledged.open("wb") as out:
        command = [sys.executable, "-c", WRITING_PROCESS, database_url, str(generation)]
        process = subprocess.Popen(command, stdout=out, cwd=PROJECT)
        deadline = time.monotonic() + 60
        while acknowledged.stat().st_size < 300 * generation and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    told = [line for line in acknowledged.read_text().splitlines() if line.endswith(f".{generation}")]
    assert told
    assert set(told) <= uids(database)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Study)) >= len(told)
