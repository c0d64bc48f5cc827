"""pynetdicom's own SCP for tests: started on a free port of loopback, ended with every one of its sockets closed."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from pynetdicom import AE, evt

from dicom_node.hardening import LateStateMachine
from dicom_node.node import Peer


@contextmanager
def scp_of(entity: AE, *handlers, **options) -> Iterator[Peer]:
    """Run ``entity`` as an SCP with these handlers and yield its address.

    pynetdicom 3.0.4 leaves a socket open when its peer was the first to go, and its thread dies where it still answers.
    """
    accepted: list[socket.socket] = []

    def remember(event: evt.Event) -> None:
        accepted.append(event.assoc.dul.socket.socket)
        event.assoc.dul.state_machine.__class__ = LateStateMachine

    bound = [(evt.EVT_CONN_OPEN, remember), *handlers]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=bound, **options)
    try:
        yield Peer(entity.ae_title, "127.0.0.1", server.server_address[1])
    finally:
        server.shutdown()
        for association in server.active_associations:
            association.abort()
        for connection in accepted:
            connection.close()
