"""Uploaded studies: they come in as if a PACS had sent them; whatever else an archive holds is counted, not obeyed."""

import io
import stat
import struct
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage
from sqlalchemy import func, select, update

from dicom_node.spool import Spool
from dicom_node.storing import Sender
from tests.worker.scripted import Workplace, workplace
from worker.database import GroupCommitWriter
from worker.intake import Intake
from worker.records import Instance, Run, Study
from worker.states import StudyState
from worker.sweeps import Sweeps
from worker.uploads import AE_TITLE, MAX_FILES, Fate, Outcome, Stop, StudyUpload
from worker.zip_bounds import NotPlainZip, TooManyEntries, ZipBounds, check_directory

SLICES = 64


@pytest.fixture
def empty(tmp_path):
    """An installation that has received nothing."""
    with workplace(tmp_path / "data") as made:
        yield made


def take(place: Workplace, *files: bytes, max_bytes: int = 1 << 30, min_free_bytes: int = 1) -> Outcome:
    writer = GroupCommitWriter(place.database)
    try:
        spool = Spool(place.settings.spool_dir, min_free_bytes=min_free_bytes)
        sender = Sender(AE_TITLE, "192.0.2.7", "upload-1")
        return StudyUpload(spool, Intake(writer), sender, max_bytes).take(io.BytesIO(file) for file in files)
    finally:
        writer.close()


