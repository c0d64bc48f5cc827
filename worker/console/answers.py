"""Answers as a page or as JSON, whichever is asked for, and what is said when something cannot be done."""

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response, flash, jsonify, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException, SecurityError, Unauthorized

Json = Mapping[str, object]

SENTENCES = {
    400: "The request cannot be understood.",
    403: "You may not do this. Ask an administrator for the role that it needs.",
    404: "There is nothing here.",
    405: "This cannot be done here.",
    409: "This cannot be done now.",
    413: "The request is too large.",
    500: "Something went wrong. Look in the log, and report it.",
    503: "The database does not answer. Try again in a moment; run `cspine doctor`.",
}


class Refused(HTTPException):
    """What was asked for cannot be done now; the description says why."""

    code = 409


def wants_json() -> bool:
    """Whether the answer is for a program."""
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json"


def answer(template: str, as_json: Callable[[], Json], **context: Any) -> ResponseReturnValue:
    """The page, or the same in JSON."""
    return jsonify(as_json()) if wants_json() else render_template(template, **context)


def done(sentence: str, then: str, **values: object) -> ResponseReturnValue:
    """What was asked for is done: say so on the page ``then``."""
    if wants_json():
        return jsonify({"done": sentence, **values})
    flash(sentence)
    return redirect(then, 303)


def explain_errors(app: Flask) -> None:
    """Answer errors in words."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(SQLAlchemyError, _database_error)


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None:  # an answer that is no error
        return error.response
    if isinstance(error, SecurityError):  # no address can be made for a host that is not ours
        return Response("This is not the name of this console: set CSPINE_CONSOLE_NAMES.\n", 400, mimetype="text/plain")
    code = error.code or 500
    told = isinstance(error, Refused | Unauthorized) and error.description
    sentence = str(told or SENTENCES.get(code) or error.name)
    if isinstance(error, CSRFError):
        sentence = "The form is out of date. Go back, load the page again, and repeat it."
    headers = {"WWW-Authenticate": "Bearer"} if code == 401 else {}
    return _error(code, sentence), code, headers


def _database_error(error: SQLAlchemyError) -> ResponseReturnValue:
    del error  # its text could quote values
    return _error(503, SENTENCES[503]), 503


def _error(code: int, sentence: str) -> Any:
    if wants_json():
        return jsonify({"error": sentence})
    return render_template("error.html", code=code, sentence=sentence)
