"""Who may do what: every view names its role, and a view that names none is shut. Decided before a view is called."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Blueprint, Flask, current_app, flash, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFProtect
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import Forbidden, Unauthorized

from worker.audit import Actor
from worker.console.answers import wants_json
from worker.console.services import services
from worker.console_records import Role
from worker.sign_in import SignedIn

SESSION_SECRET = "secret"  # noqa: S105  (the name under which the cookie keeps it)
LOOKS_BY_ITSELF = "X-Looks-By-Itself"
"""The header of requests that a page makes by itself to stay up to date."""

csrf = CSRFProtect()
View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Need:
    """What a view asks for: a role (None: nobody has to be signed in), and the right to see identity."""

    role: Role | None
    identity: bool = False

    def met_by(self, who: SignedIn) -> bool:
        """Whether somebody who is signed in may call the view."""
        return (self.role is None or who.role.covers(self.role)) and (who.sees_identity or not self.identity)


def needs(role: Role | None, *, identity: bool = False) -> Callable[[View], View]:
    """Say what a view asks for."""

    def decorate(view: View) -> View:
        setattr(view, "need", Need(role, identity))  # noqa: B010  (functions have no such attribute by type)
        return view

    return decorate


def need_of(app: Flask, endpoint: str) -> Need | None:
    """What a view asks for; files of the pages are for everybody."""
    if endpoint == "static":
        return Need(None)
    need: Need | None = getattr(app.view_functions[endpoint], "need", None)
    return need


def who() -> SignedIn:
    """Who is signed in; to be asked only in views that need a role."""
    found: SignedIn = g.who
    return found


def actor() -> Actor:
    """Who acts, for the audit trail."""
    return Actor(g.who.name if g.who is not None else "(link)", request.remote_addr or "")


def guard(app: Flask) -> None:
    """Put the guard before every view."""
    app.config["WTF_CSRF_CHECK_DEFAULT"] = False  # asked below, where it is known what let the request in
    app.config["WTF_CSRF_TIME_LIMIT"] = None  # as long as the session
    csrf.init_app(app)
    app.before_request(admit)


def admit() -> ResponseReturnValue | None:
    """Find out who asks, and let the request pass, or answer it: sign in first, or not allowed."""
    g.who = None
    if request.endpoint is None:
        return None  # there is no such page, which the answer says
    need = need_of(current_app, request.endpoint)
    if need is None:
        raise Forbidden
    if request.endpoint == "static":
        return None
    g.who = _found()
    if _bearer() is None:
        csrf.protect()
    elif g.who is None:
        raise Unauthorized("the token is not, or no longer, valid")
    if need.role is None:
        return None
    if g.who is None:
        return _sign_in_first()
    if not need.met_by(g.who):
        raise Forbidden
    return None


def could_call(endpoint: str) -> bool:
    """Whether who sends a request may call a view, by the head of the request alone; ``False`` without a database."""
    try:
        found = _found()
    except SQLAlchemyError:
        return False
    need = need_of(current_app, endpoint)
    return found is not None and need is not None and need.met_by(found)


def place_to_go(text: str) -> str:
    """A path of this console that somebody wanted before they signed in; the list of studies for anything else."""
    parts = urlsplit(text)
    is_path = text.startswith("/") and not text.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return text if is_path and text.isprintable() else url_for("studies.list_studies")


def blueprint(name: str, path: str = "") -> Blueprint:
    """A blueprint of one area."""
    return Blueprint(name, "worker.console", url_prefix=path or None)


def _found() -> SignedIn | None:
    """Who sends the request, by a token or by a cookie."""
    token = _bearer()
    return _of_cookie() if token is None else services().sign_ins.of_token(token)


def _bearer() -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _of_cookie() -> SignedIn | None:
    secret = session.get(SESSION_SECRET)
    if not isinstance(secret, str):
        return None
    by_itself = LOOKS_BY_ITSELF in request.headers
    found = services().sign_ins.of_session(secret, looks_by_itself=by_itself)
    if found is None and not by_itself:  # else the page is loaded again, and told then
        session.clear()
        flash("You were signed out. Sign in again.")
    return found


def _sign_in_first() -> ResponseReturnValue:
    if wants_json() or LOOKS_BY_ITSELF in request.headers:
        raise Unauthorized("sign in, or send a token: Authorization: Bearer ...")
    wanted = request.full_path.rstrip("?") if request.method == "GET" else ""
    return redirect(url_for("auth.sign_in", next=wanted or None), 303)
