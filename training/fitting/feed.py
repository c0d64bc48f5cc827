"""Training batches from processes of their own, taken in a fixed order, so that making them and fitting overlap.

A batch is a function of its step alone. Of ``n`` processes the k-th makes the batches k, k + n, k + 2n and so on; they
are taken in turn. So neither the number of processes nor where a run was interrupted changes what is trained on.
"""

import itertools
import multiprocessing
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

PREFETCHED = 4
"""Finished batches that wait in the trainer, besides one in each process."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Network input and truth as ``train_on_batch`` takes them; ``sources`` names what each sample was drawn from."""

    images: Any
    truth: dict[str, Any]
    sources: tuple[str, ...] = ()


Source = Callable[[int], Batch]
"""The batch of a step, counted from 0: always the same one, whatever was drawn before."""


class FeedError(ValueError):
    """Batches cannot be made any longer; the message says why."""


def _produce(make: Callable[[], Source], writer: Connection, first: int, stride: int) -> None:
    """Make every ``stride``-th batch until the trainer is gone, which breaks the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the trainer hears it and ends its processes
    try:
        source = make()
        for step in itertools.count(first, stride):
            writer.send(source(step))
    except BrokenPipeError:
        return
    except (ValueError, OSError) as error:
        writer.send(FeedError(str(error)))


class Feed:
    """Batches from the step ``first`` on; ``make`` must be picklable and gives each process its source."""

    def __init__(self, make: Callable[[], Source], processes: int = 1, first: int = 0) -> None:
        context = multiprocessing.get_context("spawn")
        self.waited_seconds = 0.0
        """How long the trainer waited for batches so far."""
        self._readers: list[Connection] = []
        self._processes = []
        for place in range(processes):
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(target=_produce, args=(make, writer, first + place, processes), daemon=True)
            process.start()
            writer.close()
            self._readers.append(reader)
            self._processes.append(process)
        self._ready: queue.Queue[Batch | FeedError] = queue.Queue(PREFETCHED + processes)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Batch]:
        while True:
            started = time.perf_counter()
            taken = self._ready.get()
            self.waited_seconds += time.perf_counter() - started
            if isinstance(taken, FeedError):
                raise taken
            yield taken

    def close(self) -> None:
        """End the processes."""
        self._closed.set()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(timeout=10)
        self._thread.join(timeout=10)
        for reader in self._readers:
            reader.close()

    def _receive(self) -> None:
        """Take from each process in turn, so that a batch is here before the trainer asks for it."""
        for place in itertools.cycle(range(len(self._readers))):
            try:
                taken = self._readers[place].recv()
            except (EOFError, OSError):
                self._processes[place].join(timeout=10)
                code = self._processes[place].exitcode
                taken = FeedError(f"a process that makes training batches ended with {code} (-9: was memory short?)")
            while not self._closed.is_set():
                try:
                    self._ready.put(taken, timeout=0.5)
                    break
                except queue.Full:
                    continue
            if self._closed.is_set() or isinstance(taken, FeedError):
                return
