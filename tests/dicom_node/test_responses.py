"""Peers that answer our requests with what is no answer: each ends the association at once and costs no memory."""

import contextlib
import struct
import time
from contextlib import contextmanager

import pytest
from pynetdicom import AE, build_context, evt
from pynetdicom.pdu_primitives import A_ABORT, A_RELEASE, P_DATA
from pynetdicom.sop_class import Verification

from dicom_node import responses
from dicom_node.association import associated
from dicom_node.command import MAX_COMMAND_BYTES
from dicom_node.errors import PeerError
from dicom_node.responses import MAX_ANSWER_BYTES
from dicom_node.scu import ScuTimeouts, echo
from tests.dicom_node.raw_scu import element
from tests.dicom_node.scripted_scp import scp_of
from tests.peers import wait_until

PATIENT = ScuTimeouts(connection=2.0, acse=2.0, dimse=30.0)
COMMAND, LAST_COMMAND, DATA, LAST_DATA = b"\1", b"\3", b"\0", b"\2"


def response(field=0x8030, *, data_set=False, status=b"\0\0"):
    body = element(0x0002, Verification.encode() + b"\0") + element(0x0100, struct.pack("<H", field))
    body += element(0x0120, b"\1\0") + element(0x0800, b"\0\0" if data_set else b"\1\1") + element(0x0900, status)
    return element(0x0000, struct.pack("<I", len(body))) + body


@contextmanager
def answering(*fragments):
    """Run an SCP that answers an echo with these fragments, each (context id, control header and data)."""
    aborted = []

    def on_echo(event):
        for fragment in fragments:
            primitive = P_DATA()
            primitive.presentation_data_value_list = [list(fragment)]
            event.assoc.dul.send_pdu(primitive)
        wait_until(lambda: aborted or event.assoc.is_released, 10, "the end of the association")
        return 0x0000

    entity = AE(ae_title="PACS")
    entity.add_supported_context(Verification)

    def on_pdu(event):
        if type(event.pdu).__name__ == "A_ABORT_RQ":
            aborted.append(event.pdu)

    with scp_of(entity, (evt.EVT_C_ECHO, on_echo), (evt.EVT_PDU_RECV, on_pdu)) as peer:
        yield peer, aborted


@pytest.mark.parametrize(
    "fragments",
    [
        [(1, LAST_COMMAND + b"CANARY, no command")],
        [(1, LAST_COMMAND)],
        [(1, LAST_COMMAND + response(0x8021))],
        [(1, LAST_COMMAND + response(0x0030))],
        [(1, LAST_COMMAND + response(0x0100))],
        [(1, LAST_COMMAND + response(status=b""))],
        [(1, LAST_DATA + b"CANARY")],
        [(1, COMMAND + bytes(16000))] * (MAX_COMMAND_BYTES // 16000 + 1),
        [(1, LAST_COMMAND + response(data_set=True)), *[(1, DATA + bytes(16000))] * (MAX_ANSWER_BYTES // 16000 + 1)],
        [(1, LAST_COMMAND + response(data_set=True)), (1, LAST_COMMAND + response())],
        [(2, LAST_COMMAND + response())],
        [(1, COMMAND + response()), (3, LAST_COMMAND + response())],
    ],
    ids=[
        "garbage",
        "empty",
        "another response",
        "a request",
        "a report",
        "no status",
        "data alone",
        "long command",
        "long data set",
        "command in data",
        "even context",
        "two contexts",
    ],
)
def test_what_is_no_answer_ends_the_association_at_once(fragments, caplog):
    started = time.monotonic()
    with answering(*fragments) as (peer, aborted):
        with pytest.raises(PeerError) as caught:
            echo(peer, "CSPINE", PATIENT)
        assert (caught.value.code, caught.value.permanent) == ("PEER_SILENT", False)
        assert time.monotonic() - started < 15
        wait_until(lambda: aborted, 5, "the abort")
    assert "CANARY" not in caplog.text + str(caught.value)


@pytest.mark.parametrize("late", [A_ABORT, A_RELEASE, P_DATA], ids=lambda kind: kind.__name__)
def test_what_our_side_asks_of_an_association_that_is_over_is_dropped(late):
    """Warnings are errors: a thread that dies of the late primitive fails the test."""
    with answering() as (peer, aborted):
        with associated(peer, "CSPINE", [build_context(Verification)], PATIENT) as association:
            dul = association.dul
            dul.event_queue.put("Evt19")  # as after what is no answer
            for _ in range(3):
                dul.send_pdu(late())
            wait_until(lambda: dul.state_machine.current_state != "Sta6", 5, "the violation")
            association.abort()
        wait_until(lambda: not dul.is_alive(), 5, "the end of the thread")
        assert dul.socket.socket is None or dul.socket.socket.fileno() == -1
        assert aborted


def test_responses_that_nobody_takes_end_the_association(monkeypatch):
    monkeypatch.setattr(responses, "MAX_WAITING_RESPONSES", 3)
    with answering(*[(1, LAST_COMMAND + response())] * 10) as (peer, aborted):
        with contextlib.suppress(PeerError):  # the abort may come before the first is taken
            echo(peer, "CSPINE", PATIENT)
        wait_until(lambda: aborted, 5, "the abort")
