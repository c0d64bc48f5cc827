"""Structured logs: one JSON object a line on standard error, keyed by internal ids, with an allow-list of fields.

No message or field may hold a patient's identity. Texts of foreign exceptions are left out for that reason: they may
quote a data set. Only the type and the code lines of the traceback are written.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

from worker.settings import Settings

FIELDS = frozenset(
    {
        "association_id",
        "attempt",
        "calling_ae_title",
        "cause",
        "code",
        "count",
        "generation",
        "instances",
        "peer",
        "port",
        "process",
        "reason",
        "seconds",
        "series_id",
        "size_bytes",
        "sop_class_uid",
        "stage",
        "state",
        "status",
        "study_id",
        "transfer_syntax_uid",
    }
)
"""The fields that ``extra`` may carry; others are dropped and named under ``dropped``."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_QUIET = {
    "pynetdicom": logging.CRITICAL,  # quotes data sets and peers' words
    "pydicom": logging.CRITICAL,  # quotes values
    "highdicom": logging.ERROR,
    "alembic": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "kombu": logging.WARNING,
    "amqp": logging.WARNING,
    "PIL": logging.WARNING,
}


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time, level, logger, message and the allowed fields of ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line break inside."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process_id": record.process,
        }
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        line |= {name: value for name, value in extra.items() if name in FIELDS and value is not None}
        if record.name.startswith(
            ("worker", "dicom_node", "model")
        ):  # ours: tell the author; others add what they like
            dropped = sorted(extra.keys() - FIELDS)
            line |= {"dropped": dropped} if dropped else {}
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = _exception(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Send every logger's records to ``stream`` (standard error) as JSON lines; replaces what was configured before."""
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.log_level)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)


def _exception(info: Any) -> dict[str, Any]:
    """The type of the exception and the lines of code it came through, never its text."""
    kind, _, trace = info
    frames = [f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in traceback.extract_tb(trace)]
    return {"type": f"{kind.__module__}.{kind.__qualname__}", "at": frames[-12:]}
