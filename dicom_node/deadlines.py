"""An end to what waits on a socket, however slowly its peer drips: time-outs of sockets start anew with each byte."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cut_after(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Shut the connection down when the block takes longer than ``seconds``; what waits on it ends with an error."""
    duplicate = socket.socket(fileno=os.dup(connection.fileno()))
    timer = threading.Timer(seconds, _shut_down, (duplicate,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        duplicate.close()


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
