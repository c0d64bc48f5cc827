"""Few at a time: what is expensive is done by few threads of the server at once, so that the others can show pages."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class NoTurn(Exception):
    """Nobody finished in time."""


class Turns:
    """``at_once`` may do it at the same time; others wait for ``patience_seconds``."""

    def __init__(self, at_once: int = 2, patience_seconds: float = 10.0) -> None:
        self._free = threading.BoundedSemaphore(at_once)
        self._patience_seconds = patience_seconds

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, which ends with the block; raises ``NoTurn``."""
        if not self._free.acquire(timeout=self._patience_seconds):
            raise NoTurn
        try:
            yield
        finally:
            self._free.release()
