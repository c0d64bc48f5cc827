"""The clerk's sweeper: runs without a broker, survives an outage of the database, and never just goes quiet."""

import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from tests.peers import wait_until
from tests.worker.scripted import RecordsRings, workplace, write_boxes
from worker.clerk import Numberer, Sweeper
from worker.installation_key import InstallationKey
from worker.ports import BellUnavailable
from worker.records import Study
from worker.settings import Settings
from worker.states import StudyState
from worker.study_numbers import number_digest


class SilentBell(RecordsRings):
    """A bell whose broker is away."""

    def ring_analysis(self, study_id: int, generation: int) -> None:
        super().ring_analysis(study_id, generation)
        raise BellUnavailable("away")


def test_a_quiet_study_is_queued_although_the_broker_is_away_and_rung_for_again(tmp_path: Path) -> None:
    write_boxes(tmp_path / "boxes")
    with workplace(tmp_path / "data") as place:
        place.receive(tmp_path / "boxes")
        with place.database.transaction() as session:
            session.execute(update(Study).values(last_received_at=datetime.now(UTC) - timedelta(hours=1)))
        bell = SilentBell()
        sweeper = Sweeper(Settings(data_dir=tmp_path / "data", sweep_seconds=0.05), place.database, bell, None)
        sweeper.start()
        wait_until(lambda: len(bell.analyses) >= 3, 30, "three rings")
        sweeper.stop()
        assert place.state() is StudyState.QUEUED
        assert not sweeper._thread.is_alive()


def test_a_clerk_reads_the_numbers_that_studies_are_found_by(tmp_path: Path) -> None:
    write_boxes(tmp_path / "boxes")
    with workplace(tmp_path / "data") as place:
        place.receive(tmp_path / "boxes")
        settings = Settings(data_dir=tmp_path / "data", sweep_seconds=0.05)
        numberer = Numberer(settings, place.database)
        numberer.start()
        digest = number_digest(InstallationKey.of(settings), "A1")  # of the synthetic study

        def is_found() -> bool:
            with place.database.reading() as session:
                return session.scalar(select(Study.number_digest)) == digest

        wait_until(is_found, 30, "the number")
        numberer.stop()


def test_a_database_that_does_not_answer_for_a_while_is_waited_for(tmp_path: Path) -> None:
    with workplace(tmp_path / "data") as place:
        sweeper = Sweeper(
            Settings(data_dir=tmp_path / "data", sweep_seconds=0.05), place.database, RecordsRings(), None
        )
        failures = iter([OperationalError("", {}, Exception("away"))] * 2)
        runs = []

        def run() -> None:
            runs.append(1)
            for failure in failures:
                raise failure

        sweeper._sweeps.run = run  # type: ignore[method-assign]
        sweeper.start()
        wait_until(lambda: len(runs) >= 4, 30, "sweeps after the outage")
        sweeper.stop()


@pytest.mark.slow
def test_a_sweeper_that_fails_in_a_way_nobody_foresaw_ends_its_process(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from worker.clerk import Sweeper
from worker.settings import Settings
sweeper = Sweeper(Settings(data_dir=Path(sys.argv[1]), sweep_seconds=0.05), None, None, None)
sweeper.start()
time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=50, capture_output=True, check=False)
    assert done.returncode == -signal.SIGTERM
