"""The bell over real brokers: messages hold ids alone; a broker that is away or frozen is given up within seconds."""

import json
import time
from pathlib import Path

import pytest
import redis

from tests.peers import RedisServer, free_port
from worker.app import make_app
from worker.bell import CeleryBell
from worker.broker import embedded_broker
from worker.ports import BellUnavailable
from worker.settings import Settings

pytestmark = [pytest.mark.peer]


def test_a_message_is_two_numbers_on_the_queue_of_its_role(redis_peer: RedisServer) -> None:
    bell = CeleryBell(make_app(Settings(broker_url=redis_peer.url)))
    bell.ring_analysis(41, 2)
    bell.ring_delivery(42, 3)
    with redis.Redis.from_url(redis_peer.url) as client:
        [analysis] = client.lrange("gpu", 0, -1)
        [delivery] = client.lrange("clerk", 0, -1)
    assert json.loads(analysis)["headers"]["argsrepr"] == "[41, 2]"
    assert json.loads(analysis)["headers"]["task"] == "worker.tasks.analyze_study"
    assert json.loads(delivery)["headers"]["argsrepr"] == "[42, 3]"
    assert json.loads(delivery)["content-type"] == "application/json"


def test_the_embedded_broker_takes_messages_too(tmp_path: Path) -> None:
    with embedded_broker(tmp_path) as broker:
        CeleryBell(make_app(Settings(data_dir=tmp_path))).ring_analysis(1, 1)
        with redis.Redis(unix_socket_path=str(broker.socket)) as client:
            assert client.llen("gpu") == 1


def test_a_broker_that_is_away_is_given_up_at_once() -> None:
    bell = CeleryBell(make_app(Settings(broker_url=f"redis://127.0.0.1:{free_port()}/0")))
    started = time.monotonic()
    with pytest.raises(BellUnavailable):
        bell.ring_analysis(1, 1)
    assert time.monotonic() - started < 15


def test_a_frozen_broker_is_given_up_within_seconds(redis_peer: RedisServer) -> None:
    bell = CeleryBell(make_app(Settings(broker_url=redis_peer.url)))
    bell.ring_analysis(1, 1)
    redis_peer.freeze()
    started = time.monotonic()
    try:
        with pytest.raises(BellUnavailable):
            bell.ring_analysis(1, 1)
    finally:
        redis_peer.thaw()
    assert time.monotonic() - started < 30
