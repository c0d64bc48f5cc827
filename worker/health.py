"""``/healthz``, ``/readyz`` and ``/metrics`` of one process, over HTTP; the console shows the same pages.

No page names a patient or a study. They are for programs of the site: bound to loopback unless set otherwise.
"""

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, make_wsgi_app
from waitress import create_server

from worker.database import Database
from worker.destination_file import read_destinations
from worker.errors import StartupError
from worker.heartbeats import Role
from worker.metrics import make_registry
from worker.readiness import Readiness
from worker.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

PATHS = frozenset({"/healthz", "/readyz", "/metrics"})


class HealthPages:
    """A WSGI application of the three pages.

    ``/healthz`` answers 200 while ``is_well`` says so, ``/readyz`` while ``reasons`` gives none against it; else 503.
    """

    def __init__(
        self, registry: CollectorRegistry, reasons: Callable[[], Sequence[str]], is_well: Callable[[], bool]
    ) -> None:
        self._metrics: WSGIApplication = make_wsgi_app(registry)
        self._reasons = reasons
        self._is_well = is_well

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        path = environ.get("PATH_INFO", "")
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"} or path not in PATHS:
            return _answer(start_response, "404 Not Found", {"error": "there is nothing here"})
        if path == "/metrics":
            return self._metrics(environ, start_response)
        if path == "/healthz":
            well = self._is_well()
            return _answer(start_response, _status(well), {"alive": well})
        reasons = list(self._reasons())
        return _answer(start_response, _status(not reasons), {"ready": not reasons, "reasons": reasons})


class HealthServer:
    """Serves the pages on the address of the settings from ``start`` to ``stop``, in a thread of its own."""

    def __init__(self, settings: Settings, pages: HealthPages) -> None:
        self._address = settings.health_host, settings.health_port
        self._pages = pages
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, if a port is set; raises ``StartupError`` when it is taken."""
        host, port = self._address
        if port is None:
            return
        try:
            listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as error:
            raise StartupError(
                f"cannot serve metrics on {host} port {port} ({error.strerror}): set CSPINE_HEALTH_PORT to a free one"
            ) from error
        self._server = create_server(self._pages, sockets=[listening], threads=2, ident=None)
        self._thread = threading.Thread(target=self._server.run, name="health", daemon=True)
        self._thread.start()
        logger.info("health and metrics are served", extra={"port": port})

    def stop(self) -> None:
        """Serve no more."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            with contextlib.suppress(OSError):  # its thread, awake by chance, may have closed all of it
                server.trigger.pull_trigger(lambda: _close(server))  # in its own thread, which waits on the sockets
            self._thread.join(5)
            server.task_dispatcher.shutdown()


def _close(server: Any) -> None:
    """Close the listening socket and what is still open; the server's loop ends with the last of them."""
    server.close()
    for channel in list(server.active_channels.values()):
        channel.handle_close()


def health_server(settings: Settings, role: Role, database: Database, is_well: Callable[[], bool]) -> HealthServer:
    """The server of one process."""
    return HealthServer(settings, health_pages(settings, role, database, is_well))


def health_pages(settings: Settings, role: Role, database: Database, is_well: Callable[[], bool]) -> HealthPages:
    """The pages of one process; raises ``SettingsError`` when the file of destinations is wrong."""
    destinations = [destination.name for destination in read_destinations(settings)]
    registry = make_registry(database, settings, destinations, lambda: datetime.now(UTC))
    return HealthPages(registry, Readiness(settings, role).reasons, is_well)


def _status(good: bool) -> str:  # noqa: FBT001  (the one thing it is about)
    return "200 OK" if good else "503 Service Unavailable"


def _answer(start_response: "StartResponse", status: str, content: dict[str, object]) -> Iterable[bytes]:
    body = json.dumps(content).encode() + b"\n"
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    start_response(status, headers)
    return [body]
