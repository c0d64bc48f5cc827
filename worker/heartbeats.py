"""Signs of life of the processes, in the records: who is at work, since when, and how it is doing."""

import os
import resource
import shutil
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from worker.gpus import Gpu
from worker.records import Heartbeat

BEAT_SECONDS = 15.0
DEAD_SECONDS = 60.0
"""A process that was silent for this long is taken to be dead."""

_FORGOTTEN = timedelta(days=1)


class Role(StrEnum):
    """What a process does."""

    LISTENER = "listener"
    GPU = "gpu"
    CLERK = "clerk"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the product; ``name`` tells it from all others: its role, its number and its machine."""

    name: str
    role: Role
    started_at: datetime

    @classmethod
    def this(cls, role: Role, number: int | None = None) -> Self:
        """The process that calls; ``number`` stands for its own where another takes its place when it ends."""
        number = os.getpid() if number is None else number
        return cls(f"{role}-{number}@{socket.gethostname()}"[:255], role, datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Vitals:
    """How a process is doing, and the disk of its data folder.

    The bundle is the model that a GPU worker has loaded, ``associations`` those that a listener serves now.
    """

    resident_bytes: int
    disk_free_bytes: int
    disk_size_bytes: int
    associations: int | None = None
    bundle: str | None = None
    bundle_version: str | None = None
    bundle_sha256: str | None = None
    gpus: tuple[Gpu, ...] = ()

    @classmethod
    def now(cls, data_dir: Path) -> Self:
        """What can be said of every process; raises OSError when the disk of the data folder cannot be asked."""
        disk = shutil.disk_usage(data_dir)
        return cls(resident_bytes(), disk.free, disk.total)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> Self:
        """What ``as_json`` made."""
        return cls(**{**values, "gpus": tuple(Gpu(**gpu) for gpu in values["gpus"])})


@dataclass(frozen=True, slots=True)
class Pulse:
    """The heart of one process: ``vitals`` is asked at every beat."""

    process: Process
    vitals: Callable[[], Vitals]

    def beat(self, session: Session, at: datetime) -> None:
        """Show that the process is alive, and forget those that have been dead for a day."""
        process = self.process
        insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
        changed = {"beat_at": at, "vitals": self.vitals().as_json()}
        values = {"name": process.name, "role": process.role.value, "started_at": process.started_at, **changed}
        statement = insert(Heartbeat).values(values).on_conflict_do_update(index_elements=["name"], set_=changed)
        session.connection().execute(statement)
        session.execute(delete(Heartbeat).where(Heartbeat.beat_at < at - _FORGOTTEN))

    def leave(self, session: Session) -> None:
        """Take the process out of the records: it ends in good order."""
        session.execute(delete(Heartbeat).where(Heartbeat.name == self.process.name))


def alive(session: Session, at: datetime) -> Sequence[Heartbeat]:
    """The processes that showed a sign of life lately."""
    lately = at - timedelta(seconds=DEAD_SECONDS)
    return session.scalars(select(Heartbeat).where(Heartbeat.beat_at > lately).order_by(Heartbeat.name)).all()


def resident_bytes() -> int:
    """Memory that this process has in use now; its largest so far where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
