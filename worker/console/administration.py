"""For administrators: who may use the console, and what everybody did."""

from flask import request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from worker import audit
from worker.console.access import blueprint, needs
from worker.console.answers import answer
from worker.console.services import services
from worker.console_records import AuditEntry, Role

area = blueprint("administration")

PAGE_ROWS = 100


@area.get("/users")
@needs(Role.ADMIN)
def users() -> ResponseReturnValue:
    """The users."""
    lines = services().accounts.lines()
    return answer("users.html", lambda: {"users": [line.as_json() for line in lines]}, users=lines)


@area.get("/audit")
@needs(Role.ADMIN)
def trail() -> ResponseReturnValue:
    """The audit trail, the newest first."""
    text, by = request.args.get("before", ""), request.args.get("by") or None
    if text and not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise BadRequest
    with services().database.reading() as session:
        found = audit.entries(session, int(text) if text else None, PAGE_ROWS + 1, by)
    rows = found[:PAGE_ROWS]
    older = url_for("administration.trail", before=rows[-1].id, by=by) if len(found) > PAGE_ROWS else None
    as_json = {"entries": [_as_json(row) for row in rows], "older": older}
    return answer("audit.html", lambda: as_json, rows=rows, older=older, by=by or "")


def _as_json(row: AuditEntry) -> dict[str, object]:
    return {
        "at": row.at.isoformat(),
        "by": row.by,
        "act": row.act.value,
        "study": row.study_id,
        "address": row.address,
        "detail": row.detail,
    }
