"""The health pages of a Celery worker: a boot step beside the consumer, whatever the broker does."""

from contextlib import ExitStack, closing
from typing import Any

from celery import bootsteps

from worker.database import Database
from worker.health import health_server
from worker.heartbeats import Role
from worker.settings import Settings


def health_step(settings: Settings) -> type[bootsteps.StartStopStep]:
    """The boot step that serves the pages where a port is set; the worker's name begins with its role."""

    class HealthStep(bootsteps.StartStopStep):
        """Starts before the consumer connects, and stops after it."""

        label = "Health"

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            self.enabled = settings.health_port is not None
            self._running = ExitStack()

        def start(self, parent: Any) -> None:
            """Serve the pages."""
            database = self._running.enter_context(closing(Database.open(settings.effective_database_url)))
            role = Role(str(parent.hostname).partition("-")[0])
            server = health_server(settings, role, database, lambda: True)
            server.start()
            self._running.callback(server.stop)

        def stop(self, parent: Any) -> None:  # noqa: ARG002  (Celery's signature)
            """Serve no more."""
            self._running.close()

        def terminate(self, parent: Any) -> None:
            """End at once."""
            self.stop(parent)

    return HealthStep
