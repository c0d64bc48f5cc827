"""``cspine demo``: the whole way of one study on this machine, from C-STORE in to C-STORE out, on embedded defaults.

A local PACS peer sends the study to a real listener; clerk and GPU worker run as ``cspine up`` runs them; the results
come back to the peer by C-STORE. Everything listens on free loopback ports and ends with the command.
"""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import PeerError
from dicom_node.node import AETitle, Peer
from dicom_node.scu import echo
from worker.errors import StartupError
from worker.local_pacs import LocalPacs
from worker.overlay import save_summary_image
from worker.queries import StudyView, find_study, open_database
from worker.sending import send_folder
from worker.settings import Settings
from worker.states import ENDS

START_SECONDS = 60.0
STUDY_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What a demo ended with: ``files`` are the results as the PACS holds them; ``complete`` says that it holds all."""

    state: str
    reason: str | None
    findings: dict[str, object] | None
    files: dict[str, str]
    seconds: dict[str, float]
    complete: bool

    def as_json(self) -> str:
        """The report for a program."""
        values = {
            "state": self.state,
            "reason": self.reason,
            "findings": self.findings,
            "files": self.files,
            "seconds": self.seconds,
            "pacs_holds_results": self.complete,
            "notice": "Not a medical device. Not for diagnosis.",
        }
        return json.dumps(values, indent=2)


def run_demo(
    study: Path | None, output: Path, environment: Mapping[str, str], tell: Callable[[str], None]
) -> DemoReport:
    """Send one study (the synthetic one when ``study`` is None) through the whole product; ``tell`` shows progress.

    Raises ``StartupError`` when the processes do not come up or the study cannot be sent.
    """
    output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cspine-demo-") as folder:
        base = Path(folder)
        if study is None:
            tell("making a synthetic neck CT with one fractured level (not a patient)")
            study = base / "study"
            make_synthetic_study(study, environment)
        with LocalPacs(base / "pacs") as pacs, running_product(base, pacs.peer, output, environment) as listener:
            tell(f"listener {listener} and PACS {pacs.peer} are up ({time.monotonic() - started:.0f} s)")
            sent_at = time.monotonic()
            uid = send_study(study, listener, pacs.peer.ae_title, tell)
            received_at = time.monotonic()
            view = follow_study(base / "data", uid, tell)
            ended_at = time.monotonic()
            files, complete = collect_results(view, pacs.held(), output)
    seconds = {
        "start": round(sent_at - started, 2),
        "send": round(received_at - sent_at, 2),
        "last_instance_to_result": round(ended_at - received_at, 2),
        **view.seconds,
    }
    return DemoReport(view.state, view.reason, view.findings, files, seconds, complete)


def make_synthetic_study(folder: Path, environment: Mapping[str, str]) -> None:
    """Write the synthetic demo study; it is made in a process of its own, for the worker never imports training."""
    command = [sys.executable, "-m", "training.synthesis.phantom_study", str(folder)]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StartupError(f"the synthetic study cannot be made: {done.stderr.strip()[-500:]}")


@contextmanager
def running_product(base: Path, destination: Peer, output: Path, environment: Mapping[str, str]) -> Iterator[Peer]:
    """Run ``cspine up`` in ``base/data`` with ``destination`` as its PACS; the log is kept in the output folder."""
    port = free_port()
    own = {
        "CSPINE_DATA_DIR": str(base / "data"),
        "CSPINE_PORT": str(port),
        "CSPINE_AE_TITLE": "CSPINE",
        "CSPINE_HOST": "127.0.0.1",
        "CSPINE_DESTINATION": str(destination),
        "CSPINE_QUIET_SECONDS": "2",
        "CSPINE_SWEEP_SECONDS": "0.5",
        "CSPINE_CONSOLE": "off",
        "CSPINE_MIN_FREE_BYTES": "256MiB",
    }
    foreign = {"CSPINE_DATABASE_URL", "CSPINE_BROKER_URL", "CSPINE_DATABASE_URL_FILE", "CSPINE_BROKER_URL_FILE"}
    foreign.add("CSPINE_DESTINATIONS_FILE")
    inherited = {name: value for name, value in environment.items() if name not in foreign}
    log_path = output / "demo.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", "up"],
            env={**inherited, **own},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            listener = Peer(AETitle("CSPINE"), "127.0.0.1", port)
            wait_for_listener(process, listener, log_path)
            yield listener
        finally:
            process.terminate()
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for_listener(process: "subprocess.Popen[bytes]", listener: Peer, log: Path) -> None:
    """Return when the listener answers C-ECHO."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            echo(listener, "DEMOPACS")
        except PeerError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise StartupError(f"the listener does not come up: see {log}") from error
            time.sleep(0.2)
        else:
            return


def send_study(folder: Path, listener: Peer, ae_title: str, tell: Callable[[str], None]) -> str:
    """C-STORE every DICOM file of the folder; return the Study Instance UID of what was accepted."""
    sent = send_folder(folder, listener, ae_title)
    for reason in sent.refusals[:3]:
        tell(f"not accepted: {reason}")
    tell(f"sent {sent.accepted} of {sent.files} instances")
    if not sent.study_instance_uids:
        raise StartupError(f"nothing in {folder} was accepted: it must hold CT instances (see the reasons above)")
    return sent.study_instance_uids[0]


def follow_study(data_dir: Path, uid: str, tell: Callable[[str], None]) -> StudyView:
    """Show each event of the study as it comes, until the study ends."""
    deadline = time.monotonic() + STUDY_SECONDS
    shown = 0
    with open_database(Settings(data_dir=data_dir)) as database:
        while True:
            view = find_study(database, uid)
            if view is not None:
                for event in view.events[shown:]:
                    tell(event.as_line())
                shown = len(view.events)
                if view.state in ENDS:
                    return view
            if time.monotonic() > deadline:
                raise StartupError(f"no result after {STUDY_SECONDS:.0f} s: see demo.log in the output folder")
            time.sleep(0.3)


def collect_results(view: StudyView, held: Mapping[str, Path], output: Path) -> tuple[dict[str, str], bool]:
    """Copy what the PACS holds into the output folder; say whether it holds every result object of the study."""
    files: dict[str, str] = {}
    for result in view.results:
        if result.sop_instance_uid in held:
            target = output / f"{result.kind}.dcm"
            shutil.copyfile(held[result.sop_instance_uid], target)
            files[result.kind] = str(target)
    if "summary" in files:
        files["overlay"] = str(save_summary_image(Path(files["summary"]), output / "overlay.png"))
    complete = bool(view.results) and all(result.sop_instance_uid in held for result in view.results)
    return files, complete


def free_port() -> int:
    """A TCP port of loopback that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
