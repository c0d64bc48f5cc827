"""Find real peer programs and run them as children of the tests, on loopback, until the test ends."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

SYSTEM_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")
DEBIAN_PACKAGES: Mapping[str, str] = {
    "redis-server": "redis-server",
    "postgres": "postgresql",
    "initdb": "postgresql",
    "Orthanc": "orthanc",
    "libOrthancDicomWeb.so": "orthanc-dicomweb",
    "dciodvfy": "dicom3tools",
    "dcmdump": "dcmtk",
    "dsrdump": "dcmtk",
    "dcmconv": "dcmtk",
    "echoscu": "dcmtk",
    "storescu": "dcmtk",
    "storescp": "dcmtk",
    "openssl": "openssl",
    "strace": "strace",
    "cc": "gcc libc6-dev",
    "chromium-headless-shell": "chromium-headless-shell",
    "npm": "npm",
    "prometheus": "prometheus",
    "promtool": "prometheus",
}
SHIM_SOURCE = Path(__file__).parent / "bind_loopback.c"


def missing(program: str) -> NoReturn:
    """End the test for want of a peer: a skip that says what to install, but a failure where ``CI`` is true."""
    package = DEBIAN_PACKAGES.get(program, program)
    unavailable(f"{program} is not installed; on Debian or Ubuntu: apt-get install {package}")


def unavailable(reason: str) -> NoReturn:
    """End the test for want of what it needs: a skip with the reason, but a failure where ``CI`` is true."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def require(program: str) -> Path:
    """Return the path of a peer program; end the test as ``missing`` does when there is none.

    Scripts are passed over: pynetdicom puts a ``storescp`` of its own beside our Python, and Debian's ``initdb`` is a
    wrapper. PostgreSQL's programs are looked for in the newest ``/usr/lib/postgresql/*/bin``.
    """
    postgresql = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    searched = [*map(str, reversed(postgresql)), *os.environ.get("PATH", "").split(os.pathsep), *SYSTEM_FOLDERS]
    for folder in searched:
        candidate = Path(folder) / program
        if candidate.is_file() and os.access(candidate, os.X_OK) and candidate.read_bytes()[:2] != b"#!":
            return candidate
    missing(program)


def require_file(path: Path) -> Path:
    """Return ``path`` (a peer's plug-in) or end the test as ``missing`` does."""
    if not path.exists():
        missing(path.name)
    return path


def free_port() -> int:
    """Return a TCP port that was free on loopback a moment ago; ``start_on_free_port`` takes another if it is lost."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], seconds: float, what: str, interval_seconds: float = 0.05) -> None:
    """Return as soon as ``condition`` holds; fail the test with ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s in vain for {what}", pytrace=True)
        time.sleep(interval_seconds)


def accepts_connections(port: int) -> bool:
    """Return whether something on loopback accepts TCP connections at ``port``."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def compile_loopback_shim(folder: Path) -> Path:
    """Build the ``bind`` shim into ``folder`` and return the shared object, for ``LD_PRELOAD``."""
    shim = folder / "bind_loopback.so"
    if not shim.exists():
        command = [str(require("cc")), "-shared", "-fPIC", "-O1", "-o", str(shim), str(SHIM_SOURCE), "-ldl"]
        subprocess.run(command, check=True, timeout=60)
    return shim


def dies_with_the_tests(stop_signal: signal.Signals) -> list[str]:
    """Return a command prefix that ends the child when the test process is killed; empty where there is no setpriv.

    The kernel watches the thread that starts the child: start peers from a thread that lives as long as they should.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG")] if setpriv else []


@dataclass
class PeerProcess:
    """A running peer; its output goes to ``log``. ``prefix`` is a command that gives up rights before it starts."""

    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    prefix: Sequence[str] = ()
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start the program in a process group of its own."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *dies_with_the_tests(self.stop_signal), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id; an error while the peer is not running."""
        if self.process is None:
            message = "the peer is not running"
            raise RuntimeError(message)
        return self.process.pid

    def is_running(self) -> bool:
        """Return whether the program was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, such as SIGSTOP or SIGCONT, to the program."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End the program and its children as a power failure would: no last words."""
        if self.process is None:
            return
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self.process = None

    def stop(self, seconds: float = 15) -> None:
        """Ask the program to end, and kill it when it has not after ``seconds``."""
        if self.process is None:
            return
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGCONT)
            os.kill(self.process.pid, self.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        self.kill()

    def start_and_wait(self, ready: Callable[[], bool], seconds: float = 30) -> bool:
        """Start, and return True once ``ready``; False when the program ended by itself (a lost port, for example)."""
        self.start()
        deadline = time.monotonic() + seconds
        while self.is_running() and time.monotonic() < deadline:
            if ready():
                return self.is_running()
            time.sleep(0.02)
        self.kill()
        return False

    def last_words(self) -> str:
        """Return the end of the log, for a failure message."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else "(no log)"


def start_on_free_port(attempt: Callable[[int], tuple[PeerProcess, Callable[[], bool]]]) -> tuple[PeerProcess, int]:
    """Start what ``attempt(port)`` describes (a peer and its readiness check); try further ports when it ends early."""
    words = ""
    for _ in range(5):
        port = free_port()
        peer, ready = attempt(port)
        if peer.start_and_wait(ready):
            return peer, port
        words = peer.last_words()
    pytest.fail(f"{Path(peer.command[0]).name} did not start; its log ends with:\n{words}")
