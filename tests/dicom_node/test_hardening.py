"""Hostile peers on bare sockets: none of them keeps others out, holds a thread, or costs memory."""

import contextlib
import os
import resource
import socket
import struct
import threading
import time

import pytest

from tests.dicom_node.listening import listening, quick_limits
from tests.dicom_node.raw_scu import (
    ABORT,
    P_DATA,
    VERIFICATION,
    RawAssociation,
    association_request,
    element,
    pdu,
    pdv,
    raw_association,
    store_command,
)
from tests.dicom_node.tiny_ct import encode_data_set, make_ct
from tests.peers import wait_until


@pytest.fixture
def node(tmp_path):
    limits = quick_limits(pdu_seconds=2.0)
    with listening(tmp_path, limits=limits, acse_seconds=2.0, idle_seconds=3.0) as listener:
        yield listener


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def assert_served(port):
    with raw_association(port) as association:
        uid = make_ct(1).SOPInstanceUID.encode()
        assert association.store(store_command(uid), encode_data_set(make_ct(1))).status == 0x0000
        association.release()


def drip(connection, data):
    for byte in data:
        connection.send(bytes([byte]))
        time.sleep(0.2)


def flood(connection):
    for _ in range(200):
        connection.sendall(bytes(1 << 20))


def seconds_until_closed(connection):
    started = time.monotonic()
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(4096):
            pass
    return time.monotonic() - started


def test_a_silent_connection_is_closed(node):
    with connect(node.port) as connection:
        assert seconds_until_closed(connection) < 10


def test_half_an_association_request_is_closed_at_the_deadline(node):
    with connect(node.port) as connection:
        connection.sendall(association_request(b"CSPINE", {1: (VERIFICATION, "1.2.840.10008.1.2")})[:50])
        assert seconds_until_closed(connection) < 10


def test_a_request_that_drips_in_is_closed_at_the_deadline(node):
    with connect(node.port) as connection:
        request = association_request(b"CSPINE", {1: (VERIFICATION, "1.2.840.10008.1.2")})
        started = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            drip(connection, request)
        assert time.monotonic() - started < 20


def test_a_stall_inside_a_data_pdu_is_closed_and_leaves_nothing(node):
    with raw_association(node.port) as association:
        association.connection.sendall(pdu(P_DATA, pdv(1, 3, store_command(b"1.2.3"))))
        association.connection.sendall(pdu(P_DATA, pdv(1, 0, bytes(9000)))[:5000])
        assert seconds_until_closed(association.connection) < 10
    wait_until(lambda: node.incoming() == [], 5, "the removal of the incoming file")


def test_a_stall_between_pdus_ends_with_an_abort(node):
    with raw_association(node.port) as association:
        association.connection.sendall(pdu(P_DATA, pdv(1, 3, store_command(b"1.2.3"))))
        assert association.read_pdu()[0] == ABORT
    wait_until(lambda: node.incoming() == [], 5, "the removal of the incoming file")
    assert_served(node.port)


@pytest.mark.parametrize("established", [False, True], ids=["before negotiation", "after negotiation"])
def test_a_pdu_that_claims_four_gibibytes_is_cut_off_at_once(node, established):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with connect(node.port) as connection:
        if established:
            connection.sendall(association_request(b"CSPINE", {1: (VERIFICATION, "1.2.840.10008.1.2")}))
            assert RawAssociation(connection).read_pdu()[0] == 2
        connection.sendall(struct.pack(">BBI", P_DATA if established else 1, 0, 0xFFFFFFF0))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            flood(connection)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024
    assert_served(node.port)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(200),
        bytes(1000),
        os.urandom(3000),
        pdu(1, b""),
        pdu(1, os.urandom(300)),
        pdu(1, bytes(68)),
        pdu(P_DATA, pdv(1, 3, b"")),
        pdu(5, bytes(4)),
        pdu(2, bytes(100)),
        pdu(9, bytes(4)),
        association_request(b"CSPINE", {}),
        association_request(b"CSPINE", {1: ("not a uid/../x", "1.2.840.10008.1.2")}),
        association_request(b"\xff\xfe", {1: (VERIFICATION, "1.2.840.10008.1.2")}),
        association_request(b"CSPINE", {1: (VERIFICATION, "1.2.840.10008.1.2")}, calling=b"\\\\"),
        association_request(b"CSPINE", {1: (VERIFICATION, "1.2.840.10008.1.2")}, extra=b"\x51\0\xff\xff"),
    ],
    ids=range(16),
)
def test_garbage_ends_its_connection_and_nothing_else(node, garbage):
    with connect(node.port) as connection:
        connection.sendall(garbage)
        with contextlib.suppress(OSError):  # closed by then
            connection.shutdown(socket.SHUT_WR)
        assert seconds_until_closed(connection) < 10
    assert_served(node.port)


