"""The listener process: durable before success, a taken port by name, orphans adopted, drains on SIGTERM."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_node.errors import PeerError
from dicom_node.node import Peer
from dicom_node.scu import echo, send
from tests.peers import free_port, wait_until
from tests.worker.scripted import write_boxes
from worker.database import Database
from worker.queries import list_studies
from worker.settings import Settings


@contextmanager
def listener(folder: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {**os.environ, "CSPINE_MIN_FREE_BYTES": "1MiB"}
    command = [
        sys.executable,
        "-m",
        "worker.cli",
        "listen",
        "--data",
        str(folder),
        "--port",
        str(port),
        "--ae-title",
        "FRONT",
    ]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def answers(peer: Peer) -> bool:
    try:
        echo(peer, "TEST")
    except PeerError:
        return False
    return True


def test_what_is_answered_with_success_is_in_file_and_record_and_survives_a_kill(tmp_path: Path) -> None:
    files = write_boxes(tmp_path / "boxes")
    port = free_port()
    peer = Peer.parse(f"FRONT@127.0.0.1:{port}")
    with listener(tmp_path / "data", port) as process:
        wait_until(lambda: answers(peer), 60, "the listener")
        assert all(outcome.accepted for outcome in send(list(files), peer, "SENDER"))
        process.send_signal(signal.SIGKILL)
        process.wait()
    settings = Settings(data_dir=tmp_path / "data")
    database = Database.open(settings.effective_database_url)
    [study] = list_studies(database)
    assert study.instances == len(files)
    assert len(list(settings.spool_dir.glob("store/*/*/*.dcm"))) == len(files)
    (tmp_path / "data" / "cspine.sqlite3").unlink()
    database.close()
    with listener(tmp_path / "data", port) as process:
        wait_until(lambda: answers(peer), 60, "the listener")
        database = Database.open(settings.effective_database_url)
        [adopted] = list_studies(database)
        assert adopted.instances == len(files)
        assert adopted.study_instance_uid == study.study_instance_uid
        database.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_taken_port_is_named_with_what_to_do(tmp_path: Path) -> None:
    port = free_port()
    with listener(tmp_path / "one", port):
        wait_until(lambda: answers(Peer.parse(f"FRONT@127.0.0.1:{port}")), 60, "the first listener")
        with listener(tmp_path / "two", port) as second:
            _, errors = second.communicate(timeout=60)
            assert second.returncode == 1
            assert b"set CSPINE_PORT" in errors
            assert b"Traceback" not in errors
