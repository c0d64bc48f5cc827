"""The supervisor restarts what dies and drains on SIGTERM: watched on the real ``cspine up``."""

import time
from pathlib import Path

import psutil
import pytest

from tests.peers import wait_until
from tests.system.product import running_product
from worker.supervisor import PROCESSES

pytestmark = [pytest.mark.slow]


def test_a_process_that_dies_is_started_again_and_sigterm_leaves_nothing(tmp_path: Path) -> None:
    with running_product(tmp_path / "data", "PACS@127.0.0.1:9", CONSOLE="on") as product:
        names = {"clerk": "clerk-", "listen": "listen", "work": "gpu-", "console": "console"}
        assert set(names) == set(PROCESSES)
        for word in names.values():
            wait_until(lambda word=word: bool(product.children(word)), 60, f"a process {word}")
        wait_until(lambda: "/set-up/" in product.log.read_text(), 60, "the link of the console's first user")
        listener = product.children("listen")[0].pid
        psutil.Process(listener).kill()
        wait_until(lambda: [child.pid for child in product.children("listen")] not in ([], [listener]), 60, "a new one")
        wait_until(lambda: bool(product.children("valkey-server")), 60, "the embedded broker")
        family = psutil.Process(product.process.pid).children(recursive=True)
        started = time.monotonic()
        product.process.terminate()
        assert product.process.wait(90) == 0
        assert time.monotonic() - started < 60
        gone, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []
        assert len(gone) == len(family)
