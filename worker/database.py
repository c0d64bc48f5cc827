"""The database that holds the truth: SQLite for one machine, PostgreSQL by URL; transactions and migrations."""

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session

_LOGGER = logging.getLogger(__name__)
_WAL_RESET_FIXED = (3, 51, 3)
_BUSY_SECONDS = 30
_MIGRATION_LOCK = 0x63737069  # "cspi": the PostgreSQL advisory lock that only migrations of this product take
_BEGIN = "cspine_begin"

T = TypeVar("T")


class DatabaseError(Exception):
    """The database cannot be used as it is; the message says what to do."""


class WriteTimedOut(DatabaseError):
    """The write was not durable in time; it may still become durable, so it must be idempotent."""


class WriterClosed(DatabaseError):
    """The writer takes no more work because the process ends."""


class Database:
    """One process's access to the database. Built once, passed down, closed at the end.

    ``transaction()`` is for writers: on SQLite it takes the write lock at once (BEGIN IMMEDIATE, waiting up to 30 s),
    so that a transaction never fails half-way because of a second writer. ``reading()`` never takes it.
    Errors are SQLAlchemy's; statements' parameters never appear in them.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._readers = engine.execution_options(**{_BEGIN: "BEGIN"})

    @classmethod
    def open(cls, url: str) -> Self:
        """Open ``url`` (``sqlite:///PATH``, ``postgresql://…``); the folder of an SQLite file is made if missing."""
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise DatabaseError("the database URL cannot be read: set CSPINE_DATABASE_URL") from None
        if parsed.get_backend_name() == "sqlite":
            return cls(_sqlite_engine(parsed))
        if parsed.get_backend_name() in {"postgresql", "postgres"}:
            return cls(_postgresql_engine(parsed))
        raise DatabaseError(f"{parsed.get_backend_name()} is not supported: use sqlite:// or postgresql://")

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose work is committed, durably, at the end of the block, or rolled back by an exception."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            session.connection()  # begins now, not with the first statement
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for queries only; keep it short, for SQLite's sake, and write nothing in it."""
        with Session(self._readers, expire_on_commit=False) as session:
            yield session

    def check(self) -> None:
        """Raise DatabaseError unless the database answers and has this program's schema (``cspine doctor``)."""
        try:
            with self.reading() as session:
                session.execute(text("SELECT count(*) FROM studies WHERE id = 0"))
        except SQLAlchemyError as error:
            raise DatabaseError(f"the database does not answer as expected ({type(error).__name__})") from None

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


@dataclass(slots=True)
class _Item:
    """One piece of work and the promise of its result; ``value`` waits here until the commit."""

    work: Callable[[Session], Any]
    future: "Future[Any]"
    value: Any = None


class _GivenTo:
    """Hands an exception of the block to the futures instead of raising it here, where nobody could act on it."""

    def __init__(self, items: list[_Item]) -> None:
        self._items = items

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None:
            return False
        for item in self._items:
            if not item.future.done():
                item.future.set_exception(error)
        return isinstance(error, Exception)


class GroupCommitWriter:
    """The one hot writer of a process: a thread that commits what waits, all together, and then tells everyone.

    An item runs in a savepoint: its failure goes to its caller alone and the others are committed. When the commit
    fails, every caller of the batch gets the error. Work must be quick, and idempotent (see WriteTimedOut).
    """

    def __init__(self, database: Database, *, batch_size: int = 256, timeout_seconds: float = 10.0) -> None:
        self._database = database
        self._batch_size = batch_size
        self._timeout_seconds = timeout_seconds
        self._waiting: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    def write(self, work: Callable[[Session], T]) -> T:
        """Run ``work`` in the writer's next transaction; return its result once that is durable, or raise its error.

        Raises WriteTimedOut, WriterClosed, SQLAlchemyError (the database failed), or whatever ``work`` raised.
        """
        item = _Item(work, Future())
        with self._lock:
            if self._closed:
                raise WriterClosed("the database writer is closed")
            self._waiting.put(item)
        try:
            value: T = item.future.result(self._timeout_seconds)
        except TimeoutError:
            if not item.future.done():
                item.future.cancel()
                raise WriteTimedOut(f"the database took longer than {self._timeout_seconds:g} s") from None
            raise
        return value

    def close(self) -> None:
        """Finish everything that waits, then end the thread; further writes raise WriterClosed."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            first = self._waiting.get()
            batch, going = ([], False) if first is None else self._gather(first)
            batch = [item for item in batch if item.future.set_running_or_notify_cancel()]
            if batch:
                with _GivenTo(batch):
                    self._commit(batch)

    def _gather(self, first: _Item) -> tuple[list[_Item], bool]:
        """What waits at this moment, at most a batch; False when the end of the queue was among it."""
        batch = [first]
        while len(batch) < self._batch_size:
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                break
            if item is None:
                return batch, False
            batch.append(item)
        return batch, True

    def _commit(self, batch: list[_Item]) -> None:
        with self._database.transaction() as session:
            for item in batch:
                with _GivenTo([item]), session.begin_nested():
                    item.value = item.work(session)
        for item in batch:
            if not item.future.done():
                item.future.set_result(item.value)


def journal_mode(sqlite_version: tuple[int, ...]) -> str:
    """WAL where SQLite is free of the WAL-reset bug (3.51.3 and later), else TRUNCATE, which is fast enough."""
    return "WAL" if sqlite_version >= _WAL_RESET_FIXED else "TRUNCATE"


def migrate(database: Database) -> None:
    """Bring the schema to this program's version; safe when several processes start at once.

    The whole upgrade is one transaction under a lock, so a killed upgrade leaves the old schema. Raises DatabaseError
    for a schema that this program does not know, such as that of a newer version.
    """
    config = Config()
    config.set_main_option("script_location", "worker:migrations")
    config.set_main_option("path_separator", "os")
    with database.engine.begin() as connection:  # on SQLite this is BEGIN IMMEDIATE: one process at a time
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise DatabaseError(
                f"the database schema is not one of this program's ({error}): install the newest version"
            ) from None


def _sqlite_engine(url: URL) -> Engine:
    """An engine whose connections are durable (FULL), patient (30 s) and checked (foreign keys)."""
    if url.database is None or url.database in {"", ":memory:"}:
        raise DatabaseError("an SQLite database needs a file: set CSPINE_DATABASE_URL to sqlite:///PATH")
    Path(url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = journal_mode(sqlite3.sqlite_version_info)
    engine = create_engine(url.set(drivername="sqlite"), hide_parameters=True, connect_args={"timeout": _BUSY_SECONDS})

    def prepare(connection: DBAPIConnection, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy, not sqlite3, begins transactions
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
        cursor.execute(f"PRAGMA journal_mode={mode}")
        if cursor.fetchall()[0][0].upper() != mode:
            _LOGGER.warning("another process keeps the database in another journal mode than %s", mode)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN IMMEDIATE"))

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


def _postgresql_engine(url: URL) -> Engine:
    """An engine that finds dead connections, waits 5 s for a new one and 30 s for a lock or a statement."""
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            hide_parameters=True,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": 5,
                "application_name": "cspine",
                "options": "-c timezone=UTC -c lock_timeout=30s -c statement_timeout=60s",
            },
        )
    except ModuleNotFoundError:
        raise DatabaseError("PostgreSQL needs the extra: install cspine[postgresql]") from None
