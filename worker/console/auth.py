"""Sign in, sign out, and the link by which somebody chooses a password."""

from flask import flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from worker.accounts import LinkRefused
from worker.console.access import SESSION_SECRET, actor, blueprint, needs, place_to_go, who
from worker.console.services import services
from worker.console_records import Role
from worker.errors import StartupError
from worker.passwords import MINIMUM, PasswordRefused, check_repeated

area = blueprint("auth")

REFUSED = "Name and password do not fit together, or there were too many tries: then wait a quarter of an hour."


@area.get("/sign-in")
@needs(None)
def sign_in() -> ResponseReturnValue:
    """The form."""
    return render_template("sign_in.html", next=place_to_go(request.args.get("next", "")))


@area.post("/sign-in")
@needs(None)
def sign_in_now() -> ResponseReturnValue:
    """Begin a session, under a new secret whatever the browser had before."""
    then = place_to_go(request.form.get("next", ""))
    name, password = request.form.get("name", ""), request.form.get("password", "")
    secret = services().sign_ins.sign_in(name, password, request.remote_addr or "")
    if secret is None:
        return render_template("sign_in.html", next=then, problem=REFUSED), 401
    session.clear()
    session[SESSION_SECRET] = secret
    return redirect(then, 303)


@area.post("/sign-out")
@needs(Role.VIEWER)
def sign_out() -> ResponseReturnValue:
    """End the session."""
    services().sign_ins.sign_out(who(), actor())
    session.clear()
    flash("You are signed out.")
    return redirect(url_for("auth.sign_in"), 303)


@area.get("/set-up/<secret>")
@needs(None)
def set_up(secret: str) -> ResponseReturnValue:
    """The form of a link."""
    try:
        name = services().accounts.link_is_for(secret)
    except LinkRefused:
        return _spent()
    return render_template("set_up.html", name=name, minimum=MINIMUM)


@area.post("/set-up/<secret>")
@needs(None)
def set_up_now(secret: str) -> ResponseReturnValue:
    """Set the password; the link is spent by it."""
    form = request.form
    accounts = services().accounts
    try:
        name = accounts.link_is_for(secret)
        check_repeated(form.get("password", ""), form.get("again", ""))
        accounts.use_link(secret, form.get("name", "").strip().casefold(), form.get("password", ""), actor())
    except LinkRefused:
        return _spent()
    except (PasswordRefused, StartupError) as error:
        return render_template("set_up.html", name=name, minimum=MINIMUM, problem=str(error)), 400
    session.clear()
    flash("Your password is set. Sign in with it.")
    return redirect(url_for("auth.sign_in"), 303)


def _spent() -> ResponseReturnValue:
    sentence = "This link was used already, or has expired. Ask an administrator for a new one: cspine user reset NAME."
    return render_template("error.html", code=404, sentence=sentence), 404
