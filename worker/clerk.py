"""The clerk process: the sweeps in a thread beside the deliveries, and the embedded broker where none is configured.

Sweeps never depend on the broker: they run before the consumer has a connection, and through every outage of it. A
sweep that fails in a way nobody foresaw ends the process, and its supervisor starts it again: it never goes quiet.
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
from worker.settings import Settings
from worker.sweeps import Sweeps

logger = logging.getLogger(__name__)


class Sweeper:
    """Runs the sweeps every ``sweep_seconds`` in a thread of its own, from ``start`` to ``stop``."""

    def __init__(self, settings: Settings, database: Database, bell: Bell, broker: EmbeddedBroker | None) -> None:
        self._settings = settings
        self._broker = broker
        self._sweeps = Sweeps(database, settings, bell, lambda: datetime.now(UTC))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the running sweep and end."""
        self._stop.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        ended_well = False
        try:
            while not self._stop.wait(self._settings.sweep_seconds):
                self._sweep()
            ended_well = True
        finally:
            if not ended_well:
                logger.critical("the sweeper died: this process ends and is to be started again")
                os.kill(os.getpid(), signal.SIGTERM)

    def _sweep(self) -> None:
        try:
            if self._broker is not None:
                self._broker.keep()
            self._sweeps.run()
        except (SQLAlchemyError, StartupError) as error:
            logger.error("a sweep failed and is tried again", extra={"reason": type(error).__name__})  # noqa: TRY400  (no values)


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
            self._sweeper: Sweeper | None = None

        def start(self, parent: Any) -> None:
            """Bring broker and schema up, then sweep."""
            app: Celery = parent.app
            if settings.broker_url is None:
                self._broker = EmbeddedBroker(settings.data_dir)
                self._broker.keep()
            self._database = Database.open(settings.effective_database_url)
            migrate(self._database)
            self._sweeper = Sweeper(settings, self._database, CeleryBell(app), self._broker)
            self._sweeper.start()

        def stop(self, parent: Any) -> None:  # noqa: ARG002  (Celery's signature)
            """Sweep no more; the broker ends last."""
            if self._sweeper is not None:
                self._sweeper.stop()
            if self._database is not None:
                self._database.close()
            if self._broker is not None:
                self._broker.stop()

        def terminate(self, parent: Any) -> None:
            """End at once, in the same order."""
            self.stop(parent)

    return ClerkStep
