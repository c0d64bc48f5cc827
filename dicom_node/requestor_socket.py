"""The socket of an association that this node requests, plain or over TLS (PS3.8 9.1, PS3.15 B)."""

from socket import IPPROTO_TCP, TCP_NODELAY, socket
from ssl import SSLError, SSLSocket, SSLWantReadError
from typing import cast

from pynetdicom.transport import T_CONNECT

from dicom_node.deadlines import cut_after
from dicom_node.hardening import HardenedSocket
from dicom_node.tls import handshake_failure


class RequestorSocket(HardenedSocket):
    """A hardened socket that connects; ``tls_failure`` says, in OpenSSL's words, why there is no TLS."""

    tls_failure = ""
    _ahead = b""

    def connect(self, primitive: T_CONNECT) -> None:
        """Connect, and shake hands where TLS is asked for; each takes the connection timeout at most."""
        primitive.result = "Evt17"  # not connected
        try:
            connection = cast("socket", self.socket)
            connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            connection.settimeout(self.assoc.connection_timeout)
            connection.connect(primitive.address_info.as_tuple)
            if self.tls_args:
                self._secure(connection)
            self._is_connected = True
            primitive.result = "Evt2"  # connected
        except (OSError, ValueError) as error:  # ValueError: a host name that no certificate can have
            if isinstance(error, SSLError):
                self.tls_failure = handshake_failure(error)
            self._shutdown_socket()
            self.socket = None
        self.provider_queue.put(primitive)
        self._ready.set()

    @property
    def ready(self) -> bool:
        """Return whether bytes of a PDU are there, or the end of the connection.

        TLS sends records of its own, such as session tickets. They make the socket readable, and waiting for a PDU
        behind them would keep this side from sending.
        """
        if self._ahead:
            return True
        if not super().ready:
            return False
        connection = self.socket
        if not isinstance(connection, SSLSocket):
            return True
        try:
            connection.settimeout(0)
            self._ahead = connection.recv(1)
        except SSLWantReadError:
            return False
        except OSError:
            return True  # reading the PDU meets the same error
        finally:
            connection.settimeout(self.limits.pdu_seconds)
        return True

    def _secure(self, connection: socket) -> None:
        """Put TLS around the connection; raises ``OSError``."""
        context, host_name = self.tls_args  # type: ignore[misc]  # the caller looked
        secured = context.wrap_socket(connection, server_hostname=host_name, do_handshake_on_connect=False)
        self.socket = secured
        with cut_after(secured, self.assoc.connection_timeout or self.limits.pdu_seconds):
            secured.do_handshake()

    def _receive(self, size: int) -> bytearray:
        ahead, self._ahead = self._ahead, b""
        return bytearray(ahead) + super()._receive(size - len(ahead))
