"""A listening SCP for tests, and the in-memory adapters of its ports."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.commitment_report import CommitmentPort, ReceivedReport
from dicom_node.hardening import WireLimits
from dicom_node.header import InstanceHeader
from dicom_node.node import AETitle
from dicom_node.scp import ReceiptPort, ReceivedInstance, ScpConfig, StorageSCP
from dicom_node.spool import Spool


@dataclass
class Receipts(ReceiptPort):
    """Keeps what is reported; ``failure`` is raised instead. Instances in ``useless`` (their UIDs) are of no use."""

    recorded: list[ReceivedInstance] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    failure: BaseException | None = None
    useless: set[str] = field(default_factory=set)

    def has_use_for(self, header: InstanceHeader) -> bool:
        return header.sop_instance_uid not in self.useless

    def record(self, instance: ReceivedInstance) -> None:
        if self.failure is not None:
            raise self.failure
        self.recorded.append(instance)

    def association_closed(self, association_id: str) -> None:
        self.closed.append(association_id)


@dataclass
class Reports(CommitmentPort):
    """Keeps reports of storage commitment; ``failure`` is raised instead."""

    recorded: list[ReceivedReport] = field(default_factory=list)
    failure: BaseException | None = None

    def record_report(self, received: ReceivedReport) -> None:
        if self.failure is not None:
            raise self.failure
        self.recorded.append(received)


@dataclass(frozen=True)
class Listening:
    """A started SCP with its spool and what it reported."""

    scp: StorageSCP
    spool: Spool
    receipts: Receipts
    reports: Reports | None

    @property
    def port(self) -> int:
        return self.scp.port

    def stored(self) -> list[Path]:
        return [self.spool.root / path for path in self.spool.files()]

    def incoming(self) -> list[Path]:
        return list((self.spool.root / "incoming").iterdir())


def quick_limits(**changes) -> WireLimits:
    """Return limits with short waits."""
    return WireLimits(**{"pdu_seconds": 5.0, "max_sockets_per_address": 60} | changes)


@contextmanager
def listening(
    folder: Path, spool: Spool | None = None, reports: Reports | None = None, **config
) -> Iterator[Listening]:
    """Run an SCP titled CSPINE on a free port, its spool in ``folder``; ``config`` as of ``ScpConfig``."""
    spool = spool or Spool(folder / "spool", min_free_bytes=0)
    receipts = Receipts()
    settings = {"port": 0, "min_free_bytes": 0, "limits": quick_limits()} | config
    scp = StorageSCP(ScpConfig(AETitle("CSPINE"), **settings), spool, receipts, reports)
    scp.start()
    try:
        yield Listening(scp, spool, receipts, reports)
    finally:
        scp.shutdown(drain_seconds=1.0)
