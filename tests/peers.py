"""The real programs that the tests talk to: Redis, PostgreSQL, Orthanc, dcmtk, dicom3tools and dcmqi.

Every peer runs as a child of the test, on a free port of the loopback interface, and ends with the test. A missing
program skips the test, but fails it where the environment says ``CI=true``.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis
from psycopg import sql
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.orthanc import AutoPush, Orthanc, OrthancError, OrthancOptions, orthanc
from tests.processes import (
    PeerProcess,
    accepts_connections,
    compile_loopback_shim,
    free_port,
    missing,
    require,
    start_on_free_port,
    wait_until,
)

__all__ = [
    "AutoPush",
    "Orthanc",
    "OrthancError",
    "OrthancOptions",
    "PeerProcess",
    "PostgreSQL",
    "RedisServer",
    "StoreSCP",
    "Verdict",
    "accepts_connections",
    "dciodvfy",
    "dcmqi_program",
    "free_port",
    "missing",
    "orthanc",
    "postgresql",
    "redis_server",
    "require",
    "storescp",
    "storescu",
    "wait_until",
]

TOLERATED_ERRORS: Mapping[str, str] = {
    "Information Object Not found": "Label Map Segmentation is younger than Debian's dicom3tools",
    "SegmentNumber not monotonically increasing from one by one - have SegmentSequence item number 1 (from one) with "
    "SegmentNumber of 0": "a label map describes its background, segment 0 (PS3.3 C.8.20.2)",
    "Shall not be present for Referenced SOP Class that is not segmentation - attribute <ReferencedSegmentNumber>": (
        "Label Map Segmentation is younger than Debian's dicom3tools"
    ),
}
"""Lines of dciodvfy that are not held against us, each with the reason."""


@dataclass
class RedisServer:
    """A running redis-server. It keeps nothing on disk: a restart is a wiped broker."""

    process: PeerProcess
    port: int

    @property
    def url(self) -> str:
        """The broker URL for Celery and redis-py."""
        return f"redis://127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        """Return whether it answers PING."""
        once = Retry(NoBackoff(), 0)
        with redis.Redis(port=self.port, socket_timeout=1, socket_connect_timeout=1, retry=once) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def start(self) -> None:
        """Start it again, empty, at the same port."""
        if not self.process.start_and_wait(self.answers):
            raise RuntimeError(self.process.last_words())

    def kill(self) -> None:
        """End it without warning; everything queued is lost."""
        self.process.kill()

    def freeze(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after ``freeze``."""
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """Run redis-server with its log under ``folder``."""
    program = require("redis-server")
    folder.mkdir(parents=True, exist_ok=True)

    def attempt(port: int) -> tuple[PeerProcess, Callable[[], bool]]:
        command = [str(program), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
        command += ["--dir", str(folder), "--maxmemory-policy", "noeviction"]
        process = PeerProcess(command, folder / "redis.log")
        return process, RedisServer(process, port).answers

    process, port = start_on_free_port(attempt)
    try:
        yield RedisServer(process, port)
    finally:
        process.stop()


@dataclass
class PostgreSQL:
    """A running PostgreSQL with the superuser ``cspine``; TCP connections need the password."""

    process: PeerProcess
    port: int
    password: str = "cspine-test"

    def url(self, database: str = "postgres") -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://cspine:{self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Create an empty database and return its SQLAlchemy URL."""
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def connect(self, database: str = "postgres") -> "psycopg.Connection[tuple[object, ...]]":
        """Open a psycopg connection (autocommit) for a look at the tables."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="cspine",
            password=self.password,
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def answers(self) -> bool:
        """Return whether it takes queries."""
        try:
            with self.connect() as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def unprivileged() -> list[str]:
    """Return the command prefix that gives up root, as which PostgreSQL refuses to run; empty when not root."""
    if os.geteuid() != 0:
        return []
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = "postgres" if "postgres" in names else "nobody"
    entry = pwd.getpwnam(user)
    return [str(require("setpriv")), f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Run PostgreSQL on an empty cluster in a temporary folder of its own: its user may not enter pytest's."""
    initdb, server, prefix = require("initdb"), require("postgres"), unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="cspine-pg-"))
    try:
        password_file = folder / "password"
        password_file.write_text(PostgreSQL.password)
        if prefix:
            user = int(prefix[1].partition("=")[2])
            for path in (folder, password_file):
                os.chown(path, user, -1)
        command = [*prefix, str(initdb), "-D", str(folder / "data"), "-U", "cspine", "--pwfile", str(password_file)]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL, cwd=folder)

        def attempt(port: int) -> tuple[PeerProcess, Callable[[], bool]]:
            line = [str(server), "-D", str(folder / "data"), "-p", str(port), "-k", str(folder)]
            line += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
            process = PeerProcess(line, folder / "postgresql.log", stop_signal=signal.SIGINT, prefix=prefix)
            return process, PostgreSQL(process, port).answers

        process, port = start_on_free_port(attempt)
        try:
            yield PostgreSQL(process, port)
        finally:
            process.stop()
    finally:
        shutil.rmtree(folder)


