"""Receipt of 300 CT instances of 512 x 512: our durable listener beside dcmtk's storescp, which syncs nothing.

Both receive from the same dcmtk storescu over loopback, in turns, with Nagle's algorithm off at both ends
(``TCP_NODELAY=1``); what counts is the median of the ratios of the same round. ``make bench`` prints it.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from dicom_node.errors import PeerError
from dicom_node.node import Peer
from dicom_node.scu import echo
from tests.peers import free_port, require, storescp, wait_until
from training.synthesis.phantom_series import Identity, SeriesOptions, write_series

INSTANCES = 300
ROUNDS = 5


@contextmanager
def our_listener(folder: Path) -> Iterator[str]:
    """Run ``cspine listen``; yields its address."""
    port = free_port()
    command = [sys.executable, "-m", "worker.cli", "listen", "--data", str(folder), "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, "CSPINE_MIN_FREE_BYTES": "1MiB"}, stderr=subprocess.DEVNULL)
    try:
        peer = Peer.parse(f"CSPINE@127.0.0.1:{port}")
        wait_until(lambda: answers(peer), 60, "the listener")
        yield str(peer)
    finally:
        process.terminate()
        process.wait(60)


def answers(peer: Peer) -> bool:
    """Whether a peer answers C-ECHO."""
    try:
        echo(peer, "BENCH")
    except PeerError:
        return False
    return True


def seconds_to_send(files: Sequence[Path], peer: str) -> float:
    """Seconds that storescu takes, its start included; every instance must be accepted."""
    title, _, address = peer.partition("@")
    host, _, port = address.rpartition(":")
    command = [str(require("storescu")), "-R", "-aec", title, host, port, *map(str, files)]
    started = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, "TCP_NODELAY": "1"}, capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    return time.perf_counter() - started


@pytest.mark.timeout(1200)
def test_receipt(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCP_NODELAY", "1")
    hu = np.random.default_rng(1).integers(-1000, 1000, (INSTANCES, 512, 512), dtype=np.int16)
    studies = []
    for number in range(ROUNDS):  # every round sends instances that neither has seen
        options = SeriesOptions(identity=Identity(seed=1000 + number))
        studies.append(write_series(hu, (0.5, 0.5, 0.5), tmp_path / f"study{number}", options))
    ours, theirs = [], []
    with our_listener(tmp_path / "data") as mine, storescp(tmp_path / "storescp") as other:
        for number, files in enumerate(studies):
            order = [(mine, ours), (other.peer, theirs)]
            for peer, seconds in order if number % 2 else reversed(order):
                seconds.append(seconds_to_send(files, peer))
    ratios = [there / here for here, there in zip(ours, theirs, strict=True)]
    with capsys.disabled():
        print(  # noqa: T201  (a benchmark prints)
            f"\nreceipt, 1 association, {INSTANCES} x 512 KiB, fsync and database row before every success:"
            f"\n  cspine listen {statistics.median(ours):.2f} s, storescp (no sync) {statistics.median(theirs):.2f} s,"
            f"\n  speed of storescp = 1: {statistics.median(ratios):.2f}"
            f" ({min(ratios):.2f} to {max(ratios):.2f}, {ROUNDS} rounds)"
        )
