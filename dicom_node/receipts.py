"""What the storage SCP hands over for each stored instance, and the port that takes it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from dicom_node.header import InstanceHeader


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """One instance whose bytes are durable in the spool.

    ``sha256`` (64 hexadecimal digits) and ``size_bytes`` are those of the encoded data set, without file meta
    information; ``path`` is relative to the spool's root, with slashes; ``received_at`` is UTC. ``association_id`` is
    unique to the association (never the peer's words). The same instance sent again with the same bytes has the same
    ``sha256`` and ``path``; with other bytes both differ.
    """

    header: InstanceHeader
    transfer_syntax_uid: str
    sha256: str
    size_bytes: int
    path: str
    calling_ae_title: str
    peer_address: str
    association_id: str
    received_at: datetime


class ReceiptPort(Protocol):
    """Where the storage SCP reports to. Both methods are called from association threads, several at once.

    Implementations inherit from this class, which makes ``has_use_for`` and ``association_closed`` optional.
    """

    def has_use_for(self, header: InstanceHeader) -> bool:  # noqa: ARG002  (for those who look at it)
        """Return whether the instance is to be kept and recorded; raising answers the sender with 0xA700.

        An instance of no use is answered with success all the same, and kept nowhere (see ``StorageSCP``).
        """
        return True

    def record(self, instance: ReceivedInstance) -> None:
        """Make the instance's record durable before returning; idempotent. Raising answers the sender with 0xA700."""
        ...

    def association_closed(self, association_id: str) -> None:
        """Take notice that no more instances come from this association (released, aborted or cut); must not raise."""
