"""Storage commitment as SCU of the Push Model SOP Class: asks a peer to keep what it was sent (PS3.4 J.3.2).

The answer is a report (N-EVENT-REPORT). It may come on the same association, on a later one that this node opens, or on
a new one that the peer opens, which the SCP takes; all of them go to one port.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO
from ssl import SSLContext
from typing import cast

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.dsutils import encode

from dicom_node.association import DEFAULT_TIMEOUTS, ScuTimeouts, accepted_context, associated, responses_of
from dicom_node.commitment_report import (
    STORAGE_COMMITMENT,
    STORAGE_COMMITMENT_INSTANCE,
    CommitmentPort,
    CommitmentReport,
    RefusedReport,
    ReportStatus,
    take_report,
)
from dicom_node.errors import PeerError
from dicom_node.node import Peer
from dicom_node.statuses import describe_status, verdict
from dicom_node.transfer_syntaxes import NATIVE_SYNTAXES

LOGGER = logging.getLogger(__name__)

_REQUEST_COMMITMENT = 1  # Action Type ID (PS3.4 J.3.2.1)
_MAX_REPORTS = 100  # that one association brings


@dataclass(frozen=True, slots=True)
class InstanceRef:
    """A SOP Instance and its class, as a request names it."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class CommitmentOptions:
    """How to ask: ``report_seconds`` is how long to wait for a report on the same association.

    ``reports`` takes every report that comes, before the peer is told so; without it a report is only returned.
    """

    timeouts: ScuTimeouts = DEFAULT_TIMEOUTS
    tls: SSLContext | None = None
    report_seconds: float = 1.0
    reports: CommitmentPort | None = None


DEFAULT_OPTIONS = CommitmentOptions()


def request_commitment(
    instances: Sequence[InstanceRef],
    peer: Peer,
    calling_ae_title: str,
    transaction_uid: str,
    options: CommitmentOptions = DEFAULT_OPTIONS,
) -> CommitmentReport | None:
    """Ask ``peer`` to commit itself to the instances; return its report if it came at once, else None.

    The transaction UID must be new and not to be guessed (random): whoever knows it can send a report. Reports of
    earlier transactions that come on this association go to the port. Raises ``PeerError`` when the request did not get
    through (``NoContextAccepted`` when the peer does not offer the service), and what the port raises.
    """
    if not instances:
        raise ValueError("a commitment request names at least one instance")
    with _commitment_association(peer, calling_ae_title, options) as association:
        _request(association, peer, _action_information(instances, transaction_uid))
        for report in _reports(association, peer, options):
            if report.transaction_uid == transaction_uid:
                return report
    return None


def collect_reports(
    peer: Peer, calling_ae_title: str, options: CommitmentOptions = DEFAULT_OPTIONS
) -> tuple[CommitmentReport, ...]:
    """Open an association for reports that ``peer`` kept back, and return those that came; raises ``PeerError``."""
    with _commitment_association(peer, calling_ae_title, options) as association:
        return tuple(_reports(association, peer, options))


def _commitment_association(
    peer: Peer, calling_ae_title: str, options: CommitmentOptions
) -> AbstractContextManager[Association]:
    contexts = [build_context(STORAGE_COMMITMENT, list(NATIVE_SYNTAXES))]
    return associated(peer, calling_ae_title, contexts, options.timeouts, options.tls)


def _action_information(instances: Sequence[InstanceRef], transaction_uid: str) -> Dataset:
    """The Action Information of the request (PS3.4 J.3.2.1.1)."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = []
    for uid, sop_class in {ref.sop_instance_uid: ref.sop_class_uid for ref in instances}.items():
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = uid
        information.ReferencedSOPSequence.append(item)
    return information


def _request(association: Association, peer: Peer, information: Dataset) -> None:
    """Send N-ACTION and wait for its response; raises ``PeerError`` unless the peer took the request."""
    context = accepted_context(association, STORAGE_COMMITMENT)
    syntax = context.transfer_syntax[0]
    encoded = encode(information, syntax.is_implicit_VR, is_little_endian=True)
    if encoded is None:
        raise ValueError("the commitment request cannot be encoded")
    request = N_ACTION()
    request.MessageID = 1
    request.RequestedSOPClassUID = UID(STORAGE_COMMITMENT)
    request.RequestedSOPInstanceUID = UID(STORAGE_COMMITMENT_INSTANCE)
    request.ActionTypeID = _REQUEST_COMMITMENT
    request.ActionInformation = BytesIO(encoded)
    responses = responses_of(association)
    responses.send_msg(request, cast("int", context.context_id))
    _, response = responses.get_msg(block=True)
    if response is None:
        raise PeerError(f"{peer} did not answer the commitment request", code="PEER_SILENT", permanent=False)
    if response.Status != 0x0000:
        _, permanent = verdict(response.Status)
        message = f"{peer} answered the commitment request: {describe_status(response.Status)}"
        raise PeerError(message, code="PEER_REFUSED", permanent=permanent)


def _reports(association: Association, peer: Peer, options: CommitmentOptions) -> Iterator[CommitmentReport]:
    """Take and answer the reports that come, each within ``report_seconds`` after the one before."""
    syntaxes = {context.context_id: context.transfer_syntax[0] for context in association.accepted_contexts}
    for _ in range(_MAX_REPORTS):
        found = responses_of(association).next_report(options.report_seconds)
        if found is None:
            return
        context_id, request = found
        if context_id not in syntaxes:
            association.abort()
            return
        status = ReportStatus.PROCESSING_FAILURE  # unless the port returns
        try:
            report = take_report(request, syntaxes[context_id], peer.ae_title, options.reports)
            status = ReportStatus.SUCCESS
        except RefusedReport as error:
            LOGGER.warning("report of %s refused: %s", peer, error)
            status = error.status
        finally:
            responses_of(association).send_msg(_answer(request, status), context_id)
        if status is ReportStatus.SUCCESS:
            yield report


def _answer(request: N_EVENT_REPORT, status: ReportStatus) -> N_EVENT_REPORT:
    response = N_EVENT_REPORT()
    response.MessageIDBeingRespondedTo = request.MessageID
    response.AffectedSOPClassUID = request.AffectedSOPClassUID
    response.AffectedSOPInstanceUID = request.AffectedSOPInstanceUID
    response.EventTypeID = request.EventTypeID
    response.Status = status
    return response
