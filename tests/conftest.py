"""Fixtures for every test: the real peers, the shared data, an environment without settings of this machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import Orthanc, PostgreSQL, RedisServer, StoreSCP, orthanc, postgresql, redis_server, storescp

PROJECT = Path(__file__).resolve().parent.parent
SHARED_DATA = PROJECT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away every ``CSPINE_*`` variable, so that a test sees only the settings that it makes."""
    for name in [name for name in os.environ if name.startswith("CSPINE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def redis_peer(tmp_path: Path) -> Iterator[RedisServer]:
    """A real redis-server of the test's own."""
    with redis_server(tmp_path / "redis") as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_peer() -> Iterator[PostgreSQL]:
    """A real PostgreSQL, shared by the session: each test makes a database of its own with ``create_database``."""
    with postgresql() as server:
        yield server


@pytest.fixture
def orthanc_peer(tmp_path: Path) -> Iterator[Orthanc]:
    """A real Orthanc of the test's own that pushes nothing by itself."""
    with orthanc(tmp_path / "orthanc") as pacs:
        yield pacs


@pytest.fixture
def storescp_peer(tmp_path: Path) -> Iterator[StoreSCP]:
    """A dcmtk storescp of the test's own."""
    with storescp(tmp_path / "storescp") as peer:
        yield peer


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real CT studies beside the checkout; the test is skipped where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip("../shared/data, the real CT studies, is not beside this checkout")
    return SHARED_DATA
