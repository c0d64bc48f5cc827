"""Storage commitment: our requests and the reports to them on the same, a later and a new association, or on none."""

import socket
import threading
import time

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from dicom_node.association import NoContextAccepted, ScuTimeouts
from dicom_node.commitment import CommitmentOptions, InstanceRef, collect_reports, request_commitment
from dicom_node.commitment_report import (
    MAX_REPORT_BYTES,
    STORAGE_COMMITMENT,
    STORAGE_COMMITMENT_INSTANCE,
    CommitmentReport,
    ReportStatus,
)
from dicom_node.errors import PeerError
from dicom_node.node import Peer
from dicom_node.scu import echo
from tests.dicom_node.commitment_scp import CommitmentScp, Way, commitment_scp
from tests.dicom_node.listening import Reports, listening
from tests.dicom_node.raw_scu import RawAssociation, association_request, element, item
from tests.dicom_node.scripted_scp import scp_of
from tests.dicom_node.tiny_ct import encode_data_set
from tests.peers import wait_until

INSTANCES = [InstanceRef(CTImageStorage, f"1.2.3.{number}") for number in range(1, 4)]
UIDS = frozenset(ref.sop_instance_uid for ref in INSTANCES)
TRANSACTION = "1.2.826.0.1.3680043.8.498.77"
SHORT = ScuTimeouts(connection=2.0, acse=2.0, dimse=2.0)
OPTIONS = CommitmentOptions(timeouts=SHORT, report_seconds=3.0)


@pytest.fixture
def node(tmp_path):
    with listening(tmp_path, reports=Reports()) as listener:
        yield listener


def report_of(*, transaction=TRANSACTION, committed=UIDS, failed=()):
    report = Dataset()
    if transaction:
        report.add_new("TransactionUID", "LO", transaction)
        report["TransactionUID"].VR = "UI"
    report.ReferencedSOPSequence = [reference(uid) for uid in sorted(committed)]
    report.FailedSOPSequence = [reference(uid) for uid in failed]
    for entry in report.FailedSOPSequence:
        entry.FailureReason = 0x0112
    return report


def reference(uid):
    entry = Dataset()
    entry.ReferencedSOPClassUID = CTImageStorage
    entry.add_new("ReferencedSOPInstanceUID", "LO", uid)
    entry["ReferencedSOPInstanceUID"].VR = "UI"
    return entry


# our requests


def test_a_report_on_the_same_association_is_returned_after_the_port_took_it():
    reports = Reports()
    with commitment_scp(Way.SAME_ASSOCIATION) as pacs:
        options = CommitmentOptions(SHORT, report_seconds=3.0, reports=reports)
        report = request_commitment(INSTANCES, pacs.peer, "CSPINE", TRANSACTION, options)
        wait_until(lambda: pacs.statuses == [0x0000], 5, "our answer to the report")
    assert report == CommitmentReport(TRANSACTION, UIDS, {})
    assert [(received.report, received.ae_title) for received in reports.recorded] == [(report, "PACS")]
    (request,) = pacs.requests
    assert request.TransactionUID == TRANSACTION
    asked = [(ref.ReferencedSOPClassUID, ref.ReferencedSOPInstanceUID) for ref in request.ReferencedSOPSequence]
    assert asked == [(ref.sop_class_uid, ref.sop_instance_uid) for ref in INSTANCES]


def test_a_report_of_failures_names_the_reason_of_each():
    with commitment_scp(Way.SAME_ASSOCIATION, missing=frozenset({"1.2.3.2"})) as pacs:
        report = request_commitment(INSTANCES, pacs.peer, "CSPINE", TRANSACTION, OPTIONS)
    assert (report.committed, dict(report.failed)) == (UIDS - {"1.2.3.2"}, {"1.2.3.2": 0x0112})


def test_a_peer_that_never_reports_costs_the_time_to_wait_and_no_more():
    with commitment_scp(Way.NEVER) as pacs:
        options = CommitmentOptions(SHORT, report_seconds=0.3)
        started = time.monotonic()
        assert request_commitment(INSTANCES, pacs.peer, "CSPINE", TRANSACTION, options) is None
        assert time.monotonic() - started < 5
        assert len(pacs.requests) == 1


