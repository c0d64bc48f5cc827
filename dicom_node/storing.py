"""One received instance from its temporary file to file and record, whichever way it came (PS3.4 B.2, B.4)."""

from dataclasses import dataclass
from datetime import UTC, datetime

from dicom_node.errors import InstanceMismatch
from dicom_node.header import inspect
from dicom_node.incoming import IncomingFile
from dicom_node.receipts import ReceiptPort, ReceivedInstance
from dicom_node.spool import Spool, StoredInstance
from dicom_node.transfer_syntaxes import RETURNED_CLASSES


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends, and one identifier for all that comes together (see ``ReceivedInstance``)."""

    calling_ae_title: str
    peer_address: str
    association_id: str


def store(incoming: IncomingFile, spool: Spool, receipts: ReceiptPort, sender: Sender) -> StoredInstance | None:
    """Check, keep and record the instance; returns when file and record are durable, or None where it is of no use.

    What nobody here has a use for (a PACS that forwards whole studies sends our own results back, and documents of
    others) is not kept. The incoming file is gone afterwards. Raises ``InvalidInstance``, ``OutOfResources``, and what
    ``receipts`` raises.
    """
    received_at = datetime.now(UTC)
    try:
        with incoming.data_set() as data:
            header = inspect(data, incoming.meta.transfer_syntax_uid)
        if header.sop_class_uid != incoming.meta.sop_class_uid:
            raise InstanceMismatch("SOP Class UID of data set and command differ")
        if header.sop_instance_uid != incoming.meta.sop_instance_uid:
            raise InstanceMismatch("SOP Instance UID of data set and command differ")
        if header.sop_class_uid in RETURNED_CLASSES or not receipts.has_use_for(header):
            return None
        stored = spool.keep(incoming, header)
    finally:
        incoming.discard()
    receipts.record(
        ReceivedInstance(
            header=header,
            transfer_syntax_uid=stored.meta.transfer_syntax_uid,
            sha256=stored.sha256,
            size_bytes=stored.size_bytes,
            path=stored.path,
            calling_ae_title=sender.calling_ae_title,
            peer_address=sender.peer_address,
            association_id=sender.association_id,
            received_at=received_at,
        )
    )
    return stored
