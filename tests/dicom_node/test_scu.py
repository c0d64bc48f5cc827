"""The SCU against a scripted pynetdicom SCP, dcmtk's storescp, our own SCP, and peers that misbehave."""

import hashlib
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from pydicom import dcmread
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
    SegmentationStorage,
)
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import Verification

from dicom_node.association import associated
from dicom_node.errors import PeerError
from dicom_node.node import Peer
from dicom_node.scu import ScuTimeouts, echo, send
from tests.dicom_node.listening import listening
from tests.dicom_node.scripted_scp import scp_of
from tests.dicom_node.tiny_ct import encode_data_set, make_ct, write_ct

SHORT = ScuTimeouts(connection=2.0, acse=2.0, dimse=2.0)


@contextmanager
def scripted_scp(on_store=lambda _: 0x0000, syntaxes=(ExplicitVRLittleEndian,), **handlers):
    """Run a pynetdicom SCP on a free port that answers as it is told; yields its address."""
    entity = AE(ae_title="PACS")
    entity.add_supported_context(CTImageStorage, list(syntaxes))
    entity.add_supported_context(SegmentationStorage, list(syntaxes))
    entity.add_supported_context(Verification)
    bound = [(evt.EVT_C_STORE, on_store), *((getattr(evt, name), handler) for name, handler in handlers.items())]
    with scp_of(entity, *bound) as peer:
        yield peer


@pytest.fixture
def file(tmp_path):
    return write_ct(make_ct(), tmp_path / "ct.dcm")


@pytest.mark.parametrize(
    ("status", "accepted", "permanent"),
    [
        (0x0000, True, True),
        (0xB000, True, True),
        (0xB006, True, True),
        (0xB007, True, True),
        (0x0111, True, True),
        (0xA700, False, False),
        (0xA701, False, False),
        (0x0110, False, False),
        (0x0213, False, False),
        (0xA900, False, True),
        (0xC000, False, True),
        (0xC211, False, True),
        (0x0117, False, True),
        (0x0122, False, True),
        (0x0124, False, True),
        (0x0210, False, True),
        (0x0211, False, True),
        (0x0212, False, True),
    ],
    ids=lambda value: f"0x{value:04X}" if type(value) is int else None,
)
def test_every_status_means_what_the_standard_says(file, status, accepted, permanent):
    with scripted_scp(lambda _: status) as peer:
        (outcome,) = send([file], peer, "CSPINE", SHORT)
    assert (outcome.status, outcome.accepted, outcome.permanent) == (status, accepted, permanent)
    assert f"0x{status:04X}" in outcome.comment
    assert outcome.path == file
    assert outcome.sop_instance_uid == make_ct().SOPInstanceUID


def test_files_are_sent_as_they_are_stored_over_one_association_in_order(tmp_path):
    received, associations = [], set()

    def on_store(event):
        received.append((event.context.transfer_syntax, event.request.DataSet.getvalue()))
        associations.add(event.assoc)
        return 0x0000

    syntaxes = [ImplicitVRLittleEndian, JPEGLosslessSV1, ExplicitVRLittleEndian, RLELossless, JPEGLosslessSV1]
    datasets = [make_ct(n, transfer_syntax=syntax) for n, syntax in enumerate(syntaxes)]
    files = [write_ct(dataset, tmp_path / f"{n}.dcm") for n, dataset in enumerate(datasets)]
    with scripted_scp(on_store, syntaxes) as peer:
        outcomes = send(files, peer, "CSPINE")
    assert [outcome.path for outcome in outcomes] == files
    assert all(outcome.accepted for outcome in outcomes)
    assert len(associations) == 1
    assert received == [(dataset.file_meta.TransferSyntaxUID, encode_data_set(dataset)) for dataset in datasets]


