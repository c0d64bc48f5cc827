"""An association server for hospital networks: pynetdicom's, with every wait and every buffer bounded (PS3.8 9).

Stock pynetdicom 3.0.4 waits without end inside a PDU, buffers a PDU of 4 GiB before negotiation, and lets silent
sockets lock out everybody else. What is overridden here is tested against real sockets, and the version is pinned.
"""

import contextlib
import queue
import socket
import struct
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from socketserver import TCPServer
from typing import Any, cast

from pynetdicom.association import Association
from pynetdicom.fsm import TRANSITION_TABLE, StateMachine
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

_PDU_HEADER_BYTES = 6
_LOCAL_EVENTS = frozenset({"Evt7", "Evt8", "Evt9", "Evt11", "Evt14", "Evt15"})  # primitives of our side after Evt1


@dataclass(frozen=True, slots=True)
class WireLimits:
    """Bounds on what a peer may hold or make us hold.

    ``pdu_seconds`` is the time from the first to the last byte of a PDU, ``association_seconds`` the life of an
    association; ``max_request_pdu_bytes`` bounds PDUs before negotiation, ``max_pdu_bytes`` is the maximum length that
    is advertised and enforced afterwards (PS3.8 D.1).
    """

    max_sockets: int = 64
    max_sockets_per_address: int = 16
    pdu_seconds: float = 20.0
    association_seconds: float = 4 * 3600.0
    max_request_pdu_bytes: int = 128 * 1024
    max_pdu_bytes: int = 1024 * 1024


class LateStateMachine(StateMachine):
    """The state machine of an association (PS3.8 9.2), on which our side may act just when the association ends.

    pynetdicom's raises where a primitive of ours comes after the peer's abort or our own: its thread dies, and the
    socket stays open.
    """

    def do_action(self, event: str) -> None:
        """Act on ``event``; what our side asks of an association that is over is dropped."""
        if event in _LOCAL_EVENTS and (event, self.current_state) not in TRANSITION_TABLE:
            with contextlib.suppress(queue.Empty):
                self.dul.to_provider_queue.get(block=False)
            return
        super().do_action(event)


class HardenedSocket(AssociationSocket):
    """The socket of one association: bounded PDUs, a deadline for each, and closed for certain."""

    limits: WireLimits
    closes_at: float
    _deadline: float = 0.0
    _body_bytes: int = 0
    _is_negotiated: bool = False

    def arm(self, limits: WireLimits) -> None:
        """Begin to enforce ``limits``."""
        self.assoc.dul.state_machine.__class__ = LateStateMachine
        self.limits = limits
        self.closes_at = time.monotonic() + limits.association_seconds

    def recv(self, nr_bytes: int) -> bytearray:
        """Return the header (6 bytes) or the body of a PDU, or less when the peer closed.

        Raises ``OSError``, on which pynetdicom closes the connection, when the PDU is too long or too slow.
        """
        if self._body_bytes == 0:
            now = time.monotonic()
            if now > self.closes_at:
                raise TimeoutError("the association has lasted too long")
            self._deadline = now + self.limits.pdu_seconds
            header = self._receive(nr_bytes)
            if len(header) == _PDU_HEADER_BYTES:
                self._body_bytes = self._checked_length(header)
            return header
        self._body_bytes = 0
        return self._receive(nr_bytes)

    def cut(self) -> None:
        """Shut the connection down from another thread: whoever waits on it is woken."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def _checked_length(self, header: bytearray) -> int:
        length = cast("int", struct.unpack(">BBL", header)[2])
        limit = self.limits.max_request_pdu_bytes
        if self._negotiated():
            limit = self.limits.max_pdu_bytes + _PDU_HEADER_BYTES
        if length > limit:
            raise OSError("a PDU is longer than negotiated")
        return length

    def _negotiated(self) -> bool:
        """Return whether the association was accepted; true before the peer can know, so that no PDU is too early."""
        self._is_negotiated = self._is_negotiated or bool(self.assoc.accepted_contexts)
        return self._is_negotiated

    def _shutdown_socket(self) -> None:
        """Close the connection; unlike pynetdicom's, also when there is nothing left to shut down."""
        self.cut()
        if self.socket is not None:
            self.socket.close()

    def _receive(self, size: int) -> bytearray:
        connection = self.socket
        if connection is None:
            raise OSError("the connection is closed")
        buffer = bytearray(size)
        view = memoryview(buffer)
        received = 0
        while received < size:
            remaining = self._deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError("a PDU took too long")
            connection.settimeout(remaining)
            count = connection.recv_into(view[received:])
            if count == 0:
                return bytearray(view[:received])
            received += count
        connection.settimeout(self.limits.pdu_seconds)  # for send
        return buffer


