"""Fixtures of the records: a migrated database of the test's own, on SQLite and on a real PostgreSQL, and a clock."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.peers import PostgreSQL
from tests.worker.scripted import Workplace, workplace, write_boxes
from training.synthesis.phantom_series import Identity, SeriesOptions
from worker.database import Database, migrate


@dataclass
class FakeClock:
    """A clock that moves only when it is told to."""

    now: datetime = field(default=datetime(2026, 3, 1, 12, 0, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def postgresql_database(postgresql_peer: PostgreSQL) -> str:
    """The URL of one PostgreSQL database for all tests of the records."""
    return postgresql_peer.create_database("records")


@pytest.fixture
def empty_postgresql(postgresql_peer: PostgreSQL, postgresql_database: str) -> str:
    """The same, emptied: quicker than a new database for each test."""
    with postgresql_peer.connect("records") as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return postgresql_database


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'cspine.sqlite3'}"
    return request.getfixturevalue("empty_postgresql")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database."""
    opened = Database.open(database_url)
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[Database]:
    """A migrated SQLite database, for what does not depend on the kind."""
    opened = Database.open(f"sqlite:///{tmp_path / 'only.sqlite3'}")
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def boxes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study as a folder of DICOM files."""
    folder = tmp_path_factory.mktemp("boxes")
    write_boxes(folder)
    return folder


@pytest.fixture(scope="session")
def analyzed_template(tmp_path_factory: pytest.TempPathFactory, boxes_folder: Path) -> Path:
    """The data folder of an installation whose one study waits to be sent (see ``scripted.analyzed``)."""
    folder = tmp_path_factory.mktemp("analyzed") / "data"
    with workplace(folder) as made:
        made.receive(boxes_folder)
        made.analyzer().analyze(*made.complete())
    return folder


@pytest.fixture(scope="session")
def named_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as ``analyzed_template``, of a patient whose name and numbers occur nowhere else."""
    identity = Identity(patient_name="Çelik^Zoë", patient_id="MRN-4711-0815", accession_number="RIS-2026-0815")
    series, folder = tmp_path_factory.mktemp("named"), tmp_path_factory.mktemp("analyzed") / "data"
    write_boxes(series, SeriesOptions(identity=identity))
    with workplace(folder) as made:
        made.receive(series)
        made.analyzer().analyze(*made.complete())
    return folder


@pytest.fixture
def place(tmp_path: Path, boxes_folder: Path) -> Iterator[Workplace]:
    """An installation that has received the small study."""
    with workplace(tmp_path / "data") as made:
        made.receive(boxes_folder)
        yield made
