"""The clerk process: sweeps and the reading of reviews in threads beside the deliveries, and the embedded broker.

Sweeps never depend on the broker: they run before the consumer has a connection, and through every outage of it.
Reviews have a thread of their own: an object that is slow to read must not keep studies waiting. A thread that fails in
a way nobody foresaw ends the process, and its supervisor starts it again: it never goes quiet.
"""

import contextlib
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery, bootsteps
from sqlalchemy.exc import SQLAlchemyError

from worker.bell import CeleryBell
from worker.broker import EmbeddedBroker
from worker.database import Database, migrate
from worker.errors import StartupError
from worker.heartbeats import BEAT_SECONDS, Process, Pulse, Role, Vitals
from worker.image_sweep import ImageSweep
from worker.installation_key import InstallationKey
from worker.ports import Bell, ImageBell
from worker.repeater import Repeater
from worker.reviewing import ReviewReader
from worker.settings import Settings
from worker.study_numbers import StudyNumbers
from worker.sweeps import Sweeps
from worker.tally import Tally

logger = logging.getLogger(__name__)


class Sweeper(Repeater):
    """Runs the sweeps, counts what happened to studies, and keeps the embedded broker where there is one.

    It is the heart of the clerk: a clerk that does not sweep shows no sign of life.
    """

    def __init__(self, settings: Settings, database: Database, bell: Bell, broker: EmbeddedBroker | None) -> None:
        super().__init__("sweeper", settings.sweep_seconds)
        self._database = database
        self._broker = broker
        self._sweeps = Sweeps(database, settings, bell, _now)
        self._tally = Tally(database, settings, _now)
        self._pulse = Pulse(Process.this(Role.CLERK), lambda: Vitals.now(settings.data_dir))
        self._beat_at = _now()

    def once(self) -> None:
        """Sweep, count, and beat when it is time."""
        try:
            if self._broker is not None:
                self._broker.keep()
            self._sweeps.run()
            self._tally.run()
            if _now() >= self._beat_at:
                with self._database.transaction() as session:
                    self._pulse.beat(session, _now())
                self._beat_at = _now() + timedelta(seconds=BEAT_SECONDS)
        except (SQLAlchemyError, StartupError, OSError) as error:
            logger.error("a sweep failed and is tried again", extra={"reason": type(error).__name__})  # noqa: TRY400  (no values)

    def stop(self) -> None:
        """Sweep no more, and leave the records."""
        super().stop()
        with contextlib.suppress(SQLAlchemyError), self._database.transaction() as session:
            self._pulse.leave(session)


class Reviewer(Repeater):
    """Reads the reviews that came back."""

    def __init__(self, settings: Settings, database: Database) -> None:
        super().__init__("reviewer", settings.sweep_seconds)
        self._reader = ReviewReader(database, settings, _now)

    def once(self) -> None:
        """Read what waits."""
        try:
            self._reader.sweep_scratch()
            self._reader.run(self._stop.is_set)
        except (SQLAlchemyError, OSError) as error:
            logger.error("reviews could not be read and are tried again", extra={"reason": type(error).__name__})  # noqa: TRY400  (no values)


class Numberer(Repeater):
    """Reads the numbers by which studies are found."""

    def __init__(self, settings: Settings, database: Database) -> None:
        super().__init__("numberer", settings.sweep_seconds)
        self._numbers = StudyNumbers(database, settings, InstallationKey.of(settings), _now)

    def once(self) -> None:
        """Read what is new."""
        try:
            self._numbers.run()
        except SQLAlchemyError as error:
            logger.error("numbers could not be read and are tried again", extra={"reason": type(error).__name__})  # noqa: TRY400  (no values)


class ImageSweeper(Repeater):
    """Rings for single images that wait, and deletes those that are too old."""

    def __init__(self, settings: Settings, database: Database, bell: ImageBell) -> None:
        super().__init__("image sweeper", settings.sweep_seconds)
        self._sweep = ImageSweep(database, settings, bell, _now)

    def once(self) -> None:
        """Sweep."""
        try:
            self._sweep.run()
        except (SQLAlchemyError, OSError) as error:
            logger.error("single images could not be swept and are tried again", extra={"reason": type(error).__name__})  # noqa: TRY400  (no values)


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
            bell = CeleryBell(app)
            self._repeaters = [
                Sweeper(settings, self._database, bell, self._broker),
                Reviewer(settings, self._database),
                Numberer(settings, self._database),
                ImageSweeper(settings, self._database, bell),
            ]
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


def _now() -> datetime:
    return datetime.now(UTC)
