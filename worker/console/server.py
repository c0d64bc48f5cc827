"""The console process: the application over HTTP, on loopback unless a reverse proxy speaks TLS for it."""

import logging
import signal
import sys
from datetime import UTC, datetime
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from waitress import create_server
from waitress.server import BaseWSGIServer

from worker.accounts import Accounts
from worker.console.app import MAX_BODY_BYTES, make_app
from worker.console.health import with_health
from worker.console.pictures import Pictures
from worker.console.receiving import channel_class
from worker.console.services import Services
from worker.database import Database, migrate
from worker.destination_file import read_destinations
from worker.errors import StartupError
from worker.heartbeats import Process, Pulse, Role, Vitals
from worker.installation_key import InstallationKey
from worker.logs import configure_logging
from worker.reporter import Reporter
from worker.settings import Settings
from worker.sign_in import SignIns
from worker.storage import ResultStore

logger = logging.getLogger(__name__)

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
THREADS = 6
LIMITS = {
    "max_request_header_size": 16 * 1024,
    "max_request_body_size": 2 * MAX_BODY_BYTES,
    "channel_timeout": 60,
    "connection_limit": 200,
    "backlog": 128,
}
PROXY_HEADERS = {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}


def run_console(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ``StartupError``, ``SettingsError``, ``DatabaseError``."""
    configure_logging(settings)
    check_address(settings)
    database = Database.open(settings.effective_database_url)
    try:
        migrate(database)
        sign_ins = SignIns(database, InstallationKey.of(settings), lambda: datetime.now(UTC))
        _serve(make_services(settings, sign_ins))
    finally:
        database.close()


def _serve(services: Services) -> None:
    settings = services.settings
    server = make_server(services)
    address = address_of(settings, server)
    logger.info("the console is at %s", address)
    link = services.accounts.first_link()
    if link is not None:
        logger.warning("nobody can sign in yet: open %s/set-up/%s (it works once, for 24 hours)", address, link)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        sys.exit(0)  # which the server's loop takes as its end

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    pulse = Pulse(Process.this(Role.CONSOLE), lambda: Vitals.now(settings.data_dir))
    reporter = Reporter(services.database, pulse)
    reporter.start()
    try:
        server.run()
    finally:
        server.close()
        reporter.stop()


def check_address(settings: Settings) -> None:
    """Raise ``StartupError`` where passwords would be sent in the clear, or every host name would be refused."""
    if settings.console_host in LOOPBACK:
        return
    if not settings.console_https:
        raise StartupError(
            f"the console does not listen on {settings.console_host} without TLS: put a reverse proxy before it and "
            "set CSPINE_CONSOLE_HTTPS=on, or leave CSPINE_CONSOLE_HOST at 127.0.0.1"
        )
    if not settings.console_names:
        raise StartupError("set CSPINE_CONSOLE_NAMES to the host name that browsers reach the console by")


def make_services(settings: Settings, sign_ins: SignIns) -> Services:
    """What the pages share."""
    results = ResultStore(settings.results_dir)
    destinations = read_destinations(settings)
    return Services(settings, sign_ins.database, results, Accounts(sign_ins), destinations, Pictures(results))


def make_server(services: Services) -> Any:
    """The server, bound; raises ``StartupError`` when the port is taken."""
    settings = services.settings
    proxy: dict[str, Any] = {"clear_untrusted_proxy_headers": True}
    if settings.console_proxy:
        proxy |= {"trusted_proxy": settings.console_proxy, "trusted_proxy_headers": PROXY_HEADERS}
    app = make_app(services)
    sockets: dict[int, Any] = {}
    try:
        server = create_server(
            with_health(app, services),
            map=sockets,
            host=settings.console_host,
            port=settings.console_port,
            threads=THREADS,
            ident=None,
            url_scheme="https" if settings.console_https else "http",
            **LIMITS,
            **proxy,
        )
    except OSError as error:
        raise StartupError(
            f"the console cannot listen on {settings.console_host} port {settings.console_port} ({error.strerror}): "
            "set CSPINE_CONSOLE_PORT to a free one, or CSPINE_CONSOLE=off"
        ) from error
    for listening in sockets.values():  # one for every address of the host's name, and the server's own trigger
        if isinstance(listening, BaseWSGIServer):
            listening.channel_class = channel_class(app, settings)
    return server


def address_of(settings: Settings, server: Any) -> str:
    """Where browsers find the console; with the port that was taken where any was to be."""
    url = settings.console_url
    if settings.console_port or settings.console_https:
        return url
    return f"{urlsplit(url).scheme}://{urlsplit(url).netloc.rpartition(':')[0]}:{server.effective_port}"
