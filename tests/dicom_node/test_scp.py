"""The storage SCP against real sockets: pynetdicom, dcmtk and a bare one."""

import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.sop_class import MRImageStorage, UltrasoundImageStorage, Verification

from dicom_node.node import AETitle
from dicom_node.part10 import read_file_meta
from dicom_node.scp import StoreStatus
from dicom_node.spool import Spool
from dicom_node.transfer_syntaxes import NATIVE_SYNTAXES, STORAGE_CLASSES, STORAGE_SYNTAXES
from tests.dicom_node.listening import Listening, listening
from tests.dicom_node.raw_scu import ABORT, P_DATA, pdu, pdv, raw_association, store_command
from tests.dicom_node.tiny_ct import CANARY, SERIES_UID, STUDY_UID, encode_data_set, make_ct, write_ct
from tests.peers import require, storescu, wait_until


@pytest.fixture
def node(tmp_path):
    with listening(tmp_path) as listener:
        yield listener


def send_with_pynetdicom(port, *datasets, **association):
    ae = AE(ae_title="SENDER")
    pairs = {(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID) for dataset in datasets}
    contexts = [build_context(*pair) for pair in pairs]
    assoc = ae.associate("127.0.0.1", port, contexts, ae_title="CSPINE", **association)
    assert assoc.is_established
    statuses = [assoc.send_c_store(dataset).Status for dataset in datasets]
    assoc.release()
    return statuses


def data_set_bytes(path):
    with path.open("rb") as file:
        read_file_meta(file)
        return file.read()


def send_raw(port, data_set, sop_instance_uid=None, **context):
    """Send bytes as a data set and return the response; the command's UID defaults to the made instance's."""
    uid = make_ct().SOPInstanceUID.encode() if sop_instance_uid is None else sop_instance_uid
    command = store_command(uid, context.get("sop_class", CTImageStorage).encode())
    with raw_association(port, **context) as association:
        response = association.store(command, data_set)
        if response is not None:
            association.release()
    return response


def assert_next_good_one_is_stored(node: Listening):
    before = len(node.receipts.recorded)
    assert send_with_pynetdicom(node.port, make_ct(99)) == [0x0000]
    assert len(node.receipts.recorded) == before + 1


def test_a_stored_instance_is_reported_with_what_identifies_it(node):
    dataset = make_ct(7)
    assert send_with_pynetdicom(node.port, dataset) == [0x0000]
    (instance,) = node.receipts.recorded
    encoded = encode_data_set(dataset)
    assert instance.sha256 == hashlib.sha256(encoded).hexdigest()
    assert instance.size_bytes == len(encoded)
    assert instance.header.sop_instance_uid == dataset.SOPInstanceUID
    assert instance.header.study_instance_uid == STUDY_UID
    assert instance.header.series_instance_uid == SERIES_UID
    assert (instance.header.modality, instance.header.series_number) == ("CT", 3)
    assert (instance.calling_ae_title, instance.peer_address) == ("SENDER", "127.0.0.1")
    assert instance.received_at.utcoffset().total_seconds() == 0
    assert node.stored() == [node.spool.root / instance.path]
    assert dcmread(node.stored()[0]).PatientName == CANARY
    wait_until(lambda: node.receipts.closed == [instance.association_id], 5, "the end of the association")


@pytest.mark.parametrize("sop_class", STORAGE_CLASSES, ids=str)
@pytest.mark.parametrize("syntax", STORAGE_SYNTAXES, ids=str)
def test_every_accepted_transfer_syntax_is_stored_byte_for_byte(node, syntax, sop_class):
    dataset = make_ct(transfer_syntax=syntax, sop_class=sop_class)
    encoded = encode_data_set(dataset)
    response = send_raw(node.port, encoded, sop_class=sop_class, transfer_syntax=syntax)
    assert response.status == StoreStatus.SUCCESS
    (path,) = node.stored()
    assert data_set_bytes(path) == encoded
    assert dcmread(path).file_meta.TransferSyntaxUID == syntax
    assert dcmread(path).file_meta.MediaStorageSOPClassUID == sop_class


def test_verification_is_answered(node):
    ae = AE()
    ae.add_requested_context(Verification)
    assoc = ae.associate("127.0.0.1", node.port, ae_title="CSPINE")
    assert assoc.send_c_echo().Status == 0x0000
    assoc.release()


