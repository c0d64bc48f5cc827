"""The verification and storage SCU (PS3.4 A.3, B.2): sends files as they are stored, over one association."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import IPPROTO_TCP, TCP_NODELAY
from ssl import SSLContext
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time
from pynetdicom.transport import AddressInformation

from dicom_node.errors import InvalidInstance, PeerError
from dicom_node.hardening import HardenedSocket, WireLimits
from dicom_node.node import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, AETitle, Peer
from dicom_node.part10 import FileMeta, read_file_meta
from dicom_node.pynetdicom_settings import configure_pynetdicom
from dicom_node.statuses import describe_status, verdict
from dicom_node.transfer_syntaxes import VERIFICATION_SYNTAXES

LOGGER = logging.getLogger(__name__)

_MAX_CONTEXTS = 128  # presentation context ids are the odd numbers up to 255 (PS3.8 9.3.2.2)
_PERMANENT = 1  # result of an A-ASSOCIATE-RJ (PS3.8 9.3.4)


@dataclass(frozen=True, slots=True)
class ScuTimeouts:
    """How long to wait, in seconds: for the TCP connection, for association messages, and for each response."""

    connection: float = 10.0
    acse: float = 30.0
    dimse: float = 60.0


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of one file.

    ``status`` is the peer's C-STORE status, None when there was none; ``permanent`` says that sending again is useless;
    ``comment`` is in our words, never the peer's, which may name a patient. ``sop_instance_uid`` is empty when the
    file is no DICOM file.
    """

    path: Path
    sop_instance_uid: str
    status: int | None
    accepted: bool
    permanent: bool
    comment: str


def echo(peer: Peer, calling_ae_title: str, timeouts: ScuTimeouts = ScuTimeouts()) -> None:
    """Verify by C-ECHO that ``peer`` answers (PS3.4 A.4); raises ``PeerError`` when it does not."""
    contexts = [build_context(Verification, list(VERIFICATION_SYNTAXES))]
    with _association(peer, calling_ae_title, contexts, timeouts) as association:
        status = association.send_c_echo().get("Status")
    if status is None:
        raise PeerError(f"{peer} did not answer the verification request", code="PEER_SILENT", permanent=False)
    if status != 0x0000:
        raise PeerError(f"{peer} answered the verification request with 0x{status:04X}", code="PEER_REFUSED")


def send(
    files: Sequence[Path], peer: Peer, calling_ae_title: str, timeouts: ScuTimeouts = ScuTimeouts()
) -> tuple[SendOutcome, ...]:
    """Send DICOM files to ``peer`` and return what became of each, in their order.

    Proposed are exactly the pairs of SOP class and transfer syntax that the files have; nothing is converted. Raises
    ``PeerError`` when there is no association to send over; an association that breaks later makes the remaining
    outcomes transient.
    """
    metas = {path: _file_meta(path) for path in files}
    pairs = sorted({(meta.sop_class_uid, meta.transfer_syntax_uid) for meta in metas.values() if meta is not None})
    if not pairs:
        return tuple(_unreadable(path) for path in files)
    if len(pairs) > _MAX_CONTEXTS:
        raise PeerError("The files have too many SOP classes and transfer syntaxes for one association")
    contexts = [build_context(sop_class, transfer_syntax) for sop_class, transfer_syntax in pairs]
    try:
        with _association(peer, calling_ae_title, contexts, timeouts) as association:
            return tuple(_send_one(association, path, metas[path]) for path in files)
    except _NoContextAcceptedError:
        return tuple(_refused(path, meta) if (meta := metas[path]) else _unreadable(path) for path in files)


class _NoContextAcceptedError(PeerError):
    """The peer accepted the association and none of its presentation contexts."""

    code = "NO_PRESENTATION_CONTEXT"