UID = make_ct().SOPInstanceUID.encode()
VIOLATIONS = {
    "data before a command": pdu(P_DATA, pdv(1, 2, b"data")),
    "a command inside a data set": pdu(
        P_DATA, pdv(1, 3, store_command(UID)) + pdv(1, 0, b"ab") + pdv(1, 3, store_command(UID))
    ),
    "a context that was not negotiated": pdu(P_DATA, pdv(77, 3, store_command(UID))),
    "data in another context": pdu(P_DATA, pdv(1, 3, store_command(UID)) + pdv(3, 2, b"data")),
    "a store in the verification context": pdu(P_DATA, pdv(3, 3, store_command(UID))),
    "a command without end": pdu(P_DATA, pdv(1, 1, bytes(10_000))) * 3,
    "a command of zeros": pdu(P_DATA, pdv(1, 3, bytes(100))),
    "an empty command": pdu(P_DATA, pdv(1, 3, b"")),
    "no message id": pdu(P_DATA, pdv(1, 3, element(0x0100, b"\x01\0") + element(0x0800, b"\0\0"))),
    "a find request": pdu(
        P_DATA, pdv(1, 3, element(0x0100, b"\x20\0") + element(0x0110, b"\x01\0") + element(0x0800, b"\0\0"))
    ),
    "an unknown command": pdu(
        P_DATA, pdv(1, 3, element(0x0100, b"\x99\x99") + element(0x0110, b"\x01\0") + element(0x0800, b"\x01\x01"))
    ),
    "a value longer than its PDU": pdu(P_DATA, struct.pack(">IBB", 5000, 1, 3) + b"abc"),
    "a value without a header": pdu(P_DATA, struct.pack(">IB", 1, 1)),
    "a value of length zero": pdu(P_DATA, struct.pack(">I", 0)),
    "a second association request": association_request(b"CSPINE", {1: (VERIFICATION, "1.2.840.10008.1.2")}),
}  # fmt: skip


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_of_the_protocol_is_aborted_and_leaves_nothing(node, name):
    with raw_association(node.port) as association:
        association.connection.sendall(VIOLATIONS[name])
        assert association.read_pdu()[0] == ABORT
    wait_until(lambda: node.scp.active_associations == 0, 5, "the end of the association")
    assert node.incoming() == node.stored() == []
    assert_served(node.port)


def test_requests_without_waiting_for_responses_are_aborted_before_they_fill_the_queue(node):
    record = node.receipts.record
    node.receipts.record = lambda instance: (time.sleep(0.5), record(instance))
    one = pdu(P_DATA, pdv(1, 3, store_command(UID))) + pdu(P_DATA, pdv(1, 2, encode_data_set(make_ct())))
    with raw_association(node.port) as association:
        association.connection.sendall(one * 50)
        kinds = []
        while kinds[-1:] not in ([ABORT], [0]):
            kinds.append(association.read_pdu()[0])
    wait_until(lambda: node.scp.active_associations == 0, 10, "the end of the association")
    assert len(node.receipts.recorded) < 10
    assert node.incoming() == []


def test_silent_sockets_of_one_address_do_not_keep_others_out(tmp_path):
    limits = quick_limits(max_sockets=12, max_sockets_per_address=4)
    with listening(tmp_path, limits=limits, acse_seconds=2.0) as node:
        threads = threading.active_count()
        silent = [connect(node.port) for _ in range(40)]
        try:
            time.sleep(0.3)
            assert threading.active_count() - threads <= 8  # two threads a connection
            # another address of loopback stands for another host
            with socket.create_connection(("127.0.0.1", node.port), 5, source_address=("127.0.0.2", 0)) as other:
                other.sendall(association_request(b"CSPINE", {1: (VERIFICATION, "1.2.840.10008.1.2")}))
                assert RawAssociation(other).read_pdu()[0] == 2
        finally:
            for connection in silent:
                connection.close()
        wait_until(lambda: threading.active_count() == threads, 10, "the end of the threads")
        assert_served(node.port)


def test_many_cut_associations_leave_no_thread_descriptor_or_file(node):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count of descriptors, not of paths

    assert_served(node.port)
    wait_until(lambda: node.scp.active_associations == 0, 5, "the first association's end")
    threads, before = threading.active_count(), descriptors()
    for number in range(60):
        with raw_association(node.port) as association:
            association.connection.sendall(pdu(P_DATA, pdv(1, 3, store_command(b"1.2.3")) + pdv(1, 0, bytes(5000))))
            if number % 3 == 0:
                association.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif number % 3 == 1:
                association.connection.sendall(pdu(ABORT, bytes(4)))
    wait_until(lambda: threading.active_count() <= threads, 10, "the end of the threads")
    assert descriptors() <= before
    assert node.incoming() == []
    assert_served(node.port)


def test_small_segments_are_sent_at_once(node):
    with raw_association(node.port):
        server = node.scp._server
        assert [sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for sock in server._connections] == [1]


def test_an_association_that_lasts_too_long_is_closed(tmp_path):
    with listening(tmp_path, limits=quick_limits(association_seconds=0.5)) as node:
        with raw_association(node.port) as association:
            time.sleep(0.7)
            association.connection.sendall(pdu(P_DATA, pdv(1, 3, store_command(UID))))
            assert association.read_pdu()[0] == 0
        assert_served(node.port)
