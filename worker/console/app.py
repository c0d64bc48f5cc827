"""The Flask application of the console: its areas, its bounds, its cookies."""

from flask import Flask, g
from flask.json.provider import DefaultJSONProvider

from worker.console import (
    access,
    account,
    actions,
    administration,
    answers,
    auth,
    downloads,
    formats,
    headers,
    queues,
    receiving,
    results,
    uploads,
)
from worker.console import studies as study_pages
from worker.console.services import EXTENSION, Services
from worker.settings import Settings

MAX_BODY_BYTES = 64 * 1024
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
NOTICE = "Not a medical device. Not for diagnosis."

PAGES = (
    ("studies.list_studies", "Studies"),
    ("uploads.start", "Upload"),
    ("queues.show", "Queues and workers"),
    ("queues.failed", "Failed"),
    ("administration.users", "Users"),
    ("administration.trail", "Audit"),
)
"""The pages that every page leads to, where somebody may see them."""

AREAS = (
    auth.area,
    account.area,
    study_pages.area,
    actions.area,
    downloads.area,
    results.area,
    uploads.area,
    queues.area,
    administration.area,
)


def make_app(services: Services) -> Flask:
    """The application over these services."""
    settings = services.settings
    app = Flask("worker.console")
    app.request_class = receiving.request_class(settings)
    app.config.update(
        SECRET_KEY=services.key.derived("cookies"),
        SESSION_COOKIE_NAME="__Host-cspine" if settings.console_https else "cspine",
        SESSION_COOKIE_SECURE=settings.console_https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_REFRESH_EACH_REQUEST=False,
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        MAX_FORM_MEMORY_SIZE=MAX_BODY_BYTES,
        MAX_FORM_PARTS=100,
        TRUSTED_HOSTS=sorted(trusted_hosts(settings)),
    )
    if isinstance(app.json, DefaultJSONProvider):
        app.json.sort_keys = False
    app.extensions[EXTENSION] = services
    app.context_processor(lambda: {"notice": NOTICE, "main_pages": main_pages(app)})
    headers.secure(app, https=settings.console_https)
    answers.explain_errors(app)
    access.guard(app)
    formats.add_formats(app)
    for area in AREAS:
        app.register_blueprint(area)
    return app


def main_pages(app: Flask) -> list[tuple[str, str]]:
    """The pages that who is signed in may see."""
    if g.get("who") is None:
        return []
    needed = ((endpoint, text, access.need_of(app, endpoint)) for endpoint, text in PAGES)
    return [(endpoint, text) for endpoint, text, need in needed if need is not None and need.met_by(g.who)]


def trusted_hosts(settings: Settings) -> frozenset[str]:
    """The host names that requests may be for: a page of another name must not speak to the console."""
    names = settings.console_names or {settings.console_host}
    return frozenset(names) | LOOPBACK
