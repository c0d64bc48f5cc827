"""The product as a child of the test: ``cspine up`` in a folder of its own, looked at through its own records."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from dicom_node.errors import PeerError
from dicom_node.node import Peer
from dicom_node.scu import echo
from tests.peers import free_port
from worker.database import Database
from worker.queries import StudyView, find_study
from worker.settings import Settings
from worker.states import ENDS, StudyState


@dataclass
class Product:
    """A running ``cspine up``."""

    settings: Settings
    environment: Mapping[str, str]
    process: "subprocess.Popen[bytes]"
    database: Database
    log: Path

    @property
    def peer(self) -> Peer:
        """Where it listens."""
        return Peer(self.settings.ae_title, "127.0.0.1", self.settings.port)

    def children(self, word: str) -> list[psutil.Process]:
        """Its processes whose command line holds ``word``, such as ``gpu-`` or ``listen``."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in found if word in command_line(child)]

    def study(self, uid: str) -> StudyView | None:
        """What its records say of a study."""
        return find_study(self.database, uid)

    def wait(self, uid: str, condition: Callable[[StudyView], bool], what: str, seconds: float = 180) -> StudyView:
        """Return the study's view as soon as ``condition`` holds; fail the test with the timeline otherwise."""
        deadline = time.monotonic() + seconds
        while True:
            view = self.study(uid)
            if view is not None and condition(view):
                return view
            if time.monotonic() > deadline:
                timeline = "\n".join(view.as_lines()) if view is not None else "the study is not known"
                tail = self.log.read_text(errors="replace")[-4000:]
                pytest.fail(f"waited {seconds:g} s in vain for {what}\n{timeline}\n{tail}")
            time.sleep(0.2)

    def wait_for_end(self, uid: str, seconds: float = 180) -> StudyView:
        """Return the study's view once it is DELIVERED, SKIPPED or FAILED."""
        return self.wait(uid, lambda view: view.state in ENDS, "the study's end", seconds)

    def wait_for_delivery(self, uid: str, seconds: float = 180) -> StudyView:
        """Return the study's view once it is DELIVERED; fail the test when it ends otherwise."""
        view = self.wait_for_end(uid, seconds)
        assert view.state is StudyState.DELIVERED, "\n".join(view.as_lines())
        return view

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run ``cspine`` with the same settings."""
        command = [sys.executable, "-m", "worker.cli", *arguments]
        return subprocess.run(
            command, env=dict(self.environment), capture_output=True, text=True, timeout=120, check=False
        )


def command_line(process: psutil.Process) -> str:
    """The command line of a process, empty when it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@contextmanager
def running_product(folder: Path, destination: str, **variables: str) -> Iterator[Product]:
    """Run ``cspine up`` with ``folder`` as its data folder; the names of ``variables`` are without CSPINE_."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {
        "DATA_DIR": str(folder),
        "PORT": str(free_port()),
        "DESTINATION": destination,
        "QUIET_SECONDS": "2",
        "SWEEP_SECONDS": "0.3",
        "CONSOLE": "off",
        "CONSOLE_PORT": "0",
        "RING_AGAIN_SECONDS": "5",
        "RETRY_BASE_SECONDS": "1",
        "MIN_FREE_BYTES": "64MiB",
        **variables,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CSPINE_")}
    environment = {**inherited, **{f"CSPINE_{name}": value for name, value in own.items()}}
    settings = Settings.from_environment(environment)
    log = folder / "product.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", "up"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    product: Product | None = None
    try:
        product = Product(settings, environment, process, wait_until_ready(settings, process, log), log)
        yield product
    finally:
        if product is not None:
            product.database.close()
        stop(process)


def wait_until_ready(settings: Settings, process: "subprocess.Popen[bytes]", log: Path) -> Database:
    """Return the database once the listener answers C-ECHO."""
    deadline = time.monotonic() + 60
    while True:
        try:
            echo(Peer(settings.ae_title, "127.0.0.1", settings.port), "TEST")
        except PeerError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the product does not start:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)
        else:
            return Database.open(settings.effective_database_url)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, and SIGKILL to everything that is left of it after a while."""
    family = [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(90)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in family:
        if child.is_running():
            child.kill()
