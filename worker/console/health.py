"""``/healthz``, ``/readyz`` and ``/metrics`` beside the pages, for programs of the site that have no user."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask

from worker.console.services import Services
from worker.health import PATHS, HealthPages, health_pages
from worker.heartbeats import Role

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

METRICS = "/metrics"


def with_health(app: Flask, services: Services) -> "WSGIApplication":
    """The application with the pages of health in front."""
    pages = health_pages(services.settings, Role.CONSOLE, services.database, lambda: True)
    return HealthInFront(app, pages, services)


class HealthInFront:
    """Answers what is about health, and leaves the rest to the application.

    Behind a reverse proxy ``/metrics`` needs a user's token: the AE titles of the site are in it.
    """

    def __init__(self, app: Flask, pages: HealthPages, services: Services) -> None:
        self._app = app
        self._pages = pages
        self._services = services

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        path = environ.get("PATH_INFO", "")
        if path not in PATHS:
            return self._app(environ, start_response)
        if path == METRICS and self._services.settings.console_https and not self._is_let_in(environ):
            start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Length", "0")])
            return []
        return self._pages(environ, start_response)

    def _is_let_in(self, environ: "WSGIEnvironment") -> bool:
        scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        return scheme.lower() == "bearer" and self._services.sign_ins.of_token(token.strip()) is not None