def test_a_late_report_comes_to_the_listener_on_a_new_association(node):
    to = Peer("CSPINE", "127.0.0.1", node.port)
    with commitment_scp(Way.NEW_ASSOCIATION, report_to=to, delay_seconds=0.3, missing=frozenset({"1.2.3.3"})) as pacs:
        options = CommitmentOptions(SHORT, report_seconds=0.0)
        assert request_commitment(INSTANCES, pacs.peer, "CSPINE", TRANSACTION, options) is None
        wait_until(lambda: pacs.statuses == [0x0000], 10, "our answer to the report")
    (received,) = node.reports.recorded
    assert received.ae_title == "PACS"
    assert received.received_at.utcoffset().total_seconds() == 0
    assert received.report == CommitmentReport(TRANSACTION, UIDS - {"1.2.3.3"}, {"1.2.3.3": 0x0112})


def test_a_report_that_the_peer_kept_comes_on_a_later_association():
    reports = Reports()
    options = CommitmentOptions(SHORT, report_seconds=1.5, reports=reports)
    with commitment_scp(Way.LATER_ASSOCIATION) as pacs:
        assert request_commitment(INSTANCES, pacs.peer, "CSPINE", TRANSACTION, options) is None
        assert [report.transaction_uid for report in collect_reports(pacs.peer, "CSPINE", options)] == [TRANSACTION]
        # a later request is a later association, too: what it brings goes to the port
        assert request_commitment(INSTANCES, pacs.peer, "CSPINE", "1.2.99.1", options) is None
        assert request_commitment(INSTANCES, pacs.peer, "CSPINE", "1.2.99.2", options) is None
        wait_until(lambda: pacs.statuses == [0x0000, 0x0000], 5, "our answers to the reports")
    assert [received.report.transaction_uid for received in reports.recorded] == [TRANSACTION, "1.2.99.1"]


@pytest.mark.parametrize(("status", "permanent"), [(0x0110, False), (0x0213, False), (0x0118, True), (0x0131, True)])
def test_a_refused_request_is_permanent_or_transient(status, permanent):
    with commitment_scp(Way.NEVER, action_status=status) as pacs, pytest.raises(PeerError) as caught:
        request_commitment(INSTANCES, pacs.peer, "CSPINE", TRANSACTION, OPTIONS)
    assert (caught.value.code, caught.value.permanent) == ("PEER_REFUSED", permanent)
    assert f"0x{status:04X}" in str(caught.value)


def test_a_peer_without_storage_commitment_says_so():
    entity = AE(ae_title="PACS")
    entity.add_supported_context(Verification)
    with scp_of(entity) as peer, pytest.raises(NoContextAccepted) as caught:
        request_commitment(INSTANCES, peer, "CSPINE", TRANSACTION)
    assert (caught.value.code, caught.value.permanent) == ("NO_PRESENTATION_CONTEXT", True)


def test_a_port_that_fails_answers_the_report_with_processing_failure():
    options = CommitmentOptions(SHORT, report_seconds=3.0, reports=Reports(failure=OSError("database gone")))
    with commitment_scp(Way.SAME_ASSOCIATION) as pacs:
        with pytest.raises(OSError, match="gone"):
            request_commitment(INSTANCES, pacs.peer, "CSPINE", TRANSACTION, options)
        wait_until(lambda: len(pacs.statuses) == 1, 5, "our answer to the report")
    assert pacs.statuses[0] in {0x0110, None}  # the association is aborted right after the answer


def test_a_report_that_cannot_be_read_is_refused_and_not_returned(monkeypatch):
    monkeypatch.setattr(CommitmentScp, "report_of", lambda _, __: report_of(committed=["not.a.uid"]))
    options = CommitmentOptions(SHORT, report_seconds=1.0)
    with commitment_scp(Way.SAME_ASSOCIATION) as pacs:
        assert request_commitment(INSTANCES, pacs.peer, "CSPINE", TRANSACTION, options) is None
        wait_until(lambda: pacs.statuses == [ReportStatus.INVALID_ARGUMENT_VALUE], 5, "our answer to the report")


