"""The clerk process: sweeps and the reading of reviews in threads beside the deliveries, and the embedded broker.

Sweeps never depend on the broker: they run before the consumer has a connection, and through every outage of it.
Reviews have a thread of their own: an object that is slow to read must not keep studies waiting. A thread that fails in
a way nobody foresaw ends the process, and its supervisor starts it again: it never goes quiet.
"""

import logging
import os
import signal
import threading
from datetime import UTC, datetime
from typing import Any

from celery import Celery, bootsteps
from sqlalchemy.exc import SQLAlchemyError

from worker.bell import CeleryBell
from worker.broker import EmbeddedBroker
from worker.database import Database, migrate
from worker.errors import StartupError
from worker.ports import Bell
from worker.reviewing import ReviewReader
from worker.settings import Settings
from worker.sweeps import Sweeps

logger = logging.getLogger(__name__)


class Repeater:
    """Does one thing again and again, ``seconds`` apart, in a thread of its own, from ``start`` to ``stop``."""

    def __init__(self, name: str, seconds: float) -> None:
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being done and end."""
        self._stop.set()
        self._thread.join(timeout=60)

    def once(self) -> None:
        """Do it once; whatever this raises ends the process."""
        raise NotImplementedError

    def _run(self) -> None:
        ended_well = False
        try:
            while not self._stop.wait(self._seconds):
                self.once()
            ended_well = True
        finally:
            if not ended_well:
                logger.critical("the %s died: this process ends and is to be started again", self._thread.name)
                os.kill(os.getpid(), signal.SIGTERM)


class Sweeper(Repeater):
    """Runs the sweeps, and keeps the embedded broker where there is one."""

    def __init__(self, settings: Settings, database: Database, bell: Bell, broker: EmbeddedBroker | None) -> None:
        super().__init__("sweeper", settings.sweep_seconds)
        self._broker = broker
        self._sweeps = Sweeps(database, settings, bell, lambda: datetime.now(UTC))

    def once(self) -> None:
        """Sweep."""
        try:
            if self._broker is not None:
                self._broker.keep()
            self._sweeps.run()
        except (SQLAlchemyError, StartupError) as error:
            logger.error("a sweep failed and is tried again", extra={"reason": type(error).__name__})  # noqa: TRY400  (no values)


class Reviewer(Repeater):
    """Reads the reviews that came back."""

    def __init__(self, settings: Settings, database: Database) -> None:
        super().__init__("reviewer", settings.sweep_seconds)
        self._reader = ReviewReader(database, settings, lambda: datetime.now(UTC))

    def once(self) -> None:
        """Read what waits."""
        try:
            self._reader.sweep_scratch()
            self._reader.run(self._stop.is_set)
        except (SQLAlchemyError, OSError) as error:
            logger.error("reviews could not be read and are tried again", extra={"reason": type(error).__name__})  # noqa: TRY400  (no values)


def clerk_step(settings: Settings) -> type[bootsteps.StartStopStep]:
    """The boot step that makes a Celery worker named ``clerk…`` a clerk; other workers pass it over."""

    class ClerkStep(bootsteps.StartStopStep):
        """Starts before the consumer connects, and stops after it."""

        label = "Clerk"

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            self.enabled = str(parent.hostname).startswith("clerk")
            self._database: Database | None = None
            self._broker: EmbeddedBroker | None = None
            self._repeaters: list[Repeater] = []

        def start(self, parent: Any) -> None:
            """Bring broker and schema up, then sweep and read."""
            app: Celery = parent.app
            if settings.broker_url is None:
                self._broker = EmbeddedBroker(settings.data_dir)
                self._broker.keep()
            self._database = Database.open(settings.effective_database_url)
            migrate(self._database)
            sweeper = Sweeper(settings, self._database, CeleryBell(app), self._broker)
            self._repeaters = [sweeper, Reviewer(settings, self._database)]
            for repeater in self._repeaters:
                repeater.start()

        def stop(self, parent: Any) -> None:  # noqa: ARG002  (Celery's signature)
            """Sweep and read no more; the broker ends last."""
            for repeater in self._repeaters:
                repeater.stop()
            if self._database is not None:
                self._database.close()
            if self._broker is not None:
                self._broker.stop()

        def terminate(self, parent: Any) -> None:
            """End at once, in the same order."""
            self.stop(parent)

    return ClerkStep