def archive_of(entries, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file of these (name or ZipInfo, bytes)."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return target.getvalue()


def files_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def stored_paths(place: Workplace) -> set[str]:
    return {path.relative_to(place.settings.spool_dir).as_posix() for path in place.settings.spool_dir.rglob("*.dcm")}


def count(place: Workplace) -> int:
    with place.database.reading() as session:
        return session.scalar(select(func.count()).select_from(Instance)) or 0


@pytest.mark.parametrize("zipped", [True, False])
def test_an_uploaded_study_is_that_which_a_pacs_sends(tmp_path, empty, boxes_folder, zipped):
    files = files_of(boxes_folder)
    upload = [archive_of((f"DICOM/{n}", data) for n, data in enumerate(files))] if zipped else files
    outcome = take(empty, *upload)
    assert (outcome.fates, outcome.stop) == (Counter({Fate.TAKEN: SLICES}), None)
    with workplace(tmp_path / "sent") as sent:
        sent.receive(boxes_folder)
        assert stored_paths(empty) == stored_paths(sent)
        assert outcome.study_uids == {sent.view().line.study_instance_uid}
    with empty.database.reading() as session:
        study = session.scalars(select(Study)).one()
        assert (study.state, study.calling_ae_title, study.peer_address) == (
            StudyState.RECEIVING,
            AE_TITLE,
            "192.0.2.7",
        )
        assert session.scalars(select(Instance.association_id).distinct()).all() == ["upload-1"]
    assert dcmread(next(empty.settings.spool_dir.rglob("*.dcm"))).file_meta.SourceApplicationEntityTitle == AE_TITLE


def test_an_uploaded_study_reaches_its_result(empty, boxes_folder):
    take(empty, archive_of((str(n), data) for n, data in enumerate(files_of(boxes_folder))))
    empty.advance(seconds=60)
    assert Sweeps(empty.database, empty.settings, empty.bell, empty.clock).run().completed == 1
    empty.analyzer().analyze(*empty.position())
    assert empty.state() is StudyState.SENDING
    with empty.database.reading() as session:
        assert session.scalars(select(Run.probability)).all() == [0.9]


def test_the_same_upload_again_changes_nothing(empty, boxes_folder):
    files = files_of(boxes_folder)[:5]
    first, again = take(empty, *files), take(empty, *files)
    assert first == again
    assert count(empty) == 5
    with empty.database.reading() as session:
        assert session.scalars(select(Instance.revision).distinct()).all() == [False]


@pytest.mark.parametrize(
    "name", ["/etc/cspine", "../../../../evil.dcm", "C:\\evil.dcm", "a/../../b", "\x1b[31m", "x" * 5000]
)
def test_names_in_an_archive_lead_nowhere(tmp_path, empty, boxes_folder, name, caplog):
    Spool(empty.settings.spool_dir)
    before = {path for path in tmp_path.rglob("*") if "store" not in path.parts}
    outcome = take(empty, archive_of([(name, files_of(boxes_folder)[0])]))
    assert outcome.fates == {Fate.TAKEN: 1}
    assert {path for path in tmp_path.rglob("*") if "store" not in path.parts} == before
    assert "evil" not in caplog.text
    assert len(stored_paths(empty)) == 1


def link(target: str) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo("link")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info, target.encode()


def encrypted(data: bytes) -> bytes:
    """A zip file whose one entry claims to be encrypted, in both headers."""
    made = bytearray(archive_of([("a", data)]))
    made[6] |= 1
    made[made.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(made)


def secondary_capture(data: bytes) -> bytes:
    dataset = dcmread(io.BytesIO(data))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    return written(dataset)


def deflated(data: bytes) -> bytes:
    dataset = dcmread(io.BytesIO(data))
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    return written(dataset)


def written(dataset) -> bytes:
    target = io.BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()


def other_instance(data: bytes) -> bytes:
    """A file that says another SOP Instance UID in front than inside."""
    uid = dcmread(io.BytesIO(data)).SOPInstanceUID.encode()
    return data.replace(uid, uid[:-1] + (b"1" if uid[-1:] != b"1" else b"2"), 1)


HOSTILE = {
    "a link": (lambda _: archive_of([link("/etc/passwd")]), {Fate.NOT_A_FILE: 1}),
    "an encrypted entry": (encrypted, {Fate.UNREADABLE: 1}),
    "bzip2": (lambda data: archive_of([("a", data)], zipfile.ZIP_BZIP2), {Fate.UNREADABLE: 1}),
    "an archive inside": (lambda data: archive_of([("a.zip", archive_of([("b", data)]))]), {Fate.NESTED: 1}),
    "a gzip file inside": (lambda _: archive_of([("a", b"\x1f\x8b" + bytes(300))]), {Fate.NESTED: 1}),
    "a bomb": (lambda _: archive_of([("a", bytes(64 << 20))]), {Fate.SUSPICIOUS: 1}),
    "texts and folders": (
        lambda _: archive_of([("dir/", b""), ("a.txt", b"hello"), ("empty", b"")]),
        {Fate.NOT_DICOM: 2},
    ),
    "a slice that is cut off": (lambda data: archive_of([("a", data[:-100])]), {Fate.DAMAGED: 1}),
    "bytes behind the slice": (lambda data: archive_of([("a", data + b"12345678")]), {Fate.DAMAGED: 1}),
    "a head without a body": (lambda _: archive_of([("a", bytes(128) + b"DICM")]), {Fate.DAMAGED: 1}),
    "another object": (lambda data: archive_of([("a", secondary_capture(data))]), {Fate.NO_USE: 1}),
    "another transfer syntax": (lambda data: archive_of([("a", deflated(data))]), {Fate.TRANSFER_SYNTAX: 1}),
    "another instance inside": (lambda data: archive_of([("a", other_instance(data))]), {Fate.DAMAGED: 1}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_instance_is_counted_and_the_rest_is_taken_in(empty, boxes_folder, name):
    first, second = files_of(boxes_folder)[:2]
    make, fates = HOSTILE[name]
    outcome = take(empty, make(first), second)
    assert (outcome.fates, outcome.stop) == (Counter(fates) + Counter({Fate.TAKEN: 1}), None)
    assert count(empty) == 1
    assert list((empty.settings.spool_dir / "incoming").iterdir()) == []


def test_an_entry_whose_bytes_are_not_those_of_its_checksum_is_not_kept(empty, boxes_folder):
    data = bytearray(archive_of([("a", files_of(boxes_folder)[0])], zipfile.ZIP_STORED))
    data[2000] ^= 0xFF
    assert take(empty, bytes(data)).fates == {Fate.DAMAGED: 1}
    assert stored_paths(empty) == set()


def test_an_entry_that_says_to_be_smaller_than_it_is_is_not_kept(empty, boxes_folder):
    made = bytearray(archive_of([("a", files_of(boxes_folder)[0])]))
    place = made.rindex(b"PK\x01\x02") + 24
    made[place : place + 4] = struct.pack("<I", 3000)
    assert take(empty, bytes(made)).fates == {Fate.DAMAGED: 1}


def test_an_archive_that_is_no_plain_zip_file_is_refused(empty, boxes_folder):
    data = archive_of([("a", files_of(boxes_folder)[0])])
    with_comment = data[:-2] + b"\x05\x00hello"
    for made in (data[: len(data) // 2], with_comment, data[:4]):
        assert take(empty, made).stop is Stop.NOT_PLAIN_ZIP
    assert count(empty) == 0


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_read(empty, boxes_folder):
    files = files_of(boxes_folder)
    data = archive_of((str(n), file) for n, file in enumerate(files))
    outcome = take(empty, data, max_bytes=sum(map(len, files)) - 1)
    assert (outcome.fates, outcome.stop) == (Counter(), Stop.TOO_LARGE)


def test_an_archive_of_too_many_entries_is_refused_before_it_is_read(empty):
    data = archive_of([(str(number), b"") for number in range(MAX_FILES + 1)], zipfile.ZIP_STORED)
    assert take(empty, data).stop is Stop.TOO_MANY


def test_an_archive_that_hides_how_many_entries_it_has_is_refused(empty):
    data = bytearray(archive_of([(str(number), b"") for number in range(MAX_FILES + 1)], zipfile.ZIP_STORED))
    data[-14:-10] = struct.pack("<HH", 1, 1)
    assert take(empty, bytes(data)).stop is Stop.TOO_MANY


def test_a_full_disk_ends_the_upload_and_keeps_what_came_before(empty, boxes_folder):
    files = files_of(boxes_folder)[:3]
    assert take(empty, files[0]).stop is None
    outcome = take(empty, *files, min_free_bytes=1 << 60)
    assert (outcome.fates, outcome.stop) == (Counter(), Stop.OUT_OF_SPACE)
    assert count(empty) == 1


def test_a_database_that_does_not_answer_ends_the_upload(empty, boxes_folder):
    writer = GroupCommitWriter(empty.database)
    writer.close()
    upload = StudyUpload(
        Spool(empty.settings.spool_dir, min_free_bytes=1), Intake(writer), Sender("A", "b", "c"), 1 << 30
    )
    outcome = upload.take([io.BytesIO(files_of(boxes_folder)[0])])
    assert (outcome.fates, outcome.stop, outcome.study_uids) == (Counter(), Stop.DATABASE, set())


def test_a_late_upload_of_further_slices_makes_another_generation(empty, boxes_folder):
    files = files_of(boxes_folder)
    take(empty, *files[1:])
    with empty.database.transaction() as session:
        session.execute(update(Study).values(state=StudyState.DELIVERED))
    take(empty, files[0])
    with empty.database.reading() as session:
        study = session.scalars(select(Study)).one()
    assert (study.state, study.generation) == (StudyState.RECEIVING, 2)


@pytest.mark.parametrize("size", [0, 1, 21, 22, 41])
def test_a_file_too_short_for_a_directory_is_no_zip_file(size):
    bounds = ZipBounds(entries=10, directory_bytes=1000, entry_bytes=1000, ratio=10, least_bytes=10)
    with pytest.raises(NotPlainZip):
        check_directory(io.BytesIO(b"PK\x03\x04".ljust(size, b"\0")[:size]), bounds)


def test_a_directory_is_measured_by_what_its_end_says():
    bounds = ZipBounds(entries=2, directory_bytes=1000, entry_bytes=1000, ratio=10, least_bytes=10)
    check_directory(io.BytesIO(archive_of([("a", b""), ("b", b"")])), bounds)
    with pytest.raises(TooManyEntries):
        check_directory(io.BytesIO(archive_of([("a", b""), ("b", b""), ("c", b"")])), bounds)
    with pytest.raises(TooManyEntries):
        check_directory(io.BytesIO(archive_of([("x" * 2000, b"")])), bounds)