class HardenedRequestHandler(RequestHandler):
    """Makes the association of an accepted connection, with a hardened socket, as the server prepares it."""

    def _create_association(self) -> Association:
        server = cast("HardenedServer", self.server)
        association = super()._create_association()
        plain = association.dul.socket
        plain.__class__ = HardenedSocket  # the constructor has queued its event already; it must not run again
        connection = cast("HardenedSocket", plain)
        connection.arm(server.limits)
        finish = server.prepare(association)
        run = association.run

        def run_and_finish() -> None:
            try:
                run()
            finally:
                connection.close()
                finish()

        association.run = run_and_finish  # type: ignore[method-assign]  # the only hook after everything else
        return association


class HardenedServer(ThreadedAssociationServer):
    """The listening socket; accepts without waiting on anybody and refuses connections beyond the caps.

    ``prepare`` is called with each new association before it starts; what it returns is called in the association's
    thread when that is over, whatever happened. ``refused`` is called for each connection that is refused.
    """

    request_queue_size = 128
    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        *arguments: Any,
        limits: WireLimits,
        prepare: Callable[[Association], Callable[[], None]],
        refused: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> None:
        self.limits = limits
        self.prepare = prepare
        self._refused = refused
        self._connections: weakref.WeakKeyDictionary[socket.socket, str] = weakref.WeakKeyDictionary()
        self._connections_lock = threading.Lock()
        super().__init__(*arguments, **options | {"request_handler": HardenedRequestHandler})

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; nothing is read from it here."""
        connection, address = cast("socket.socket", self.socket).accept()
        connection.settimeout(self.limits.pdu_seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether the caps on open connections, in all and per address, allow one more."""
        address = str(client_address[0])
        with self._connections_lock:
            open_addresses = [known for connection, known in self._connections.items() if connection.fileno() != -1]
            is_too_many = len(open_addresses) >= self.limits.max_sockets
            is_too_many |= open_addresses.count(address) >= self.limits.max_sockets_per_address
            if not is_too_many:
                self._connections[request] = address
        if is_too_many:
            self._refused()
        return not is_too_many

    def shutdown(self) -> None:
        """Stop accepting and close the listening socket; running associations go on."""
        TCPServer.shutdown(self)
        self.server_close()

    def wait_until_idle(self, seconds: float) -> bool:
        """Return whether all associations are over within ``seconds``."""
        deadline = time.monotonic() + seconds
        while self.active_associations:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        return True

    def abort_associations(self, grace_seconds: float = 1.0) -> None:
        """Send A-ABORT on all associations, and cut those that are not over after ``grace_seconds``.

        ``Association.abort`` may close the socket before its A-ABORT is sent, and waits for as long as a PDU takes.
        """
        for association in self.active_associations:
            association.acse.send_abort(0x00)
        if self.wait_until_idle(grace_seconds):
            return
        for association in self.active_associations:
            cast("HardenedSocket", association.dul.socket).cut()
            association.kill()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: the default prints a traceback; a connection that cannot be served is closed by the caller."""