@dataclass
class StoreSCP:
    """A running dcmtk storescp; what it receives lies in ``folder``. ``peer`` is its address as ``AET@HOST:PORT``."""

    process: PeerProcess
    port: int
    folder: Path
    ae_title: str

    @property
    def peer(self) -> str:
        """The DICOM address, for ``Peer.parse``."""
        return f"{self.ae_title}@127.0.0.1:{self.port}"

    def files(self) -> list[Path]:
        """Return the received files, sorted by name."""
        return sorted(self.folder.iterdir())


@contextmanager
def storescp(folder: Path, ae_title: str = "STORESCP", options: Sequence[str] = ("+xa",)) -> Iterator[StoreSCP]:
    """Run dcmtk's storescp (accepting every transfer syntax it knows) with received files under ``folder/received``."""
    program = require("storescp")
    received = folder / "received"
    received.mkdir(parents=True, exist_ok=True)
    shim = compile_loopback_shim(folder)

    def attempt(port: int) -> tuple[PeerProcess, Callable[[], bool]]:
        command = [str(program), "-v", "-aet", ae_title, *options, "-od", str(received), str(port)]
        process = PeerProcess(command, folder / "storescp.log", {"LD_PRELOAD": str(shim)})
        return process, lambda: accepts_connections(port)

    process, port = start_on_free_port(attempt)
    try:
        yield StoreSCP(process, port, received, ae_title)
    finally:
        process.stop()


def storescu(files: Sequence[Path], peer: str, options: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
    """Send files with dcmtk's storescu to ``AET@HOST:PORT``, proposing only the SOP Classes of the files.

    ``options`` are storescu's, for example ``["-xs"]`` to propose JPEG lossless. The caller looks at ``returncode`` and
    at ``stdout``, which holds standard error too.
    """
    ae_title, _, address = peer.partition("@")
    host, _, port = address.rpartition(":")
    command = [str(require("storescu")), "-v", "-R", "-aec", ae_title, *options, host, port, *map(str, files)]
    return subprocess.run(
        command, timeout=300, check=False, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@dataclass(frozen=True)
class Verdict:
    """What dciodvfy says about one file: lines without the words Error and Warning, tolerated errors apart."""

    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    tolerated: tuple[str, ...] = ()


def dciodvfy(file: Path) -> Verdict:
    """Check a Part 10 file against its IOD with dicom3tools."""
    command = [str(require("dciodvfy")), str(file)]
    checked = subprocess.run(command, timeout=120, check=False, capture_output=True, text=True, errors="replace")
    lines = [line.strip() for line in (checked.stderr + checked.stdout).splitlines()]
    errors = [line.removeprefix("Error - ") for line in lines if line.startswith("Error")]
    if checked.returncode < 0:
        errors.append(f"dciodvfy ended by signal {-checked.returncode}")
    return Verdict(
        errors=tuple(line for line in errors if line not in TOLERATED_ERRORS),
        warnings=tuple(line.removeprefix("Warning - ") for line in lines if line.startswith("Warning")),
        tolerated=tuple(line for line in errors if line in TOLERATED_ERRORS),
    )


def dcmqi_program(name: str) -> Path:
    """Return one of dcmqi's readers (``segimage2itkimage``, ``tid1500reader``), installed beside our Python by PyPI."""
    program = Path(sys.executable).parent / name
    if not program.exists():
        missing(name)
    return program
