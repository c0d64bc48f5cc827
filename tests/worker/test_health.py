"""/healthz, /readyz and /metrics over HTTP: what answers when, with the reason, when a part is really gone."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.peers import PostgreSQL, RedisServer, free_port
from tests.worker.scripted import workplace
from worker.database import Database, migrate
from worker.errors import StartupError
from worker.health import health_server
from worker.heartbeats import Role
from worker.readiness import MODEL_SECONDS, Readiness
from worker.settings import Settings


def get(port: int, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, content type and body of one answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def readiness(port: int) -> tuple[int, list[str]]:
    status, _, body = get(port, "/readyz")
    answer = json.loads(body)
    assert answer["ready"] is (status == 200)
    return status, answer["reasons"]


@contextmanager
def serving(settings: Settings, role: Role = Role.CONSOLE, well: list[bool] | None = None) -> Iterator[int]:
    """The pages of a process of this role."""
    database = Database.open(settings.effective_database_url)
    port = free_port()
    alive = well if well is not None else [True]
    server = health_server(replace(settings, health_port=port), role, database, lambda: all(alive))
    server.start()
    try:
        yield port
    finally:
        server.stop()
        database.close()


@pytest.fixture
def settings(tmp_path: Path, redis_peer: RedisServer) -> Iterator[Settings]:
    """An installation with a real Redis in which all is well."""
    with workplace(tmp_path / "data") as place:
        yield replace(place.settings, broker_url=redis_peer.url, min_free_bytes=1)


@pytest.mark.peer
def test_all_pages_answer_where_all_is_well(settings: Settings) -> None:
    with serving(settings) as port:
        assert get(port, "/healthz") == (200, "application/json", '{"alive": true}\n')
        assert readiness(port) == (200, [])
        status, kind, body = get(port, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    assert "\ncspine_database_up 1.0\n" in body


@pytest.mark.peer
@pytest.mark.parametrize(("path", "method"), [("/", "GET"), ("/metrics/", "GET"), ("/healthz", "POST"), ("/x", "GET")])
def test_there_is_nothing_else(settings: Settings, path: str, method: str) -> None:
    with serving(settings) as port:
        assert get(port, path, method)[0] == 404


@pytest.mark.peer
def test_a_broker_that_is_gone_is_named_and_its_return_is_noticed(settings: Settings, redis_peer: RedisServer) -> None:
    with serving(settings) as port, serving(settings, Role.LISTENER) as listener:
        redis_peer.kill()
        status, [reason] = readiness(port)
        assert status == 503
        assert reason.startswith("broker: start Redis")
        assert str(redis_peer.port) not in reason  # who asks need not know where it is
        assert readiness(listener) == (200, [])  # it takes studies in all the same
        assert get(port, "/healthz")[0] == 200
        redis_peer.start()
        assert readiness(port) == (200, [])


@pytest.mark.peer
def test_a_database_that_is_gone_is_named_by_every_role(
    tmp_path: Path, postgresql_peer: PostgreSQL, redis_peer: RedisServer
) -> None:
    url = postgresql_peer.create_database("gone")
    database = Database.open(url)
    migrate(database)
    database.close()
    settings = Settings(data_dir=tmp_path, database_url=url, broker_url=redis_peer.url, min_free_bytes=1)
    with serving(settings, Role.LISTENER) as listener, serving(settings) as console:
        assert readiness(listener) == (200, [])
        with postgresql_peer.connect() as connection:
            connection.execute("ALTER DATABASE gone ALLOW_CONNECTIONS false")
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'gone'")
        status, [reason] = readiness(listener)
        assert (status, reason) == (503, "database: start it, or set CSPINE_DATABASE_URL")
        assert [text.partition(":")[0] for text in readiness(console)[1]] == ["database", "bundle"]
        assert "\ncspine_database_up 0.0\n" in get(listener, "/metrics")[2]
        assert postgresql_peer.password not in "".join(readiness(console)[1])
        with postgresql_peer.connect() as connection:
            connection.execute("ALTER DATABASE gone ALLOW_CONNECTIONS true")
        assert readiness(listener) == (200, [])
        assert "\ncspine_database_up 1.0\n" in get(listener, "/metrics")[2]


@pytest.mark.peer
def test_a_full_disk_and_a_damaged_bundle_are_named(settings: Settings, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    with serving(replace(settings, min_free_bytes=1 << 62, bundle_path=broken)) as port:
        reasons = readiness(port)[1]
    assert [reason.partition(":")[0] for reason in reasons] == ["disk", "bundle"]
    assert "0xA700" in reasons[0]


def test_a_process_that_is_not_well_is_not_alive(tmp_path: Path) -> None:
    well = [True]
    with workplace(tmp_path) as place, serving(place.settings, Role.LISTENER, well) as port:
        assert get(port, "/healthz")[0] == 200
        well[0] = False
        assert get(port, "/healthz") == (503, "application/json", '{"alive": false}\n')


def test_a_taken_port_is_named_with_what_to_do(tmp_path: Path) -> None:
    with workplace(tmp_path) as place, serving(place.settings) as port:
        second = health_server(replace(place.settings, health_port=port), Role.CLERK, place.database, lambda: True)
        with pytest.raises(StartupError, match=f"port {port} .*CSPINE_HEALTH_PORT"):
            second.start()
        second.stop()


def test_nothing_is_served_without_a_port(tmp_path: Path) -> None:
    with workplace(tmp_path) as place:
        server = health_server(place.settings, Role.CLERK, place.database, lambda: True)
        server.start()
        assert server._server is None
        server.stop()


def test_the_port_is_free_again_after_the_stop(tmp_path: Path) -> None:
    with workplace(tmp_path) as place:
        settings = replace(place.settings, health_port=free_port())
        for _ in range(2):
            server = health_server(settings, Role.LISTENER, place.database, lambda: True)
            server.start()
            assert get(settings.health_port or 0, "/healthz")[0] == 200
            server.stop()


def test_a_whole_bundle_is_not_hashed_for_every_question_and_a_fault_is_looked_at_again(tmp_path: Path) -> None:
    moments = iter([0.0, 1.0, MODEL_SECONDS + 1, MODEL_SECONDS + 2, MODEL_SECONDS + 3])
    with workplace(tmp_path / "data") as place:
        settings = replace(place.settings, bundle_path=None)
        asked = Readiness(settings, Role.GPU, lambda: next(moments))
        first, second, third = (asked._model_checks() for _ in range(3))
        assert first is second
        assert first is not third
        asked._settings = replace(settings, bundle_path=tmp_path / "nowhere")
        asked._models = None
        assert asked._model_checks() is not asked._model_checks()