def test_a_request_of_nothing_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="at least one"):
        request_commitment([], Peer("PACS", "127.0.0.1", 104), "CSPINE", TRANSACTION)


# reports to our listener


def send_reports(port, *reports, event_type=None, instance=STORAGE_COMMITMENT_INSTANCE):
    """Send reports on one association in the SCP role and return the statuses."""
    entity = AE(ae_title="PACS")
    association = entity.associate(
        "127.0.0.1",
        port,
        [build_context(StorageCommitmentPushModel)],
        ae_title="CSPINE",
        ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
    )
    assert association.is_established
    statuses = []
    for report in reports:
        kind = event_type or (2 if report.FailedSOPSequence else 1)
        status, _ = association.send_n_event_report(report, kind, StorageCommitmentPushModel, instance)
        statuses.append(status.get("Status"))
    association.release()
    return statuses


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=str)
def test_the_scp_role_is_negotiated(node, syntax):
    entity = AE(ae_title="PACS")
    association = entity.associate(
        "127.0.0.1",
        node.port,
        [build_context(StorageCommitmentPushModel, syntax)],
        ae_title="CSPINE",
        ext_neg=[build_role(StorageCommitmentPushModel, scu_role=True, scp_role=True)],
    )
    (context,) = association.accepted_contexts
    assert (context.as_scu, context.as_scp, context.transfer_syntax) == (False, True, [syntax])
    status, _ = association.send_n_event_report(report_of(), 1, StorageCommitmentPushModel, STORAGE_COMMITMENT_INSTANCE)
    assert status.Status == 0x0000
    association.release()
    assert node.reports.recorded[0].report.committed == UIDS


@pytest.mark.parametrize("role", [None, build_role(StorageCommitmentPushModel, scu_role=True)])
def test_nobody_is_taken_for_an_scp_who_does_not_propose_to_be_one(node, role):
    entity = AE(ae_title="PACS")
    contexts = [build_context(StorageCommitmentPushModel), build_context(Verification)]
    extended = [role] if role else []
    association = entity.associate("127.0.0.1", node.port, contexts, ae_title="CSPINE", ext_neg=extended)
    assert [context.abstract_syntax for context in association.accepted_contexts] == [Verification]
    assert association.rejected_contexts[0].result == 0x03
    association.release()


def test_without_a_port_storage_commitment_is_not_negotiated(tmp_path):
    with listening(tmp_path) as node:
        entity = AE(ae_title="PACS")
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        contexts = [build_context(StorageCommitmentPushModel), build_context(Verification)]
        association = entity.associate("127.0.0.1", node.port, contexts, ae_title="CSPINE", ext_neg=[role])
        assert [context.abstract_syntax for context in association.accepted_contexts] == [Verification]
        association.release()


def test_success_is_answered_only_after_the_port_returned(node, monkeypatch):
    entered, leave, answered = threading.Event(), threading.Event(), []

    def record_report(received):
        entered.set()
        leave.wait(10)

    monkeypatch.setattr(node.reports, "record_report", record_report)
    sender = threading.Thread(target=lambda: answered.extend(send_reports(node.port, report_of())))
    sender.start()
    assert entered.wait(10)
    time.sleep(0.2)
    assert answered == []
    leave.set()
    sender.join(10)
    assert answered == [0x0000]


@pytest.mark.parametrize("failure", [RuntimeError("database gone"), SystemExit(1)], ids=repr)
def test_a_failing_port_is_a_processing_failure_and_the_peer_may_try_again(node, failure, caplog):
    node.reports.failure = failure
    assert send_reports(node.port, report_of()) == [0x0110]
    node.reports.failure = None
    assert send_reports(node.port, report_of()) == [0x0000]
    assert type(failure).__name__ in caplog.text
    assert "gone" not in caplog.text


def test_an_instance_that_is_committed_and_failed_at_once_is_failed(node):
    send_reports(node.port, report_of(failed=["1.2.3.1"]))
    (received,) = node.reports.recorded
    assert (received.report.committed, dict(received.report.failed)) == (UIDS - {"1.2.3.1"}, {"1.2.3.1": 0x0112})


