"""A storage SCP that commits itself to what it is asked for, in each of the ways that the Standard allows (PS3.4 J)."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

from pydicom import Dataset
from pynetdicom import AE, StoragePresentationContexts, build_context, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from dicom_node.commitment_report import STORAGE_COMMITMENT_INSTANCE
from dicom_node.node import Peer
from tests.dicom_node.scripted_scp import scp_of


class Way(Enum):
    """Where the report goes."""

    SAME_ASSOCIATION = auto()
    LATER_ASSOCIATION = auto()
    """The next one that the other side opens with storage commitment."""
    NEW_ASSOCIATION = auto()
    NEVER = auto()


@dataclass
class CommitmentScp:
    """The running SCP: it has everything but ``missing``; ``statuses`` are the answers to its reports."""

    way: Way
    missing: frozenset[str] = frozenset()
    report_to: Peer | None = None
    delay_seconds: float = 0.1
    action_status: int = 0x0000
    requests: list[Dataset] = field(default_factory=list)
    statuses: list[int | None] = field(default_factory=list)
    peer: Peer | None = None
    kept: list[Dataset] = field(default_factory=list)

    def on_action(self, event: evt.Event) -> tuple[int, None]:
        information = event.action_information
        if self.action_status == 0x0000:
            self.requests.append(information)
            report = self.report_of(information)
            if self.way is Way.LATER_ASSOCIATION:
                self.kept.append(report)
            elif self.way is not Way.NEVER:
                threading.Thread(target=self._report, args=(event.assoc, report)).start()
        return self.action_status, None

    def on_established(self, event: evt.Event) -> None:
        kept, self.kept = self.kept, []
        for report in kept:
            threading.Thread(target=self._send, args=(event.assoc, report)).start()

    def report_of(self, information: Dataset) -> Dataset:
        """The Event Information that answers to an Action Information."""
        report = Dataset()
        report.TransactionUID = information.TransactionUID
        report.ReferencedSOPSequence, failed = [], []
        for asked in information.ReferencedSOPSequence:
            item = Dataset()
            item.ReferencedSOPClassUID = asked.ReferencedSOPClassUID
            item.ReferencedSOPInstanceUID = asked.ReferencedSOPInstanceUID
            if asked.ReferencedSOPInstanceUID in self.missing:
                item.FailureReason = 0x0112
                failed.append(item)
            else:
                report.ReferencedSOPSequence.append(item)
        if failed:
            report.FailedSOPSequence = failed
        return report

    def _report(self, association, report: Dataset) -> None:
        if self.way is Way.SAME_ASSOCIATION:
            self._send(association, report)
            return
        time.sleep(self.delay_seconds)
        self.report_anew(report)

    def report_anew(self, report: Dataset) -> None:
        """Open an association in the SCP role and report on it."""
        entity = AE(ae_title="PACS")
        association = entity.associate(
            self.report_to.host,
            self.report_to.port,
            [build_context(StorageCommitmentPushModel)],
            ae_title=self.report_to.ae_title,
            ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
        )
        if association.is_established:
            self._send(association, report)
            association.release()

    def _send(self, association, report: Dataset) -> None:
        time.sleep(self.delay_seconds)  # after the response to the request
        event_type = 2 if "FailedSOPSequence" in report else 1
        status, _ = association.send_n_event_report(
            report, event_type, StorageCommitmentPushModel, STORAGE_COMMITMENT_INSTANCE
        )
        self.statuses.append(status.get("Status"))


@contextmanager
def commitment_scp(way: Way, **options) -> Iterator[CommitmentScp]:
    """Run a storage and storage commitment SCP titled PACS on a free port."""
    scp = CommitmentScp(way, **options)
    entity = AE(ae_title="PACS")
    entity.supported_contexts = StoragePresentationContexts
    entity.add_supported_context(StorageCommitmentPushModel)
    entity.add_supported_context(Verification)
    handlers = [
        (evt.EVT_C_STORE, lambda _: 0x0000),
        (evt.EVT_N_ACTION, scp.on_action),
        (evt.EVT_ESTABLISHED, scp.on_established),
    ]
    with scp_of(entity, *handlers) as scp.peer:
        yield scp