def test_exactly_the_pairs_of_the_files_are_proposed(tmp_path):
    proposed = []

    def on_requested(event):
        contexts = event.assoc.requestor.primitive.presentation_context_definition_list
        proposed.extend((context.abstract_syntax, tuple(context.transfer_syntax)) for context in contexts)

    files = [
        write_ct(make_ct(1, transfer_syntax=RLELossless), tmp_path / "1"),
        write_ct(make_ct(2), tmp_path / "2"),
        write_ct(make_ct(3), tmp_path / "3"),
        write_ct(make_ct(4, sop_class=EnhancedCTImageStorage), tmp_path / "4"),
    ]
    with scripted_scp(EVT_REQUESTED=on_requested) as peer:
        send(files, peer, "CSPINE")
    assert sorted(proposed) == [
        (CTImageStorage, (ExplicitVRLittleEndian,)),
        (CTImageStorage, (RLELossless,)),
        (EnhancedCTImageStorage, (ExplicitVRLittleEndian,)),
    ]


def test_a_syntax_that_the_peer_does_not_accept_is_permanent_and_the_others_are_sent(tmp_path):
    files = [write_ct(make_ct(1, transfer_syntax=RLELossless), tmp_path / "1"), write_ct(make_ct(2), tmp_path / "2")]
    with scripted_scp() as peer:
        refused, sent = send(files, peer, "CSPINE")
    assert (refused.status, refused.accepted, refused.permanent) == (None, False, True)
    assert sent.accepted


def test_a_peer_that_accepts_no_context_at_all_is_permanent(tmp_path):
    file = write_ct(make_ct(1, transfer_syntax=RLELossless), tmp_path / "1")
    with scripted_scp() as peer:
        (outcome,) = send([file], peer, "CSPINE")
    assert (outcome.status, outcome.accepted, outcome.permanent) == (None, False, True)
    assert outcome.sop_instance_uid == make_ct(1).SOPInstanceUID


def test_files_that_are_no_dicom_files_are_named_and_the_others_are_sent(tmp_path, file):
    other, empty = tmp_path / "notes.txt", tmp_path / "empty"
    other.write_text("no DICOM file")
    empty.touch()
    with scripted_scp() as peer:
        outcomes = send([other, file, empty, tmp_path / "missing"], peer, "CSPINE")
        assert send([other], peer, "CSPINE")[0].permanent
        assert send([], peer, "CSPINE") == ()
    assert [outcome.accepted for outcome in outcomes] == [False, True, False, False]
    assert [outcome.permanent for outcome in outcomes] == [True, True, True, True]
    assert [outcome.sop_instance_uid != "" for outcome in outcomes] == [False, True, False, False]


def test_a_peer_that_does_not_answer_is_transient_and_so_is_the_rest(tmp_path):
    files = [write_ct(make_ct(n), tmp_path / f"{n}") for n in range(3)]
    release = threading.Event()

    def on_store(event):
        if event.request.MessageID and len(done) == 1:
            release.wait(10)
        done.append(1)
        return 0x0000

    done: list[int] = []
    with scripted_scp(on_store) as peer:
        started = time.monotonic()
        outcomes = send(files, peer, "CSPINE", SHORT)
        release.set()
    assert time.monotonic() - started < 20
    assert [(outcome.accepted, outcome.permanent) for outcome in outcomes] == [
        (True, True),
        (False, False),
        (False, False),
    ]


def test_a_peer_that_aborts_in_the_middle_leaves_transient_outcomes(tmp_path):
    files = [write_ct(make_ct(n), tmp_path / f"{n}") for n in range(3)]

    def on_store(event):
        if event.request.AffectedSOPInstanceUID == make_ct(1).SOPInstanceUID:
            event.assoc.abort()
        return 0x0000

    with scripted_scp(on_store) as peer:
        outcomes = send(files, peer, "CSPINE", SHORT)
    assert [(outcome.accepted, outcome.permanent) for outcome in outcomes] == [
        (True, True),
        (False, False),
        (False, False),
    ]


@pytest.mark.parametrize(
    ("reject", "permanent"), [((1, 1, 3), True), ((1, 1, 7), True), ((2, 3, 2), False), ((2, 2, 1), False)]
)
def test_a_rejected_association_is_permanent_or_transient_as_the_peer_says(file, reject, permanent):
    def on_requested(event):
        event.assoc.acse.send_reject(*reject)
        event.assoc.kill()

    with scripted_scp(EVT_REQUESTED=on_requested) as peer, pytest.raises(PeerError) as caught:
        send([file], peer, "CSPINE", SHORT)
    assert (caught.value.code, caught.value.permanent) == ("PEER_REJECTED", permanent)


