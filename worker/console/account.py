"""What users set for themselves: their password, and whether lists name patients."""

from flask import flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from worker.console.access import SESSION_SECRET, actor, blueprint, needs, who
from worker.console.answers import Refused
from worker.console.services import services
from worker.console_records import Role
from worker.passwords import MINIMUM, PasswordRefused, check_repeated

area = blueprint("account", "/account")

NAMES_IN_LISTS = "names"
"""Whether the lists of this browser name patients."""


@area.get("")
@needs(Role.VIEWER)
def show() -> ResponseReturnValue:
    """The page."""
    return render_template("account.html", minimum=MINIMUM, names=names_in_lists())


@area.post("/password")
@needs(Role.VIEWER)
def change_password() -> ResponseReturnValue:
    """Set another password; every other session ends."""
    if who().session_id is None:
        raise Refused("a password is changed by who is signed in, not by a token")
    form = request.form
    try:
        check_repeated(form.get("password", ""), form.get("again", ""))
        secret = services().sign_ins.change_password(who(), form.get("old", ""), form.get("password", ""), actor())
    except PasswordRefused as error:
        return _again(str(error))
    if secret is None:
        return _again("The old password is not right, or was wrong too often.")
    session[SESSION_SECRET] = secret
    flash("Your password is changed. Other browsers are signed out.")
    return redirect(url_for("account.show"), 303)


@area.post("/names")
@needs(Role.VIEWER, identity=True)
def show_names() -> ResponseReturnValue:
    """Let lists name patients, or not."""
    session[NAMES_IN_LISTS] = request.form.get("names") == "on"
    return redirect(url_for("studies.list_studies"), 303)


def names_in_lists() -> bool:
    """Whether lists name patients for who is signed in."""
    return who().sees_identity and bool(session.get(NAMES_IN_LISTS))


def _again(problem: str) -> ResponseReturnValue:
    return render_template("account.html", minimum=MINIMUM, names=names_in_lists(), problem=problem), 400
