"""Keeps the lease of a study while its work moves: a heartbeat that stops by itself when one stage takes too long."""

import logging
import threading
import time
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from worker import studies
from worker.database import Database
from worker.ports import Clock
from worker.studies import Lease, StaleStudy

logger = logging.getLogger(__name__)

STAGE_SECONDS = 600.0
"""Longest that one stage may take; then the heartbeat stops and the lease runs out."""


class KeptLease:
    """A lease that is renewed in the background for the length of a ``with`` block.

    ``stage`` marks progress and raises ``StaleStudy`` when the lease was lost meanwhile (a late instance, or a sweep
    that believed this process dead): the caller then stops without writing.
    """

    def __init__(self, database: Database, lease: Lease, clock: Clock, lease_seconds: float) -> None:
        self._database = database
        self._lease = lease
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._stage_started = time.monotonic()
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease-{lease.study_id}", daemon=True)

    @property
    def lease(self) -> Lease:
        """The lease as it was claimed; its token fences every write."""
        return self._lease

    def stage(self, name: str) -> None:
        """Show that the work reached the stage ``name``."""
        if self._lost.is_set():
            raise StaleStudy(self._lease.study_id, "leased to this process")
        with self._database.transaction() as session:
            studies.renew(session, self._lease, self._clock(), self._lease_seconds, name)
        self._stage_started = time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(self._lease_seconds / 4):
            if time.monotonic() - self._stage_started > STAGE_SECONDS:
                logger.error("a stage takes too long, its lease is given up", extra={"study_id": self._lease.study_id})
                self._lost.set()
                return
            try:
                with self._database.transaction() as session:
                    studies.renew(session, self._lease, self._clock(), self._lease_seconds)
            except StaleStudy:
                self._lost.set()
                return
            except SQLAlchemyError as error:  # the next beat tries again; the lease bounds how long that can go on
                logger.warning("the lease could not be renewed", extra={"reason": type(error).__name__})
