"""A destination that does not answer is tried once in a while by a process, not for every study anew.

Otherwise a peer that hangs would keep the few clerks waiting, and the results of every other destination with them.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from dicom_node.commitment import InstanceRef
from dicom_node.errors import PeerError
from dicom_node.scu import SendOutcome
from dicom_node.study_attributes import StudyAttributes
from worker.destinations import Destination
from worker.failures import Backoff
from worker.links import Link, Links
from worker.ports import Clock

MAX_SILENCE_SECONDS = 300.0
"""The longest time for which one process takes a destination to be away."""

_SILENT = frozenset({"PEER_UNREACHABLE", "PEER_SILENT"})


@dataclass(slots=True)
class Silences:
    """Since how many tries, and until when, each destination is taken to be away."""

    clock: Clock
    backoff: Backoff
    _known: dict[str, tuple[int, datetime]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, destination: Destination) -> None:
        """Raise ``PeerError`` while the destination is taken to be away."""
        with self._lock:
            _, until = self._known.get(destination.name, (0, None))
        if until is not None and self.clock() < until:
            message = f"{destination} did not answer a moment ago and was not tried again"
            raise PeerError(message, code="PEER_UNREACHABLE", permanent=False)

    def heard(self, destination: Destination) -> None:
        """It answered."""
        with self._lock:
            self._known.pop(destination.name, None)

    def missed(self, destination: Destination) -> None:
        """It did not answer: leave it alone for a pause that grows."""
        with self._lock:
            count, _ = self._known.get(destination.name, (0, None))
            pause = min(self.backoff.pause(count, 0.0), timedelta(seconds=MAX_SILENCE_SECONDS))
            self._known[destination.name] = (count + 1, self.clock() + pause)


@dataclass(frozen=True, slots=True)
class SparingLinks:
    """Links as ``make`` makes them, watched for silence."""

    make: Links
    silences: Silences

    def __call__(self, destination: Destination) -> Link:
        """The link; raises ``PeerError`` at once while the destination is taken to be away."""
        self.silences.check(destination)
        return _WatchedLink(self.make(destination), destination, self.silences)


@dataclass(frozen=True, slots=True)
class _WatchedLink:
    link: Link
    destination: Destination
    silences: Silences

    def verify(self) -> None:
        with self._watched():
            self.link.verify()

    def send(self, files: Sequence[Path]) -> tuple[SendOutcome, ...]:
        with self._watched():
            answers = self.link.send(files)
        if any(answer.status is None and not answer.permanent and not answer.accepted for answer in answers):
            self.silences.missed(self.destination)
        return answers

    def request_commitment(self, instances: Sequence[InstanceRef], transaction_uid: str) -> None:
        with self._watched():
            self.link.request_commitment(instances, transaction_uid)

    def collect_reports(self) -> None:
        with self._watched():
            self.link.collect_reports()

    def study_attributes(self, study_instance_uid: str) -> StudyAttributes | None:
        with self._watched():
            return self.link.study_attributes(study_instance_uid)

    def instances_there(self, study_instance_uid: str, sop_instance_uids: Sequence[str]) -> frozenset[str]:
        with self._watched():
            return self.link.instances_there(study_instance_uid, sop_instance_uids)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Whatever it answers, it is there; only silence counts."""
        try:
            yield
        except PeerError as error:
            if error.code in _SILENT:
                self.silences.missed(self.destination)
            raise
        self.silences.heard(self.destination)
