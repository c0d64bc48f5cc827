"""Signs of life and counts of a process: written with one beat, kept while the database is away, gone with its end."""

import os
import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from dicom_node.node import AETitle
from dicom_node.scp import ScpConfig, StorageSCP
from dicom_node.spool import Spool
from tests.dicom_node.listening import Receipts, quick_limits
from tests.dicom_node.raw_scu import raw_association, store_command
from tests.dicom_node.tiny_ct import encode_data_set, make_ct
from tests.worker.conftest import FakeClock
from tests.worker.scripted import Workplace, workplace
from tests.worker.watched import counting_listener, reject
from worker import counters, figures
from worker.counters import Pending
from worker.database import Database
from worker.gpus import read_gpus
from worker.heartbeats import DEAD_SECONDS, Process, Pulse, Role, Vitals, alive, resident_bytes
from worker.records import Heartbeat
from worker.reporter import ReceptionCounts, Reporter


def counted(database: Database) -> dict[str, float]:
    """What the records have counted, by name and labels."""
    with database.reading() as session:
        return {f"{item.name}{item.labels}": value for item, value in counters.read(session).items()}


def names(database: Database, at: datetime) -> list[str]:
    with database.reading() as session:
        return [beat.name for beat in alive(session, at)]


def reporter_of(place: Workplace, pending: Pending, well: bool = True) -> Reporter:  # noqa: FBT001, FBT002
    pulse = Pulse(Process.this(Role.LISTENER), lambda: Vitals.now(place.settings.data_dir))
    return Reporter(place.database, pulse, pending, lambda: well)


def test_associations_and_instances_of_a_real_listener_are_counted(tmp_path: Path) -> None:
    with workplace(tmp_path / "data") as place:
        with counting_listener(place) as listener:
            reject(listener.peer)
            reject(listener.peer)
            uid = make_ct().SOPInstanceUID.encode()
            with raw_association(listener.peer.port) as association:
                association.store(store_command(uid), encode_data_set(make_ct()))
                association.store(store_command(b"2.25.4"), encode_data_set(make_ct()))  # not what the command says
                association.release()
            assert counted(place.database) == {}  # nothing is written while a peer waits
        assert counted(place.database) == {
            "cspine_associations_accepted[]": 1,
            'cspine_associations_rejected["called_ae_title"]': 2,
            "cspine_instances_received[]": 1,
            "cspine_received_bytes[]": len(encode_data_set(make_ct())),
            'cspine_instances_refused["data_set_mismatch"]': 1,
        }


def test_connections_above_the_limit_are_counted(tmp_path: Path) -> None:
    pending = Pending()
    config = ScpConfig(AETitle("CSPINE"), port=0, min_free_bytes=0, limits=quick_limits(max_sockets=1))
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    scp = StorageSCP(config, spool, Receipts(), observer=ReceptionCounts(pending))
    assert not scp.is_listening
    scp.start()
    assert scp.is_listening
    address = ("127.0.0.1", scp.port)
    with socket.create_connection(address), socket.create_connection(address, timeout=10) as second:
        assert second.recv(1) == b""
    scp.shutdown(drain_seconds=0.1)
    assert not scp.is_listening
    assert pending.take() == {figures.ASSOCIATIONS_REJECTED.series("connection_limit"): 1}


def test_a_report_that_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    with workplace(tmp_path / "data") as place:
        pending = Pending()
        reporter = reporter_of(place, pending)
        ReceptionCounts(pending).instance_stored(10)
        path = place.settings.data_dir / "cspine.sqlite3"
        place.database.close()
        path.rename(path.with_suffix(".away"))
        path.mkdir()
        reporter.once()
        ReceptionCounts(pending).instance_stored(5)
        path.rmdir()
        path.with_suffix(".away").rename(path)
        reporter.once()
        assert counted(place.database) == {"cspine_instances_received[]": 2, "cspine_received_bytes[]": 15}