@pytest.mark.peer
def test_echoscu_is_answered(node):
    done = subprocess.run(
        [require("echoscu"), "-aec", "CSPINE", "127.0.0.1", str(node.port)],
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.peer
@pytest.mark.parametrize("syntax", [*NATIVE_SYNTAXES, STORAGE_SYNTAXES[4]], ids=str)
def test_storescu_with_its_nagle_delay_stores_a_series(node, tmp_path, syntax):
    files = [write_ct(make_ct(n, rows=64, columns=64, transfer_syntax=syntax), tmp_path / f"{n}.dcm") for n in range(9)]
    options = {ImplicitVRLittleEndian: ["-xi"], ExplicitVRLittleEndian: ["-xe"]}.get(syntax, ["-xs"])
    started = time.monotonic()
    done = storescu(files, f"CSPINE@127.0.0.1:{node.port}", options)
    assert done.returncode == 0, done.stdout
    assert time.monotonic() - started < 30
    assert {hashlib.sha256(data_set_bytes(path)).digest() for path in node.stored()} == {
        hashlib.sha256(encode_data_set(dcmread(path), syntax)).digest() for path in files
    }


def test_other_classes_are_refused_by_name_and_the_rest_is_accepted(node, caplog):
    caplog.set_level(logging.INFO)
    ae = AE()
    for abstract_syntax in (UltrasoundImageStorage, MRImageStorage, CTImageStorage):
        ae.add_requested_context(abstract_syntax)
    assoc = ae.associate("127.0.0.1", node.port, ae_title="CSPINE")
    assert [context.abstract_syntax for context in assoc.accepted_contexts] == [CTImageStorage]
    assert {context.result for context in assoc.rejected_contexts} == {3}
    assoc.release()
    assert "refused MR Image Storage, Ultrasound Image Storage" in caplog.text


def test_deflated_syntaxes_are_refused_by_name(node, caplog):
    caplog.set_level(logging.INFO)
    ae = AE()
    ae.add_requested_context(CTImageStorage, DeflatedExplicitVRLittleEndian)
    assoc = ae.associate("127.0.0.1", node.port, ae_title="CSPINE")
    assert assoc.accepted_contexts == []
    assert "refused CT Image Storage (transfer syntaxes)" in caplog.text


def without(keyword):
    dataset = make_ct()
    del dataset[keyword]
    return encode_data_set(dataset)


def changed(**values):
    dataset = make_ct()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return encode_data_set(dataset)


def replaced(old: bytes, new: bytes):
    encoded = encode_data_set(make_ct())
    assert encoded.count(old) == 1
    return encoded.replace(old, new)


def with_sop_uid(value: bytes):
    """Return a data set whose SOP Instance UID is exactly ``value`` (padded to an even length)."""
    encoded = encode_data_set(make_ct())
    uid = make_ct().SOPInstanceUID.encode()
    uid += b"\0" * (len(uid) % 2)
    value += b"\0" * (len(value) % 2)
    header = b"\x08\x00\x18\x00UI"
    old, new = header + len(uid).to_bytes(2, "little") + uid, header + len(value).to_bytes(2, "little") + value
    assert encoded.count(old) == 1
    return encoded.replace(old, new)


def good():
    return encode_data_set(make_ct())


AFTER_STUDY = STUDY_UID.encode() + b"\0 \0\x0e"  # the Study Instance UID and the tag that follows it
US_ROWS, UL_ROWS = b"\x28\0\x10\0US\x02\0\x10\0", b"\x28\0\x10\0UL\x04\0\x10\0\0\0"

BAD_DATA_SETS = {
    "nothing": (b"", 0xC000, "UID is missing"),
    "random bytes": (bytes(range(1, 250)) * 9, 0xC000, "VR"),
    "zeros": (bytes(4096), 0xC000, "Command"),
    "half of it": (good()[: len(good()) // 2], 0xC000, "truncated"),
    "last byte missing": (good()[:-1], 0xC000, "truncated"),
    "one byte too many": (good() + b"\0", 0xC000, "truncated"),
    "cut in the header": (good()[:100], 0xC000, "truncated"),
    "no Pixel Data": (without("PixelData"), 0xC000, "Pixel Data is missing"),
    "no Rows": (without("Rows"), 0xC000, "Rows"),
    "more Rows than pixels": (changed(Rows=17), 0xC000, "as long as"),
    "more frames than pixels": (changed(NumberOfFrames=2), 0xC000, "as long as"),
    "a thousand million frames": (changed(NumberOfFrames=1_000_000_000), 0xC000, "as long as"),
    "no frames": (changed(NumberOfFrames=0), 0xC000, "Number of Frames"),
    "no SOP Class UID": (without("SOPClassUID"), 0xC000, "SOP Class UID is missing"),
    "MR class in the data set": (changed(SOPClassUID=MRImageStorage), 0xA900, "SOP Class UID"),
    "another instance": (changed(SOPInstanceUID="1.2.3"), 0xA900, "SOP Instance UID"),
    "no Study Instance UID": (without("StudyInstanceUID"), 0xC000, "Study Instance UID is missing"),
    "no Series Instance UID": (without("SeriesInstanceUID"), 0xC000, "Series Instance UID is missing"),
    "path in the UID": (with_sop_uid(b"../../../etc/cron.d/x"), 0xC000, "malformed"),
    "65 characters": (with_sop_uid(b"1." + b"2" * 63), 0xC000, "malformed"),
    "empty UID": (with_sop_uid(b""), 0xC000, "missing"),
    "two UIDs": (with_sop_uid(b"1.2\\1.3"), 0xC000, "malformed"),
    "NUL inside the UID": (with_sop_uid(b"1.2\x00.3"), 0xC000, "malformed"),
    "newline at the end": (with_sop_uid(b"1.2.3\n"), 0xC000, "malformed"),
    "dots only": (with_sop_uid(b".."), 0xC000, "malformed"),
    "path in the study UID": (replaced(AFTER_STUDY, b"/" + AFTER_STUDY[1:]), 0xC000, "malformed"),
    "length beyond the end": (replaced(b"\x08\x00\x60\x00CS\x02\x00", b"\x08\x00\x60\x00CS\xff\xff"), 0xC000, ""),
    "unknown VR": (replaced(b"\x08\x00\x60\x00CS", b"\x08\x00\x60\x00XX"), 0xC000, "VR"),
    "UL-typed Rows": (replaced(US_ROWS, UL_ROWS), 0xC000, "16 bit"),
    "SOP Instance UID again at the end": (good() + b"\x08\x00\x18\x00UI\x04\x001.2\x00", 0xC000, "follow"),
    "SOP Class UID twice": (b"\x08\0\x16\0UI\x04\x001.2\0" + good(), 0xC000, "twice"),
    "implicit VR in an explicit context": (encode_data_set(make_ct(), ImplicitVRLittleEndian), 0xC000, ""),
    "encapsulated in a native context": (encode_data_set(make_ct(transfer_syntax=STORAGE_SYNTAXES[4])), 0xC000, "form"),
    "a DICOM file as data set": (bytes(128) + b"DICM" + good(), 0xC000, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_DATA_SETS)
def test_a_bad_data_set_gets_its_status_and_leaves_nothing(node, name):
    data_set, status, words = BAD_DATA_SETS[name]
    started = time.monotonic()
    response = send_raw(node.port, data_set)
    assert time.monotonic() - started < 10
    assert (response.status, words in response.comment) == (status, True), response
    assert len(response.comment) <= 64
    assert node.stored() == node.incoming() == node.receipts.recorded == []
    assert_next_good_one_is_stored(node)


@pytest.mark.parametrize(
    "uid",
    [
        b"../../../../tmp/evil",
        b"1." + b"2" * 63,
        b"1." * 500 + b"1",
        b"",
        None,
        b"1.2\\1.3",
        b"1.2\x003",
        b"1.2\n",
        b"..",
    ],
)
def test_a_bad_uid_in_the_command_gets_a_status_and_the_association_goes_on(node, uid, tmp_path):
    with raw_association(node.port) as association:
        response = association.store(store_command(uid), good())
        assert response.status == StoreStatus.CANNOT_UNDERSTAND
        assert "SOP Instance UID" in response.comment
        assert node.stored() == node.incoming() == []
        response = association.store(store_command(make_ct().SOPInstanceUID.encode(), message_id=2), good())
        assert response.status == StoreStatus.SUCCESS
        association.release()
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]


def test_a_uid_with_leading_zeros_which_real_senders_use_is_stored_and_echoed(node):
    dataset = make_ct()
    dataset.add_new("SOPInstanceUID", "LO", "1.2.003.4")
    data_set = encode_data_set(dataset).replace(b"\x08\0\x18\0LO", b"\x08\0\x18\0UI")
    response = send_raw(node.port, data_set, b"1.2.003.4\0")
    assert (response.status, response.sop_instance_uid) == (StoreStatus.SUCCESS, "1.2.003.4")


def test_a_peer_that_takes_small_pdus_gets_the_response_in_fragments(node):
    with raw_association(node.port, max_pdu=50) as association:
        association.connection.sendall(pdu(P_DATA, pdv(1, 3, store_command(make_ct().SOPInstanceUID.encode()))))
        association.connection.sendall(pdu(P_DATA, pdv(1, 2, good())))
        controls, command = [], b""
        while controls[-1:] != [3]:
            kind, body = association.read_pdu()
            assert (kind, len(body) <= 50) == (P_DATA, True)
            controls.append(body[5])
            command += body[6:]
        assert controls[:-1] == [1] * (len(controls) - 1)
        assert len(controls) > 2
        assert b"\x00\x09\x02\x00\x00\x00\x00\x00" in command


def test_another_class_in_the_command_than_in_the_context_is_a_mismatch(node):
    command = store_command(make_ct().SOPInstanceUID.encode(), MRImageStorage.encode())
    with raw_association(node.port) as association:
        assert association.store(command, good()).status == StoreStatus.DATA_SET_MISMATCH
    assert node.stored() == []


def test_a_transfer_cut_in_the_middle_leaves_nothing(node):
    for keep in (1, 5000, 20000):
        with raw_association(node.port) as association:
            command = store_command(make_ct().SOPInstanceUID.encode())
            stream = pdu(P_DATA, pdv(1, 3, command)) + b"".join(pdu(P_DATA, pdv(1, 0, good())) for _ in range(30))
            association.connection.sendall(stream[: len(stream) - keep])
    wait_until(lambda: node.scp.active_associations == 0, 10, "the end of the cut associations")
    assert node.incoming() == node.stored() == node.receipts.recorded == []
    assert_next_good_one_is_stored(node)


def test_resending_the_same_bytes_is_idempotent(node):
    dataset = make_ct(5)
    assert send_with_pynetdicom(node.port, dataset) + send_with_pynetdicom(node.port, dataset) == [0x0000, 0x0000]
    assert len(node.stored()) == 1
    first, second = node.receipts.recorded
    assert (first.path, first.sha256) == (second.path, second.sha256)


def test_the_same_instance_with_other_bytes_is_another_file(node):
    dataset = make_ct(5)
    send_with_pynetdicom(node.port, dataset)
    dataset.PixelData = bytes(len(dataset.PixelData))
    assert send_with_pynetdicom(node.port, dataset) == [0x0000]
    first, second = node.receipts.recorded
    assert first.header.sop_instance_uid == second.header.sop_instance_uid
    assert first.path != second.path
    assert first.sha256 != second.sha256
    assert len(node.stored()) == 2


@pytest.mark.parametrize("failure", [RuntimeError("database gone"), OSError(5, "EIO"), SystemExit(1)], ids=repr)
def test_a_failing_record_is_out_of_resources_and_the_sender_may_try_again(node, failure, caplog):
    node.receipts.failure = failure
    with raw_association(node.port) as association:
        command = store_command(make_ct().SOPInstanceUID.encode())
        assert association.store(command, good()).status == StoreStatus.OUT_OF_RESOURCES
        node.receipts.failure = None
        assert association.store(command, good()).status == StoreStatus.SUCCESS
    assert type(failure).__name__ in caplog.text
    assert "gone" not in caplog.text


def test_too_little_free_space_is_out_of_resources(tmp_path):
    spool = Spool(tmp_path / "spool", min_free_bytes=1 << 60)
    with listening(tmp_path, spool) as node:
        assert send_raw(node.port, good()).status == StoreStatus.OUT_OF_RESOURCES
        assert node.stored() == node.incoming() == []


def test_an_instance_above_the_largest_size_is_refused(tmp_path):
    with listening(tmp_path, Spool(tmp_path / "spool", min_free_bytes=0, max_instance_bytes=1000)) as node:
        data_set = encode_data_set(make_ct(rows=64, columns=64))
        assert send_raw(node.port, data_set).status == StoreStatus.CANNOT_UNDERSTAND
        assert node.stored() == node.incoming() == []


def test_too_little_space_for_new_associations_rejects_them_for_the_time_being(tmp_path):
    with listening(tmp_path, min_free_bytes=1 << 60) as node:
        ae = AE()
        ae.add_requested_context(Verification)
        assoc = ae.associate("127.0.0.1", node.port, ae_title="CSPINE")
        answer = assoc.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 1)


def test_a_spool_that_is_gone_rejects_associations_and_instances(tmp_path):
    with listening(tmp_path) as node, raw_association(node.port) as association:
        shutil.rmtree(node.spool.root)
        response = association.store(store_command(make_ct().SOPInstanceUID.encode()), good())
        assert response.status == StoreStatus.OUT_OF_RESOURCES
        entity = AE()
        entity.add_requested_context(Verification)
        answer = entity.associate("127.0.0.1", node.port, ae_title="CSPINE").acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_out_of_resources_and_goes_away(tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], check=False, capture_output=True
    ).returncode:
        pytest.skip("this container may not mount file systems")
    try:
        with listening(tmp_path, Spool(mount / "spool", min_free_bytes=0)) as node:
            ballast = mount / "ballast"
            ballast.write_bytes(bytes(700_000))
            large = make_ct(1, rows=512, columns=512)
            assert send_with_pynetdicom(node.port, large, make_ct(2)) == [0xA700, 0x0000]
            assert node.incoming() == []
            assert len(node.stored()) == 1
            ballast.unlink()
            assert send_with_pynetdicom(node.port, large) == [0x0000]
    finally:
        subprocess.run(["umount", mount], check=True)


def test_a_large_instance_does_not_cost_its_size_in_memory(tmp_path):
    """A child process receives 96 MiB; its peak memory may grow by a few MiB only."""
    program = """
import resource, sys
from pathlib import Path
from tests.dicom_node.listening import listening
with listening(Path(sys.argv[1])) as node:
    print(node.port, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
    sys.stdin.readline()
    print(len(node.stored()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        port, before = map(int, child.stdout.readline().split())
        large = encode_data_set(make_ct(rows=6144, columns=8192))
        assert send_raw(port, large).status == StoreStatus.SUCCESS
        stored, after = map(int, child.communicate("\n", timeout=60)[0].split())
    assert len(large) > 96 << 20
    assert stored == 1
    assert after - before < 32 * 1024, f"peak memory grew by {after - before} KiB"


def test_a_wrong_called_ae_title_is_rejected_for_good(node):
    ae = AE()
    ae.add_requested_context(Verification)
    answer = ae.associate("127.0.0.1", node.port, ae_title="OTHER").acceptor.primitive
    assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 7)


def test_only_listed_calling_ae_titles_are_let_in(tmp_path):
    with listening(tmp_path, calling_ae_titles=frozenset({AETitle("PACS")})) as node:
        for title, expected in (("PACS", None), ("PIRATE", (1, 1, 3))):
            ae = AE(ae_title=title)
            ae.add_requested_context(Verification)
            assoc = ae.associate("127.0.0.1", node.port, ae_title="CSPINE")
            answer = assoc.acceptor.primitive
            assert assoc.is_established is (expected is None)
            if expected is not None:
                assert (answer.result, answer.result_source, answer.diagnostic) == expected
            else:
                assoc.release()


def test_associations_beyond_the_maximum_are_rejected_and_a_released_place_is_free(tmp_path):
    with listening(tmp_path, max_associations=2) as node:
        ae = AE()
        ae.add_requested_context(Verification)
        first, second = (ae.associate("127.0.0.1", node.port, ae_title="CSPINE") for _ in range(2))
        answer = ae.associate("127.0.0.1", node.port, ae_title="CSPINE").acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
        first.release()
        wait_until(lambda: node.scp.active_associations == 1, 5, "the released place")
        third = ae.associate("127.0.0.1", node.port, ae_title="CSPINE")
        assert third.is_established
        third.release()
        second.release()


def test_concurrent_associations_store_everything(node):
    series = [[make_ct(100 * sender + n, rows=128, columns=128) for n in range(12)] for sender in range(6)]
    results = []
    threads = [threading.Thread(target=lambda s=s: results.extend(send_with_pynetdicom(node.port, *s))) for s in series]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0x0000] * 72
    assert len(node.stored()) == len({instance.path for instance in node.receipts.recorded}) == 72
    expected = {hashlib.sha256(encode_data_set(dataset)).hexdigest() for senders in series for dataset in senders}
    assert {instance.sha256 for instance in node.receipts.recorded} == expected
    assert len({instance.association_id for instance in node.receipts.recorded}) == 6


def test_shutdown_lets_a_running_association_finish(tmp_path):
    with listening(tmp_path) as node, raw_association(node.port) as association:
        port = node.port
        stopper = threading.Thread(target=node.scp.shutdown, args=(20.0,))
        stopper.start()
        time.sleep(0.5)
        command = store_command(make_ct().SOPInstanceUID.encode())
        assert association.store(command, good()).status == StoreStatus.SUCCESS
        with pytest.raises(ConnectionRefusedError), raw_association(port):
            pass
        association.release()
        stopper.join(5)
        assert not stopper.is_alive()


def test_shutdown_aborts_what_does_not_finish(tmp_path):
    with listening(tmp_path) as node, raw_association(node.port) as association:
        started = time.monotonic()
        node.scp.shutdown(0.3)
        assert time.monotonic() - started < 5
        assert association.read_pdu()[0] == ABORT


def test_starting_deletes_what_a_killed_process_left(tmp_path):
    incoming = tmp_path / "spool" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / "deadbeef.part").write_bytes(b"half an instance")
    with listening(tmp_path) as node:
        assert node.incoming() == []


def test_a_port_that_is_taken_is_an_error_at_start(node, tmp_path):
    with pytest.raises(OSError, match="in use"), listening(tmp_path / "other", port=node.port):
        pass


def test_nothing_of_the_patient_is_logged_or_answered(node, caplog):
    caplog.set_level(logging.DEBUG)
    send_with_pynetdicom(node.port, make_ct(1))
    caplog.clear()  # of what the sending side of this same process logged
    responses = [send_raw(node.port, data_set) for data_set, _, _ in BAD_DATA_SETS.values()]
    text = caplog.text + "".join(response.comment for response in responses)
    for canary in ("CANARY", "ZQXJ", STUDY_UID, make_ct().SOPInstanceUID, "etc/cron"):
        assert canary not in text


@pytest.mark.peer
def test_the_order_of_system_calls_makes_success_durable(tmp_path):
    """The file is synced, renamed, and its folder synced before the record is made and the response sent."""
    strace = require("strace")
    program = """
import os, sys
from pathlib import Path
from tests.dicom_node.listening import listening
with listening(Path(sys.argv[1])) as node:
    node.receipts.recorded = type("Marker", (list,), {"append": lambda self, _: os.access("RECORDED", os.F_OK)})()
    print(node.port, flush=True)
    sys.stdin.readline()
"""
    trace = tmp_path / "trace"
    calls = "fsync,fdatasync,rename,renameat,renameat2,sendto,access,faccessat,faccessat2"
    command = [strace, "-f", "-y", "-e", f"trace={calls}", "-o", trace, sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        port = int(child.stdout.readline())
        for number in range(3):
            data_set = encode_data_set(make_ct(number))
            assert send_raw(port, data_set, make_ct(number).SOPInstanceUID.encode()).status == StoreStatus.SUCCESS
        child.communicate("\n", timeout=60)
    lines = [line for line in trace.read_text().splitlines() if "resumed" not in line]
    steps = [
        (r"fsync\(\d+<.*/incoming/\w+\.part>", "file"),
        (r"rename\w*\(.*\.part.*\.dcm", "rename"),
        (r"fsync\(\d+<.*/store/\w\w/\w{64}>", "folder"),
        (r"access\w*\(.*RECORDED", "record"),
        (r"sendto\(\d+<[^\"]*\"\\4\\0", "response"),
    ]
    seen = [name for line in lines for pattern, name in steps if re.search(pattern, line)]
    assert seen == ["file", "rename", "folder", "record", "response"] * 3


def test_files_and_folders_are_private(node):
    send_with_pynetdicom(node.port, make_ct())
    for path in node.spool.root.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