def test_a_refused_connection_is_transient(file):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(PeerError) as caught:
            send([file], Peer("PACS", "127.0.0.1", bound.getsockname()[1]), "CSPINE", SHORT)
    assert (caught.value.code, caught.value.permanent) == ("PEER_UNREACHABLE", False)


def test_an_unknown_host_is_transient():
    with pytest.raises(PeerError) as caught:
        echo(Peer("PACS", "no-such-host.invalid", 104), "CSPINE", SHORT)
    assert (caught.value.code, caught.value.permanent) == ("PEER_UNREACHABLE", False)


@pytest.mark.parametrize(
    "answer", [b"", b"\x02\x00\x00\x00\x00\xffhalf", b"\x02\x00\xff\xff\xff\xf0" + bytes(4096), b"HTTP/1.1 400"]
)
def test_a_peer_that_is_silent_slow_or_no_dicom_node_is_transient(answer):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted = []

        def serve():
            connection, _ = listener.accept()
            accepted.append(connection)
            connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        started = time.monotonic()
        with pytest.raises(PeerError) as caught:
            echo(Peer("PACS", "127.0.0.1", listener.getsockname()[1]), "CSPINE", SHORT)
        assert time.monotonic() - started < 20
        assert not caught.value.permanent
        thread.join()
        accepted[0].close()


def test_echo_succeeds_and_says_when_it_does_not():
    with scripted_scp() as peer:
        echo(peer, "CSPINE")
    with scripted_scp(EVT_C_ECHO=lambda _: 0x0122) as peer, pytest.raises(PeerError, match="0x0122") as caught:
        echo(peer, "CSPINE")
    assert caught.value.permanent


def test_small_segments_are_sent_at_once(tmp_path):
    contexts = [build_context(Verification)]
    with listening(tmp_path) as node:
        peer = Peer("CSPINE", "127.0.0.1", node.port)
        with associated(peer, "CSPINE", contexts, SHORT) as association:
            assert association.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_our_own_node_takes_a_series(tmp_path):
    files = [write_ct(make_ct(n), tmp_path / f"{n}") for n in range(20)]
    with listening(tmp_path) as node:
        outcomes = send(files, Peer("CSPINE", "127.0.0.1", node.port), "CSPINE")
        assert len(node.stored()) == 20
    assert all(outcome.accepted for outcome in outcomes)


@pytest.mark.peer
def test_storescp_receives_every_byte(tmp_path, storescp_peer):
    syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1]
    datasets = [make_ct(n, transfer_syntax=syntax, rows=300, columns=300) for n, syntax in enumerate(syntaxes * 3)]
    files = [write_ct(dataset, tmp_path / f"{n}") for n, dataset in enumerate(datasets)]
    peer = Peer.parse(storescp_peer.peer)
    echo(peer, "CSPINE")
    outcomes = send(files, peer, "CSPINE")
    # this storescp accepts one transfer syntax for a SOP class in each context, all of them
    assert [outcome.comment for outcome in outcomes] == ["Stored (0x0000)"] * 9
    received = {dcmread(path).SOPInstanceUID: dcmread(path) for path in storescp_peer.files()}
    assert set(received) == {dataset.SOPInstanceUID for dataset in datasets}
    for dataset in datasets:
        back = received[dataset.SOPInstanceUID]
        assert hashlib.sha256(back.PixelData).digest() == hashlib.sha256(dataset.PixelData).digest()
        assert back.file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID


