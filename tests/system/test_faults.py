"""Nothing is lost or doubled when a part dies: broker wiped or frozen, worker killed mid-study, listener killed."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from dicom_node.scu import send
from tests.peers import RedisServer, wait_until
from tests.system.conftest import study_uid
from tests.system.product import Product, running_product
from tests.worker.scripted import ScriptedPacs
from worker.queries import StudyView
from worker.records import Instance, Run
from worker.states import StudyState

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def pacs() -> Iterator[ScriptedPacs]:
    made = ScriptedPacs()
    yield made
    made.stop()


def receive(product: Product, folder: Path) -> str:
    """Send a study by C-STORE; every instance must be accepted."""
    outcomes = send(sorted(folder.iterdir()), product.peer, "SENDER")
    assert [outcome.comment for outcome in outcomes if not outcome.accepted] == []
    return study_uid(folder)


def runs(product: Product) -> int:
    """How many analyses were finished and recorded."""
    with product.database.reading() as session:
        return len(session.scalars(select(Run)).all())


def is_analyzing(view: StudyView) -> bool:
    """Whether a worker holds the study."""
    return view.state is StudyState.ANALYZING


def test_a_wiped_and_a_frozen_broker_lose_nothing(
    tmp_path: Path, redis_peer: RedisServer, pacs: ScriptedPacs, make_neck: Callable[[int], Path]
) -> None:
    with running_product(tmp_path / "data", str(pacs.peer), BROKER_URL=redis_peer.url) as product:
        redis_peer.kill()
        first = receive(product, make_neck(11))
        product.wait(first, lambda view: view.state is StudyState.QUEUED, "the study to be queued without a broker")
        redis_peer.start()
        product.wait_for_delivery(first)
        redis_peer.freeze()
        second = receive(product, make_neck(12))
        product.wait(
            second, lambda view: view.state is StudyState.QUEUED, "the study to be queued with a frozen broker"
        )
        redis_peer.thaw()
        product.wait_for_delivery(second)
        assert runs(product) == 2
        assert len(pacs.received) == len(set(pacs.received)) == 8


def test_a_worker_that_is_killed_in_the_middle_of_a_study_is_made_up_for(
    tmp_path: Path, pacs: ScriptedPacs, make_neck: Callable[[int], Path]
) -> None:
    with running_product(tmp_path / "data", str(pacs.peer), LEASE_SECONDS="4") as product:
        uid = receive(product, make_neck(13))
        product.wait(uid, is_analyzing, "the analysis to begin")
        for child in product.children("gpu-"):
            child.kill()
        view = product.wait_for_delivery(uid)
        assert any(event.kind == "LEASE_EXPIRED" for event in view.events)
        assert runs(product) == 1
        assert len(pacs.received) == len(set(pacs.received)) == 4


def test_every_instance_that_a_killed_listener_acknowledged_is_there(
    tmp_path: Path, pacs: ScriptedPacs, make_neck: Callable[[int], Path]
) -> None:
    folder = make_neck(14)
    with running_product(tmp_path / "data", str(pacs.peer), QUIET_SECONDS="10") as product:
        listener = product.children("listen")[0]

        def kill_soon() -> None:
            wait_until(lambda: stored(product) > 40, 60, "some instances to be stored", 0.01)
            os.kill(listener.pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_soon)
        killer.start()
        outcomes = send(sorted(folder.iterdir()), product.peer, "SENDER")
        killer.join()
        accepted = {outcome.sop_instance_uid for outcome in outcomes if outcome.accepted}
        assert 0 < len(accepted) < len(outcomes)
        with product.database.reading() as session:
            rows = session.scalars(select(Instance)).all()
        assert accepted <= {row.sop_instance_uid for row in rows}
        assert all((product.settings.spool_dir / row.path).is_file() for row in rows)
        wait_until(lambda: listening_again(product), 60, "the listener to be started again")
        uid = receive(product, folder)
        view = product.wait_for_delivery(uid)
        assert view.line.instances == len(outcomes)


def stored(product: Product) -> int:
    """How many files lie in the store."""
    return sum(1 for _ in product.settings.spool_dir.glob("store/*/*/*.dcm"))


def listening_again(product: Product) -> bool:
    """Whether the listener answers C-ECHO."""
    return product.cli("echo", str(product.peer)).returncode == 0