def _send_one(association: Association, path: Path, meta: FileMeta | None) -> SendOutcome:
    """Send one file over an association that may be over already."""
    if meta is None:
        return _unreadable(path)
    if not association.is_established:
        return SendOutcome(path, meta.sop_instance_uid, None, False, False, "The association ended before it was sent")
    pair = (meta.sop_class_uid, [meta.transfer_syntax_uid])
    if pair not in [(context.abstract_syntax, context.transfer_syntax) for context in association.accepted_contexts]:
        return _refused(path, meta)
    try:
        status = association.send_c_store(path).get("Status")
    except OSError:
        association.abort()
        return SendOutcome(path, meta.sop_instance_uid, None, False, False, "The file could not be read")
    if status is None:
        return SendOutcome(path, meta.sop_instance_uid, None, False, False, "The peer did not answer")
    accepted, permanent = verdict(status)
    return SendOutcome(path, meta.sop_instance_uid, status, accepted, permanent, describe_status(status))


def _refused(path: Path, meta: FileMeta) -> SendOutcome:
    comment = "The peer does not accept this SOP class in this transfer syntax"
    return SendOutcome(path, meta.sop_instance_uid, None, False, True, comment)


def _unreadable(path: Path) -> SendOutcome:
    return SendOutcome(path, "", None, False, True, "The file is not a readable DICOM file")


def _file_meta(path: Path) -> FileMeta | None:
    """Return the file meta information, or None when ``path`` is no readable DICOM file."""
    try:
        with path.open("rb") as file:
            return read_file_meta(file)
    except (OSError, InvalidInstance):
        return None


@contextmanager
def _association(
    peer: Peer, calling_ae_title: str, contexts: list[PresentationContext], timeouts: ScuTimeouts
) -> Iterator[Association]:
    """Associate with ``peer`` and release when the block ends (abort when it raises); raises ``PeerError``."""
    configure_pynetdicom()
    entity = _Entity(ae_title=AETitle(calling_ae_title))
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.connection_timeout = timeouts.connection
    entity.acse_timeout = timeouts.acse
    entity.dimse_timeout = timeouts.dimse
    entity.network_timeout = timeouts.dimse
    try:
        association = entity.associate(
            peer.host,
            peer.port,
            contexts=contexts,
            ae_title=peer.ae_title,
        )
    except OSError as error:  # the host name has no address
        message = f"The host name of {peer} cannot be resolved"
        raise PeerError(message, code="PEER_UNREACHABLE", permanent=False) from error
    if not association.is_established:
        raise _failure(association, peer)
    try:
        yield association
        if association.is_established:
            association.release()
    finally:
        if association.is_established:
            association.abort()


class ResponseQueue(DIMSEServiceProvider):
    """The DIMSE provider of a requesting association: responses go to whoever waits for them, and to nobody else.

    pynetdicom 3.0.4 polls the same queue from the association's own thread, which it means to pause during a request;
    where that thread is preempted between its two checks, it takes the response away and the request times out. That
    thread polls without blocking, so it is told that there is nothing (a pure SCU is never sent a request).
    """

    def get_msg(self, block: bool = False) -> Any:  # noqa: FBT001, FBT002  (pynetdicom's signature)
        """Return (context id, message) for a blocking call, or (None, None) after the DIMSE timeout."""
        return super().get_msg(block) if block else (None, None)


class _Entity(AE):
    """An application entity whose connections never wait without end and send small segments at once (no Nagle)."""

    def _create_socket(
        self, assoc: Association, address: AddressInformation, tls_args: tuple[SSLContext, str] | None
    ) -> HardenedSocket:
        assoc.dimse = ResponseQueue(assoc)
        connection = HardenedSocket(assoc, address=address)
        connection.arm(WireLimits(pdu_seconds=self.dimse_timeout or 60.0))
        connection.tls_args = tls_args
        if connection.socket is not None:
            connection.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        return connection


def _failure(association: Association, peer: Peer) -> PeerError:
    """Return why there is no association (PS3.8 9.3.4 tells permanent rejections from transient ones)."""
    answer = association.acceptor.primitive
    if isinstance(answer, A_ASSOCIATE) and association.is_rejected:
        permanent = answer.result == _PERMANENT
        message = f"{peer} rejected the association: {answer.reason_str}"
        return PeerError(message, code="PEER_REJECTED", permanent=permanent)
    if isinstance(answer, A_ASSOCIATE) and answer.result == 0:
        return _NoContextAcceptedError(f"{peer} accepts none of the proposed presentation contexts")
    return PeerError(f"{peer} cannot be reached or does not answer", code="PEER_UNREACHABLE", permanent=False)
