"""A running product is seen through its pages: who is alive, with which model, what came; its end is seen too."""

import json
import os
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select

from tests.peers import free_port, wait_until
from tests.system.product import Product, running_product
from worker.database import Database
from worker.heartbeats import Role
from worker.records import Heartbeat

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body; 0 where nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def figures(port: int) -> dict[str, float]:
    """Every sample, by its name and the values of its labels."""
    samples = [
        sample for family in text_string_to_metric_families(get(port, "/metrics")[1]) for sample in family.samples
    ]
    return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def alive(port: int) -> dict[str, float]:
    found = figures(port)
    return {role: found.get(f"cspine_processes_alive {role}", -1) for role in (Role.LISTENER, Role.CLERK, Role.GPU)}


def kill(product: Product, word: str) -> None:
    """Kill one process of the product, as the kernel does when memory ends."""
    [process] = product.children(word)
    os.kill(process.pid, signal.SIGKILL)


def test_who_is_alive_and_what_came_is_told_by_the_clerk_for_all(tmp_path: Path) -> None:
    port = free_port()
    with running_product(tmp_path / "data", "PACS@127.0.0.1:104", HEALTH_PORT=str(port)) as product:
        everyone = {Role.LISTENER: 1, Role.CLERK: 1, Role.GPU: 1}
        wait_until(lambda: alive(port) == everyone, 180, "all roles")
        status, body = get(port, "/readyz")
        assert (status, json.loads(body)["reasons"]) == (200, [])
        wait_until(lambda: any(name.startswith("cspine_model_info") for name in figures(port)), 120, "the model")
        wait_until(lambda: figures(port)["cspine_associations_accepted_total"] >= 1, 60, "the echo of the start")
        assert figures(port)["cspine_disk_watermark_bytes"] == product.settings.min_free_bytes
        kill(product, "valkey")
        wait_until(lambda: get(port, "/readyz")[0] == 200, 60, "the broker's return")
        kill(product, "worker.cli listen")
        wait_until(lambda: alive(port)[Role.LISTENER] == 2, 60, "the new listener beside the dead one's last sign")
        url = product.settings.effective_database_url
        assert get(port, "/healthz")[0] == 200
    assert get(port, "/healthz")[0] == 0
    database = Database.open(url)
    with database.reading() as session:
        left = session.scalars(select(Heartbeat.role)).all()
    database.close()
    assert left == [Role.LISTENER]  # the killed one; all others took their leave
