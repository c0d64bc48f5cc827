"""Associations that this node requests (PS3.8 7.1), plain or over TLS: no wait without end, answers within bounds."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ssl import SSLContext
from typing import cast

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation

from dicom_node.errors import PeerError
from dicom_node.hardening import WireLimits
from dicom_node.node import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, AETitle, Peer
from dicom_node.pynetdicom_settings import configure_pynetdicom
from dicom_node.requestor_socket import RequestorSocket
from dicom_node.responses import Responses

_PERMANENT = 1  # result of an A-ASSOCIATE-RJ (PS3.8 9.3.4)


@dataclass(frozen=True, slots=True)
class ScuTimeouts:
    """How long to wait, in seconds: for the connection (and for TLS), for association messages, for each response."""

    connection: float = 10.0
    acse: float = 30.0
    dimse: float = 60.0


DEFAULT_TIMEOUTS = ScuTimeouts()


class NoContextAccepted(PeerError):
    """The peer accepted the association and none of its presentation contexts."""

    code = "NO_PRESENTATION_CONTEXT"


@contextmanager
def associated(
    peer: Peer,
    calling_ae_title: str,
    contexts: list[PresentationContext],
    timeouts: ScuTimeouts,
    tls: SSLContext | None = None,
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
            tls_args=None if tls is None else (tls, peer.host),
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


def responses_of(association: Association) -> Responses:
    """Return what came back on an association of ``associated``."""
    return cast("Responses", association.dimse)


def accepted_context(association: Association, abstract_syntax: str) -> PresentationContext:
    """Return an accepted presentation context of this abstract syntax; raises ``NoContextAccepted``."""
    for context in association.accepted_contexts:
        if context.abstract_syntax == abstract_syntax and context.as_scu:
            return context
    raise NoContextAccepted("The peer does not accept this SOP class")


class _Entity(AE):
    """An application entity whose connections never wait without end and send small segments at once (no Nagle)."""

    def _create_socket(
        self, assoc: Association, address: AddressInformation, tls_args: tuple[SSLContext, str] | None
    ) -> RequestorSocket:
        assoc.dimse = Responses(assoc)
        connection = RequestorSocket(assoc, address=address)
        connection.arm(WireLimits(pdu_seconds=self.dimse_timeout or 60.0))
        connection.tls_args = tls_args
        return connection


def _failure(association: Association, peer: Peer) -> PeerError:
    """Return why there is no association (PS3.8 9.3.4 tells permanent rejections from transient ones)."""
    answer = association.acceptor.primitive
    if isinstance(answer, A_ASSOCIATE) and association.is_rejected:
        permanent = answer.result == _PERMANENT
        message = f"{peer} rejected the association: {answer.reason_str}"
        return PeerError(message, code="PEER_REJECTED", permanent=permanent)
    if isinstance(answer, A_ASSOCIATE) and answer.result == 0:
        return NoContextAccepted(f"{peer} accepts none of the proposed presentation contexts")
    connection = association.dul.socket
    if isinstance(connection, RequestorSocket) and connection.tls_failure:
        message = f"{peer} cannot be reached over TLS: {connection.tls_failure}"
        return PeerError(message, code="PEER_TLS", permanent=False)
    return PeerError(f"{peer} cannot be reached or does not answer", code="PEER_UNREACHABLE", permanent=False)
