"""Training batches from a process of their own, so that making them and fitting overlap."""

import multiprocessing
from collections.abc import Callable, Iterator
from queue import Empty
from typing import Any

WAIT_SECONDS = 900

Batch = tuple[Any, Any]
"""Network input and truth, as ``train_on_batch`` takes them."""


def _produce(make: Callable[[], Iterator[Batch]], queue: Any) -> None:
    for batch in make():
        queue.put(batch)


class Feed:
    """Batches from one producer process; ``make`` must be picklable and yield batches without end."""

    def __init__(self, make: Callable[[], Iterator[Batch]]) -> None:
        context = multiprocessing.get_context("spawn")
        self._queue = context.Queue(maxsize=8)
        self._process = context.Process(target=_produce, args=(make, self._queue), daemon=True)
        self._process.start()

    def __iter__(self) -> Iterator[Batch]:
        while True:
            try:
                yield self._queue.get(timeout=WAIT_SECONDS)
            except Empty as error:
                raise RuntimeError("the process that makes training batches stopped") from error

    def close(self) -> None:
        """End the producer."""
        self._process.terminate()
        self._process.join(timeout=10)
