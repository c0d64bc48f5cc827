"""What one process tells the records of itself, in a thread of its own: that it is alive, and what it counted."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from dicom_node.observation import ScpObserver
from dicom_node.policy import Rejection, StoreStatus
from worker import counters, figures
from worker.counters import Pending
from worker.database import Database
from worker.heartbeats import BEAT_SECONDS, Pulse
from worker.repeater import Repeater

logger = logging.getLogger(__name__)

CONNECTION_LIMIT = "connection_limit"
"""The reason of connections that were closed unheard."""


class ReceptionCounts(ScpObserver):
    """Counts what the SCP does, in memory: nobody who sends waits for the records because of a figure."""

    def __init__(self, pending: Pending) -> None:
        self._pending = pending

    def association_accepted(self) -> None:
        """Count it."""
        self._pending.add(figures.ASSOCIATIONS_ACCEPTED.series())

    def association_rejected(self, rejection: Rejection) -> None:
        """Count it."""
        self._pending.add(figures.ASSOCIATIONS_REJECTED.series(rejection.name.lower()))

    def connection_refused(self) -> None:
        """Count it."""
        self._pending.add(figures.ASSOCIATIONS_REJECTED.series(CONNECTION_LIMIT))

    def instance_stored(self, size_bytes: int) -> None:
        """Count it and its bytes."""
        self._pending.add(figures.INSTANCES_RECEIVED.series())
        self._pending.add(figures.RECEIVED_BYTES.series(), size_bytes)

    def instance_ignored(self) -> None:
        """Count it."""
        self._pending.add(figures.INSTANCES_IGNORED.series())

    def instance_refused(self, status: StoreStatus) -> None:
        """Count it."""
        self._pending.add(figures.INSTANCES_REFUSED.series(status.name.lower()))


class Reporter(Repeater):
    """Beats and writes what is pending, every few seconds; while not ``is_well`` it does not beat.

    A process that is killed loses what it counted since the last time, a few seconds.
    """

    def __init__(
        self,
        database: Database,
        pulse: Pulse,
        pending: Pending | None = None,
        is_well: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__("reporter", BEAT_SECONDS)
        self._database = database
        self._pulse = pulse
        self._pending = pending or Pending()
        self._is_well = is_well

    def start(self) -> None:
        """Begin with the first report."""
        self.once()
        super().start()

    def stop(self) -> None:
        """Write what is left and leave the records: the process ends in good order."""
        super().stop()
        self._write(last=True)

    def once(self) -> None:
        """Report."""
        self._write(last=False)

    def _write(self, *, last: bool) -> None:
        taken = self._pending.take()
        try:
            with self._database.transaction() as session:
                if last:
                    self._pulse.leave(session)
                elif self._is_well():
                    self._pulse.beat(session, datetime.now(UTC))
                counters.add(session, taken)
        except (SQLAlchemyError, OSError) as error:
            self._pending.give_back(taken)
            logger.warning("a report waits for the database or the disk", extra={"reason": type(error).__name__})