@pytest.mark.parametrize(
    "report",
    [
        report_of(transaction=None),
        report_of(transaction="../../etc/passwd"),
        report_of(transaction="1.2\\1.3"),
        report_of(committed=[]),
        report_of(committed=["CANARY^PATIENT"]),
        report_of(committed=[""]),
    ],
    ids=["no transaction", "no UID", "two transactions", "nothing", "name", "empty"],
)
def test_a_report_without_valid_uids_is_an_invalid_argument(node, report, caplog):
    assert send_reports(node.port, report, report_of()) == [ReportStatus.INVALID_ARGUMENT_VALUE, 0x0000]
    assert len(node.reports.recorded) == 1
    assert "CANARY" not in caplog.text


def test_another_instance_or_event_is_refused_by_its_status(node):
    assert send_reports(node.port, report_of(), instance="1.2.3") == [ReportStatus.NO_SUCH_SOP_INSTANCE]
    assert send_reports(node.port, report_of(), event_type=3) == [ReportStatus.NO_SUCH_EVENT_TYPE]
    assert node.reports.recorded == []


def raw_report(port, data_set, *, field=0x0100):
    """Send bytes as a report, or another command, on a bare socket; return the response, None when aborted."""
    uid = STORAGE_COMMITMENT.encode()
    role = item(0x54, len(uid).to_bytes(2, "big") + uid + b"\0\1")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        contexts = {1: (STORAGE_COMMITMENT, ExplicitVRLittleEndian)}
        connection.sendall(association_request(b"CSPINE", contexts, extra=role))
        association = RawAssociation(connection)
        assert association.read_pdu()[0] == 2
        body = element(0x0002, uid) + element(0x0100, field.to_bytes(2, "little")) + element(0x0110, b"\1\0")
        body += element(0x0800, b"\0\0") + element(0x1000, STORAGE_COMMITMENT_INSTANCE.encode())
        body += element(0x1002, b"\1\0")
        command = element(0x0000, len(body).to_bytes(4, "little")) + body
        return association.store(command, data_set)


@pytest.mark.parametrize(
    "data_set", [b"", b"garbage", bytes(1000), encode_data_set(report_of(), ExplicitVRLittleEndian)[:-5]]
)
def test_bytes_that_are_no_report_are_an_invalid_argument(node, data_set):
    assert raw_report(node.port, data_set).status == ReportStatus.INVALID_ARGUMENT_VALUE
    assert node.reports.recorded == []


def test_a_report_above_the_bound_is_refused_without_being_kept(node):
    assert raw_report(node.port, bytes(MAX_REPORT_BYTES + 1)).status == ReportStatus.RESOURCE_LIMITATION
    assert send_reports(node.port, report_of()) == [0x0000]


def test_a_commitment_request_to_us_ends_the_association(node):
    assert raw_report(node.port, encode_data_set(report_of(), ExplicitVRLittleEndian), field=0x0130) is None
    assert send_reports(node.port, report_of()) == [0x0000]


# hostile answers to our requests


def test_a_request_that_was_not_asked_for_ends_the_association():
    """Only an association that proposed storage commitment may be sent a report."""
    ended = []

    def on_echo(event):
        context = build_context(StorageCommitmentPushModel)
        context.context_id, context.result, context._as_scp = 1, 0, True
        event.assoc._accepted_cx[1] = context
        threading.Thread(target=send, args=(event.assoc,)).start()
        time.sleep(0.5)
        return 0x0000

    def send(association):
        association.send_n_event_report(report_of(), 1, StorageCommitmentPushModel, STORAGE_COMMITMENT_INSTANCE)

    entity = AE(ae_title="PACS")
    entity.add_supported_context(Verification)
    handlers = [(evt.EVT_C_ECHO, on_echo), (evt.EVT_ABORTED, lambda _: ended.append("aborted"))]
    with scp_of(entity, *handlers) as peer:
        with pytest.raises(PeerError) as caught:
            echo(peer, "CSPINE", SHORT)
        assert caught.value.code == "PEER_SILENT"
        wait_until(lambda: ended == ["aborted"], 5, "the abort")