def test_a_process_is_alive_from_its_start_to_its_end(tmp_path: Path) -> None:
    with workplace(tmp_path / "data") as place:
        reporter = reporter_of(place, Pending())
        reporter.start()
        assert [name.partition("@")[0] for name in names(place.database, datetime.now(UTC))] == [
            f"listener-{os.getpid()}"
        ]
        reporter.stop()
        assert names(place.database, datetime.now(UTC)) == []


def test_a_process_that_is_not_well_does_not_beat_and_counts_all_the_same(tmp_path: Path) -> None:
    with workplace(tmp_path / "data") as place:
        pending = Pending()
        ReceptionCounts(pending).association_accepted()
        reporter_of(place, pending, well=False).once()
        assert names(place.database, datetime.now(UTC)) == []
        assert counted(place.database) == {"cspine_associations_accepted[]": 1}


def test_a_silent_process_is_dead_after_a_minute_and_forgotten_after_a_day(
    database: Database, clock: FakeClock
) -> None:
    vitals, started_at = Vitals(1, 2, 3), clock()
    quiet, living = (Pulse(Process(name, Role.GPU, clock()), lambda: vitals) for name in ("gpu-1@a", "gpu-2@a"))
    with database.transaction() as session:
        quiet.beat(session, clock())
    assert names(database, clock.advance(DEAD_SECONDS - 1)) == ["gpu-1@a"]
    with database.transaction() as session:
        living.beat(session, clock())
    assert names(database, clock.advance(2)) == ["gpu-2@a"]
    with database.transaction() as session:
        living.beat(session, clock.advance(86400))
        assert session.scalars(select(Heartbeat.name)).all() == ["gpu-2@a"]
        assert session.scalars(select(Heartbeat.started_at)).one() == started_at


def test_vitals_come_back_as_they_were_written(database: Database, clock: FakeClock, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "0, NVIDIA A100, 100, 40960, [N/A]"\n')
    program.chmod(0o755)
    vitals = replace(Vitals.now(tmp_path), associations=3, bundle="b", gpus=read_gpus(str(program)))
    with database.transaction() as session:
        Pulse(Process.this(Role.GPU), lambda: vitals).beat(session, clock())
        [beat] = alive(session, clock())
    assert Vitals.of_json(beat.vitals) == vitals
    assert vitals.gpus[0].busy_ratio is None
    assert resident_bytes() > 1e6


@pytest.mark.parametrize("words", ["", "No devices were found", "0, x", "0, n, [N/A], [N/A], [N/A]"])
def test_a_machine_without_a_usable_gpu_tells_of_none(tmp_path: Path, words: str) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "{words}"\n')
    program.chmod(0o755)
    assert read_gpus(str(program)) == ()
    assert read_gpus(str(tmp_path / "no-such-program")) == ()


def test_counters_add_up_whoever_adds_and_gauges_only_rise(database: Database) -> None:
    one, two = figures.DELIVERIES.series("caf\u00e9"), figures.DELIVERIES.series("b")
    last = figures.LAST_STUDY.series("CT")
    for at in (5.0, 3.0):
        with database.transaction() as session:
            counters.add(session, {one: 1, two: 2.5})
            counters.raise_to(session, {last: at})
    with database.reading() as session:
        assert counters.read(session) == {one: 2, two: 5, last: 5}
        assert counters.value(session, two) == 5
        assert counters.value(session, figures.DELIVERIES.series("c")) == 0


def test_a_mark_is_advanced_by_one_of_those_who_saw_it(database: Database) -> None:
    mark = figures.TALLIED.series("study_events")
    with database.transaction() as session:
        assert counters.advance(session, mark, 0, 10)
        assert not counters.advance(session, mark, 0, 12)
        assert counters.advance(session, mark, 10, 12)
        assert counters.value(session, mark) == 12


def test_a_series_needs_a_value_for_each_label() -> None:
    with pytest.raises(ValueError, match="destination, code"):
        figures.DELIVERY_FAILURES.series("pacs")


def test_an_observation_is_in_one_bucket() -> None:
    added = figures.RESULT_SECONDS.observation(60.0)
    assert {series.values for series in added} == {("60.0",), ()}
    assert figures.RESULT_SECONDS.observation(1e9).keys() >= {figures.RESULT_SECONDS.buckets.series("+Inf")}
