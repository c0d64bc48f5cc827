"""An end to what waits on sockets, however slowly their peer drips: their time-outs start anew with each byte."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self


class Deadline:
    """Connections that are shut down together when ``seconds`` are over; whatever waits on one ends with an error.

    To be used in a ``with`` statement, at whose end it is called off.
    """

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._watched: list[socket.socket] = []
        self._expired = False

    def watch(self, connection: socket.socket) -> None:
        """Shut this connection down, too; also when it gets another Python object, as TLS gives it."""
        duplicate = socket.socket(fileno=os.dup(connection.fileno()))
        with self._lock:
            self._watched.append(duplicate)
            if self._expired:
                _shut_down(duplicate)

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._timer.join()
        for connection in self._watched:
            connection.close()

    def _expire(self) -> None:
        with self._lock:
            self._expired = True
            for connection in self._watched:
                _shut_down(connection)


@contextmanager
def cut_after(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Shut the connection down when the block takes longer than ``seconds``."""
    with Deadline(seconds) as deadline:
        deadline.watch(connection)
        yield


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
