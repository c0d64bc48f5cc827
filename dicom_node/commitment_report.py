"""Reports of storage commitment: N-EVENT-REPORT of the Push Model SOP Class, read within bounds (PS3.4 J.3.3).

A report may come on the association that asked for it, on a later one, or on a new one that the peer opens; it is the
same request each time, and it is answered with success only when the port has made it durable.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from io import BytesIO
from types import MappingProxyType
from typing import Protocol, cast

from pydicom.uid import UID
from pynetdicom.dimse_primitives import N_EVENT_REPORT

from dicom_node.command import Command
from dicom_node.encoded_data_set import EncodedDataSet, encoded_data_set
from dicom_node.errors import DicomNodeError, InvalidInstance
from dicom_node.fragments import Message
from dicom_node.header import is_uid

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model SOP Class."""
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
"""Its well-known SOP Instance, which every request and report names."""
MAX_REPORT_BYTES = 256 * 1024
"""A reference takes about 120 bytes, and a transaction of ours holds a few dozen."""

_EVENT_TYPES = frozenset({1, 2})  # all committed; failures exist
_PROCESSING_FAILURE = 0x0110


class ReportStatus(IntEnum):
    """The N-EVENT-REPORT response statuses of this node (PS3.7 10.1.1.1.8)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_SOP_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    INVALID_ARGUMENT_VALUE = 0x0115
    RESOURCE_LIMITATION = 0x0213


class RefusedReport(DicomNodeError):
    """A report that cannot be taken; ``status`` is the answer to it."""

    code = "REPORT_REFUSED"

    def __init__(self, status: ReportStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """What a peer says about the instances of a transaction.

    ``failed`` gives the Failure Reason (0008,1197) by SOP Instance UID, for example 0x0112 where the peer has no such
    instance. An instance that is in neither was not spoken of.
    """

    transaction_uid: str
    committed: frozenset[str]
    failed: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ReceivedReport:
    """A report and who sent it: ``ae_title`` is the peer's as it calls itself, which authenticates nobody."""

    report: CommitmentReport
    ae_title: str
    received_at: datetime


class CommitmentPort(Protocol):
    """Where reports of storage commitment go; called from association threads, several at once."""

    def record_report(self, received: ReceivedReport) -> None:
        """Make the report durable before returning; idempotent. Raising answers the peer with 0x0110.

        A report of a transaction that nobody asked ``ae_title`` for is passed over, not an error: repeating it is
        useless.
        """
        ...


class ReportData(BytesIO):
    """The data set of a report, in memory within its bound; ``refusal`` is why it is not taken whatever it holds."""

    def __init__(self, refusal: ReportStatus | None = None) -> None:
        super().__init__()
        self.refusal = refusal

    def add(self, data: memoryview) -> None:
        """Append bytes, or drop everything where they are too many."""
        if self.tell() + len(data) > MAX_REPORT_BYTES:
            self.refusal = self.refusal or ReportStatus.RESOURCE_LIMITATION
        if self.refusal is None:
            self.write(data)


def event_report(command: Command) -> Message:
    """Return the request that this command opens; its Event Information is a ``ReportData``, still empty."""
    data = ReportData(_refusal(command))
    request = N_EVENT_REPORT()
    request.MessageID = command.message_id
    request.AffectedSOPClassUID = UID(STORAGE_COMMITMENT)
    request.AffectedSOPInstanceUID = UID(STORAGE_COMMITMENT_INSTANCE)
    request.EventTypeID = command.event_type_id
    request.EventInformation = data
    return Message(request, data)


def take_report(
    request: N_EVENT_REPORT, transfer_syntax: str, ae_title: str, port: CommitmentPort | None
) -> CommitmentReport:
    """Read a report and hand it to ``port``; returns when it is durable there.

    Raises ``RefusedReport``, or what the port raises.
    """
    report = read_report(request, transfer_syntax)
    if port is not None:
        port.record_report(ReceivedReport(report, ae_title, datetime.now(UTC)))
    return report


def read_report(request: N_EVENT_REPORT, transfer_syntax: str) -> CommitmentReport:
    """Return what the report says; raises ``RefusedReport``."""
    data = cast("ReportData", request.EventInformation)
    if data.refusal is not None:
        raise RefusedReport(data.refusal, f"The report is refused with 0x{data.refusal:04X}")
    try:
        data_set = encoded_data_set(memoryview(data.getvalue()), transfer_syntax)
    except InvalidInstance as error:
        raise _invalid(str(error)) from error
    failed = {_uid(item, "ReferencedSOPInstanceUID"): _reason(item) for item in data_set.items("FailedSOPSequence")}
    committed = {_uid(item, "ReferencedSOPInstanceUID") for item in data_set.items("ReferencedSOPSequence")}
    if not failed and not committed:
        raise _invalid("The report speaks of no instance")
    return CommitmentReport(
        transaction_uid=_uid(data_set, "TransactionUID"),
        committed=frozenset(committed - set(failed)),
        failed=MappingProxyType(failed),
    )


def _refusal(command: Command) -> ReportStatus | None:
    if command.sop_instance_uid != STORAGE_COMMITMENT_INSTANCE:
        return ReportStatus.NO_SUCH_SOP_INSTANCE
    return None if command.event_type_id in _EVENT_TYPES else ReportStatus.NO_SUCH_EVENT_TYPE


def _uid(data_set: EncodedDataSet, keyword: str) -> str:
    values = data_set.values(keyword) or ()
    text = str(values[0]).strip(" \0") if len(values) == 1 else ""
    if not is_uid(text):
        raise _invalid(f"{keyword} is missing or malformed")
    return text


def _reason(item: EncodedDataSet) -> int:
    reason = item.integer("FailureReason")
    return _PROCESSING_FAILURE if reason is None else reason


def _invalid(message: str) -> RefusedReport:
    return RefusedReport(ReportStatus.INVALID_ARGUMENT_VALUE, message)
