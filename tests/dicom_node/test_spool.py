"""The durable store: names, idempotence, sweeping, and file systems that fail."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1

from dicom_node.errors import InvalidInstance, OutOfResources
from dicom_node.header import inspect
from dicom_node.part10 import FileMeta
from dicom_node.spool import Spool
from tests.dicom_node.tiny_ct import encode_data_set, make_ct


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool", min_free_bytes=0)


def meta_of(dataset, syntax=None):
    return FileMeta(CTImageStorage, dataset.SOPInstanceUID, syntax or dataset.file_meta.TransferSyntaxUID, "SENDER")


def store(spool, dataset, syntax=None):
    incoming = spool.receive(meta_of(dataset, syntax))
    incoming.write(encode_data_set(dataset))
    with incoming.data_set() as data:
        header = inspect(data, incoming.meta.transfer_syntax_uid)
    return spool.keep(incoming, header)


def files_below(spool):
    return [path for path in spool.root.rglob("*") if path.is_file()]


def test_what_is_kept_is_found_and_described_again(spool):
    dataset = make_ct()
    stored = store(spool, dataset)
    assert list(spool.files()) == [stored.path]
    assert spool.describe(stored.path) == stored
    assert stored.sha256 == hashlib.sha256(encode_data_set(dataset)).hexdigest()
    with spool.open(stored.path) as file:
        assert dcmread(file) == dataset
    assert files_below(spool) == [spool.root / stored.path]


def test_names_come_from_hashes_only(spool):
    dataset = make_ct()
    stored = store(spool, dataset)
    study = hashlib.sha256(dataset.StudyInstanceUID.encode()).hexdigest()
    instance = hashlib.sha256(dataset.SOPInstanceUID.encode()).hexdigest()
    folder, shard, study_folder, name = stored.path.split("/")
    assert (folder, shard, study_folder) == ("store", study[:2], study)
    assert name.startswith(f"{instance}-")
    assert name.endswith(".dcm")


def test_the_same_bytes_have_the_same_path_and_others_another(spool):
    dataset = make_ct()
    first = store(spool, dataset)
    assert store(spool, dataset) == first
    dataset.SeriesNumber = 4
    assert store(spool, dataset).path != first.path
    assert len(list(spool.files())) == 2


def test_the_same_bytes_in_another_transfer_syntax_are_another_file(spool):
    dataset = make_ct(transfer_syntax=JPEGLosslessSV1)
    first, second = store(spool, dataset), store(spool, dataset, JPEG2000Lossless)
    assert first.sha256 == second.sha256
    assert first.path != second.path
    assert spool.describe(first.path).meta.transfer_syntax_uid == JPEGLosslessSV1


def test_discarding_leaves_nothing(spool):
    incoming = spool.receive(meta_of(make_ct()))
    incoming.write(b"some bytes")
    incoming.discard()
    incoming.discard()
    assert files_below(spool) == []


def test_sweeping_spares_what_is_being_received_here_and_in_other_processes(spool):
    (spool.root / "incoming" / "left.part").write_bytes(b"of a killed process")
    mine = spool.receive(meta_of(make_ct()))
    program = """
import sys
from pathlib import Path
from dicom_node.part10 import FileMeta
from dicom_node.spool import Spool
incoming = Spool(Path(sys.argv[1]), min_free_bytes=0).receive(FileMeta("1.2", "1.3", "1.4"))
print(incoming.path, flush=True)
sys.stdin.readline()
"""
    command = [sys.executable, "-c", program, str(spool.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        theirs = child.stdout.readline().strip()
        assert spool.sweep() == 1
        assert {str(path) for path in files_below(spool)} == {str(mine.path), theirs}
        child.kill()
    assert spool.sweep() == 1
    mine.discard()
    assert files_below(spool) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_step_fails_the_instance_and_leaves_no_half_file(spool, monkeypatch, step):
    def fail(*_arguments, **_options):
        raise OSError(errno.EIO, "input/output error")

    store(spool, make_ct(1))
    incoming = spool.receive(meta_of(make_ct(2)))
    incoming.write(encode_data_set(make_ct(2)))
    with incoming.data_set() as data:
        header = inspect(data, ExplicitVRLittleEndian)
    with monkeypatch.context() as patch:
        if step == "fsync":
            patch.setattr(os, "fsync", fail)
        else:
            patch.setattr(type(incoming.path), "replace", fail)
        with pytest.raises(OutOfResources) as caught:
            spool.keep(incoming, header)
    assert not caught.value.permanent
    assert len(files_below(spool)) == 1
    assert store(spool, make_ct(2)).path in set(spool.files())


def test_too_little_space_refuses_before_anything_is_written(tmp_path):
    spool = Spool(tmp_path / "spool", min_free_bytes=1 << 60)
    with pytest.raises(OutOfResources, match="space"):
        spool.receive(meta_of(make_ct()))
    assert files_below(spool) == []


def test_a_data_set_above_the_largest_size_is_refused_while_it_arrives(tmp_path):
    spool = Spool(tmp_path / "spool", min_free_bytes=0, max_instance_bytes=100)
    incoming = spool.receive(meta_of(make_ct()))
    incoming.write(bytes(100))
    with pytest.raises(InvalidInstance, match="larger"):
        incoming.write(b"1")
    incoming.discard()


def test_a_removed_study_folder_is_made_again(spool):
    stored = store(spool, make_ct(1))
    shutil.rmtree((spool.root / stored.path).parent)
    assert store(spool, make_ct(1)) == stored
    assert (spool.root / stored.path).is_file()


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "store/../../secret"])
def test_paths_outside_of_the_spool_are_not_opened(spool, path):
    (spool.root.parent / "secret").write_text("secret")
    with pytest.raises(OSError, match="outside"):
        spool.open(path)


def test_links_are_not_followed(spool):
    stored = store(spool, make_ct())
    path = spool.root / stored.path
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))
    with pytest.raises(OSError, match=r"symbolic|Too many"):
        spool.open(stored.path)


def test_a_changed_stored_file_is_noticed(spool):
    stored = store(spool, make_ct())
    path = spool.root / stored.path
    content = path.read_bytes()
    path.write_bytes(content[:-2] + b"xx")
    assert spool.describe(stored.path).sha256 != stored.sha256
    path.write_bytes(content[:-20])
    with pytest.raises(InvalidInstance, match="truncated"):
        spool.describe(stored.path)
    path.write_bytes(b"")
    with pytest.raises(InvalidInstance):
        spool.describe(stored.path)


def test_several_threads_store_into_one_new_study(spool):
    errors = []

    def run(number):
        try:
            store(spool, make_ct(number))
        except OutOfResources as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(list(spool.files())) == 12


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["keep", "discard", "sweep"]), st.integers(0, 3), st.integers(0, 2)), max_size=12
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_the_store_holds_exactly_the_distinct_instances_that_were_kept(tmp_path_factory, operations):
    spool = Spool(tmp_path_factory.mktemp("property"), min_free_bytes=0)
    kept = {}
    for operation, number, variant in operations:
        dataset = make_ct(number)
        dataset.SeriesNumber = variant
        if operation == "keep":
            kept[number, variant] = store(spool, dataset)
        elif operation == "discard":
            incoming = spool.receive(meta_of(dataset))
            incoming.write(encode_data_set(dataset))
            incoming.discard()
        else:
            assert spool.sweep() == 0
    assert sorted(spool.files()) == sorted(stored.path for stored in kept.values())
    assert all(spool.describe(stored.path) == stored for stored in kept.values())
    assert list((spool.root / "incoming").iterdir()) == []
