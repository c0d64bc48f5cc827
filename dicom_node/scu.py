"""The verification and storage SCU (PS3.4 A.3, B.2): sends files as they are stored, over one association."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from ssl import SSLContext
from typing import cast

from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from dicom_node.association import DEFAULT_TIMEOUTS, NoContextAccepted, ScuTimeouts, associated, responses_of
from dicom_node.deflate import deflated
from dicom_node.errors import InvalidInstance, PeerError
from dicom_node.node import Peer
from dicom_node.outcomes import SendOutcome, file_meta, unreadable
from dicom_node.part10 import FileMeta
from dicom_node.statuses import describe_status, verdict
from dicom_node.transfer_syntaxes import (
    DEFLATED_SYNTAX,
    EXPLICIT_VR_LITTLE_ENDIAN,
    SEGMENTATION_CLASSES,
    VERIFICATION_SYNTAXES,
)

__all__ = ["ScuTimeouts", "SendOutcome", "echo", "send"]

_MEDIUM = 0  # priority (PS3.7 E.1)
_MAX_CONTEXTS = 128  # presentation context ids are the odd numbers up to 255 (PS3.8 9.3.2.2)


def echo(
    peer: Peer, calling_ae_title: str, timeouts: ScuTimeouts = DEFAULT_TIMEOUTS, tls: SSLContext | None = None
) -> None:
    """Verify by C-ECHO that ``peer`` answers (PS3.4 A.4); raises ``PeerError`` when it does not."""
    contexts = [build_context(Verification, list(VERIFICATION_SYNTAXES))]
    with associated(peer, calling_ae_title, contexts, timeouts, tls) as association:
        status = association.send_c_echo().get("Status")
    if status is None:
        raise PeerError(f"{peer} did not answer the verification request", code="PEER_SILENT", permanent=False)
    if status != 0x0000:
        raise PeerError(f"{peer} answered the verification request with 0x{status:04X}", code="PEER_REFUSED")


def send(
    files: Sequence[Path],
    peer: Peer,
    calling_ae_title: str,
    timeouts: ScuTimeouts = DEFAULT_TIMEOUTS,
    tls: SSLContext | None = None,
    *,
    deflate: bool = False,
) -> tuple[SendOutcome, ...]:
    """Send DICOM files to ``peer`` and return what became of each, in their order.

    Proposed are exactly the pairs of SOP class and transfer syntax that the files have; nothing is converted. With
    ``deflate`` segmentations in Explicit VR Little Endian are proposed deflated as well, and sent so where the peer
    accepts it; the files stay as they are. Raises ``PeerError`` when there is no association to send over; an
    association that breaks later makes the remaining outcomes transient.
    """
    metas = {path: file_meta(path) for path in files}
    readable = [meta for meta in metas.values() if meta is not None]
    pairs = {(meta.sop_class_uid, meta.transfer_syntax_uid) for meta in readable}
    if deflate:
        pairs |= {_deflated_pair(meta) for meta in readable if _can_be_deflated(meta)}
    if not pairs:
        return tuple(unreadable(path) for path in files)
    if len(pairs) > _MAX_CONTEXTS:
        raise PeerError("The files have too many SOP classes and transfer syntaxes for one association")
    contexts = [build_context(sop_class, transfer_syntax) for sop_class, transfer_syntax in sorted(pairs)]
    try:
        with associated(peer, calling_ae_title, contexts, timeouts, tls) as association:
            return tuple(_send_one(association, path, metas[path]) for path in files)
    except NoContextAccepted:
        return tuple(_refused(path, meta) if (meta := metas[path]) else unreadable(path) for path in files)


def _can_be_deflated(meta: FileMeta) -> bool:
    return meta.sop_class_uid in SEGMENTATION_CLASSES and meta.transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN


def _deflated_pair(meta: FileMeta) -> tuple[str, str]:
    return meta.sop_class_uid, DEFLATED_SYNTAX


def _send_one(association: Association, path: Path, meta: FileMeta | None) -> SendOutcome:
    """Send one file over an association that may be over already."""
    if meta is None:
        return unreadable(path)
    if not association.is_established:
        return SendOutcome(path, meta.sop_instance_uid, None, False, False, "The association ended before it was sent")
    accepted = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0])): cast("int", context.context_id)
        for context in association.accepted_contexts
    }
    try:
        if _can_be_deflated(meta) and _deflated_pair(meta) in accepted:
            status = _store_deflated(association, accepted[_deflated_pair(meta)], path, meta)
        elif (meta.sop_class_uid, meta.transfer_syntax_uid) in accepted:
            status = association.send_c_store(path).get("Status")
        else:
            return _refused(path, meta)
    except (OSError, InvalidInstance):
        association.abort()
        return SendOutcome(path, meta.sop_instance_uid, None, False, False, "The file could not be read")
    if status is None:
        return SendOutcome(path, meta.sop_instance_uid, None, False, False, "The peer did not answer")
    is_accepted, permanent = verdict(status)
    return SendOutcome(path, meta.sop_instance_uid, status, is_accepted, permanent, describe_status(status))


def _store_deflated(association: Association, context_id: int, path: Path, meta: FileMeta) -> int | None:
    """Send a deflated copy of the file and return the status, None when there is none."""
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = UID(meta.sop_class_uid)
    request.AffectedSOPInstanceUID = UID(meta.sop_instance_uid)
    request.Priority = _MEDIUM
    request.DataSet = BytesIO(deflated(path))
    responses = responses_of(association)
    responses.send_msg(request, context_id)
    _, response = responses.get_msg(block=True)
    if response is None:
        association.abort()
        return None
    return cast("int", response.Status)


def _refused(path: Path, meta: FileMeta) -> SendOutcome:
    comment = "The peer does not accept this SOP class in this transfer syntax"
    return SendOutcome(path, meta.sop_instance_uid, None, False, True, comment)
