"""Each peer starts on loopback only, does its work and is gone afterwards."""

import subprocess
from pathlib import Path

import psycopg
import pydicom
import pytest
import redis
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tests.peers import (
    AutoPush,
    Orthanc,
    OrthancOptions,
    PostgreSQL,
    RedisServer,
    StoreSCP,
    accepts_connections,
    dciodvfy,
    dcmqi_program,
    orthanc,
    redis_server,
    require,
    storescp,
    storescu,
    wait_until,
)

pytestmark = pytest.mark.peer


@pytest.fixture
def ct_file(tmp_path: Path) -> Path:
    """One small CT instance, far from complete, as a Part 10 file."""
    instance = Dataset()
    instance.SOPClassUID = CTImageStorage
    instance.SOPInstanceUID = generate_uid()
    instance.StudyInstanceUID = generate_uid()
    instance.SeriesInstanceUID = generate_uid()
    instance.PatientID = "1"
    instance.Modality = "CT"
    instance.file_meta = FileMetaDataset()
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = tmp_path / "instance.dcm"
    instance.save_as(path, enforce_file_format=True)
    return path


def test_a_missing_program_skips_the_test_and_names_the_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program"):
        require("no-such-program")


def test_a_missing_program_fails_the_test_in_ci(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install"):
        require("no-such-program")


def test_pynetdicoms_script_is_not_taken_for_dcmtk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    script = tmp_path / "storescp"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert require("storescp") != script


def test_redis_comes_back_empty_after_a_kill(redis_peer: RedisServer):
    with redis.Redis.from_url(redis_peer.url) as client:
        client.set("key", "value")
    redis_peer.kill()
    assert not redis_peer.answers()
    redis_peer.start()
    with redis.Redis.from_url(redis_peer.url) as client:
        assert client.get("key") is None


def test_a_frozen_redis_answers_again_after_the_thaw(redis_peer: RedisServer):
    redis_peer.freeze()
    assert not redis_peer.answers()
    redis_peer.thaw()
    assert redis_peer.answers()


def test_redis_is_gone_after_its_block(tmp_path: Path):
    with redis_server(tmp_path) as server:
        port = server.port
    assert not accepts_connections(port)


def test_postgresql_gives_each_caller_a_database(postgresql_peer: PostgreSQL):
    url = postgresql_peer.create_database("first")
    assert url.endswith("/first")
    with postgresql_peer.connect("first") as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("first",)


def test_postgresql_refuses_a_wrong_password(postgresql_peer: PostgreSQL):
    with pytest.raises(psycopg.OperationalError, match="password"):
        PostgreSQL(postgresql_peer.process, postgresql_peer.port, password="wrong").connect()


def test_storescp_receives_what_storescu_sends(storescp_peer: StoreSCP, ct_file: Path):
    sent = storescu([ct_file], storescp_peer.peer)
    assert sent.returncode == 0, sent.stdout
    wait_until(lambda: len(storescp_peer.files()) == 1, 5, "the file")
    assert pydicom.dcmread(storescp_peer.files()[0]).PatientID == "1"


def listening_addresses(port: int) -> set[str]:
    """Return the local addresses (hexadecimal, as the kernel writes them) that listen at a TCP port."""
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}


def test_peers_without_a_bind_option_listen_on_loopback_only(storescp_peer: StoreSCP, orthanc_peer: Orthanc):
    for port in (storescp_peer.port, orthanc_peer.dicom_port, orthanc_peer.http_port):
        assert listening_addresses(port) <= {"0100007F", "00000000000000000000000001000000"}


def test_orthanc_finds_by_qido_what_was_uploaded(orthanc_peer: Orthanc, ct_file: Path, tmp_path: Path):
    instance = orthanc_peer.upload(ct_file)
    uid = str(pydicom.dcmread(ct_file).StudyInstanceUID)
    assert orthanc_peer.modalities(uid) == ["CT"]
    assert [study["MainDicomTags"]["StudyInstanceUID"] for study in orthanc_peer.studies()] == [uid]
    assert orthanc_peer.instances(uid, "CT") == [instance]
    assert orthanc_peer.qido("studies", StudyInstanceUID="1.2.3") == []
    [copy] = orthanc_peer.download_study(uid, tmp_path)
    assert pydicom.dcmread(copy).StudyInstanceUID == uid


def test_orthanc_takes_a_c_store_and_forgets_nothing_over_a_restart(orthanc_peer: Orthanc, ct_file: Path):
    sent = storescu([ct_file], orthanc_peer.peer)
    assert sent.returncode == 0, sent.stdout
    orthanc_peer.stop()
    orthanc_peer.start()
    assert len(orthanc_peer.studies()) == 1


@pytest.mark.parametrize("rule", [AutoPush.CT_SERIES, AutoPush.WHOLE_STUDY])
def test_orthanc_pushes_a_stable_ct_by_itself(rule: AutoPush, tmp_path: Path, ct_file: Path):
    options = OrthancOptions(auto_push=rule, stable_seconds=1)
    with storescp(tmp_path / "ours", "CSPINE") as ours, orthanc(tmp_path / "pacs", options) as pacs:
        pacs.connect(ours.port)
        assert storescu([ct_file], pacs.peer, ["-aet", "SCANNER"]).returncode == 0
        wait_until(lambda: len(ours.files()) == 1, 20, "the pushed instance")


def test_orthanc_does_not_push_back_what_came_from_us(tmp_path: Path, ct_file: Path):
    options = OrthancOptions(auto_push=AutoPush.CT_SERIES, stable_seconds=1)
    with orthanc(tmp_path / "pacs", options) as pacs:
        assert storescu([ct_file], pacs.peer, ["-aet", "CSPINE"]).returncode == 0
        wait_until(lambda: "StableSeries" in {change["ChangeType"] for change in pacs.changes()}, 20, "a stable series")
        assert pacs.jobs() == []


def test_orthanc_pushes_on_request(storescp_peer: StoreSCP, orthanc_peer: Orthanc, ct_file: Path):
    orthanc_peer.connect(storescp_peer.port, storescp_peer.ae_title)
    summary = orthanc_peer.push([orthanc_peer.upload(ct_file)])
    assert summary["FailedInstancesCount"] == 0
    wait_until(lambda: len(storescp_peer.files()) == 1, 5, "the file")


def test_dciodvfy_names_the_errors_of_an_incomplete_instance(ct_file: Path):
    verdict = dciodvfy(ct_file)
    assert any("PatientName" in error for error in verdict.errors)


def test_dcmqi_readers_run():
    for name in ("segimage2itkimage", "tid1500reader"):
        ran = subprocess.run([dcmqi_program(name), "--help"], check=False, timeout=60, capture_output=True, text=True)
        assert "USAGE" in ran.stdout.upper() + ran.stderr.upper()