def test_no_response_is_taken_away_by_the_associations_own_thread(tmp_path):
    """Pynetdicom's reactor may poll the queue of responses in the middle of a request when its thread is preempted."""
    file = write_ct(make_ct(), tmp_path / "one.dcm")
    with scripted_scp() as peer:
        contexts = [build_context(CTImageStorage, ExplicitVRLittleEndian)]
        with associated(peer, "SCU", contexts, SHORT) as association:
            over = threading.Event()

            def poll():
                while not over.is_set():
                    association.dimse.get_msg(block=False)

            thief = threading.Thread(target=poll)
            thief.start()
            try:
                statuses = [association.send_c_store(file).get("Status") for _ in range(20)]
            finally:
                over.set()
                thief.join()
    assert statuses == [0x0000] * 20


@pytest.mark.parametrize(
    ("deflate", "syntaxes", "sent"),
    [
        (True, [DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian], DeflatedExplicitVRLittleEndian),
        (True, [DeflatedExplicitVRLittleEndian], DeflatedExplicitVRLittleEndian),
        (True, [ExplicitVRLittleEndian], ExplicitVRLittleEndian),
        (False, [DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian], ExplicitVRLittleEndian),
    ],
)
def test_a_segmentation_is_deflated_where_that_is_asked_for_and_accepted(tmp_path, deflate, syntaxes, sent):
    received = []

    def on_store(event):
        received.append((event.context.transfer_syntax, event.dataset, len(event.request.DataSet.getvalue())))
        return 0x0000

    dataset = make_ct(1, rows=256, columns=256, sop_class=SegmentationStorage)
    file = write_ct(dataset, tmp_path / "seg.dcm")
    before = file.read_bytes()
    with scripted_scp(on_store, syntaxes) as peer:
        (outcome,) = send([file], peer, "CSPINE", deflate=deflate)
    assert (outcome.accepted, outcome.status) == (True, 0x0000)
    ((syntax, arrived, size),) = received
    assert syntax == sent
    assert arrived == dataset
    assert (size < len(before) / 4) is (sent == DeflatedExplicitVRLittleEndian)
    assert file.read_bytes() == before


def test_only_native_segmentations_are_proposed_deflated(tmp_path):
    proposed = []

    def on_requested(event):
        contexts = event.assoc.requestor.primitive.presentation_context_definition_list
        proposed.extend((context.abstract_syntax, tuple(context.transfer_syntax)) for context in contexts)

    files = [
        write_ct(make_ct(1), tmp_path / "1"),
        write_ct(make_ct(2, sop_class=SegmentationStorage, transfer_syntax=RLELossless), tmp_path / "2"),
        write_ct(make_ct(3, sop_class=SegmentationStorage), tmp_path / "3"),
    ]
    with scripted_scp(EVT_REQUESTED=on_requested) as peer:
        outcomes = send(files, peer, "CSPINE", deflate=True)
    assert sorted(proposed) == [
        (CTImageStorage, (ExplicitVRLittleEndian,)),
        (SegmentationStorage, (ExplicitVRLittleEndian,)),
        (SegmentationStorage, (DeflatedExplicitVRLittleEndian,)),
        (SegmentationStorage, (RLELossless,)),
    ]
    assert [outcome.accepted for outcome in outcomes] == [True, False, True]


def test_a_peer_that_does_not_answer_to_a_deflated_copy_is_transient(tmp_path):
    file = write_ct(make_ct(1, sop_class=SegmentationStorage), tmp_path / "seg.dcm")
    with scripted_scp(lambda _: time.sleep(4) or 0x0000, [DeflatedExplicitVRLittleEndian]) as peer:
        outcomes = send([file, file], peer, "CSPINE", SHORT, deflate=True)
    assert [(outcome.accepted, outcome.permanent, outcome.status) for outcome in outcomes] == [(False, False, None)] * 2


@pytest.mark.peer
def test_storescp_receives_a_deflated_copy(tmp_path, storescp_peer):
    dataset = make_ct(1, rows=200, columns=200, sop_class=SegmentationStorage)
    file = write_ct(dataset, tmp_path / "seg.dcm")
    (outcome,) = send([file], Peer.parse(storescp_peer.peer), "CSPINE", deflate=True)
    assert outcome.accepted
    (back,) = (dcmread(path) for path in storescp_peer.files())
    assert back.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    assert hashlib.sha256(back.PixelData).digest() == hashlib.sha256(dataset.PixelData).digest()
