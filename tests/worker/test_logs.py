"""worker.logs: JSON lines with allowed fields only; nothing of a patient can come out by way of an exception."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from worker.logs import configure_logging
from worker.settings import Settings


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in list(logging.Logger.manager.loggerDict)}
    text = io.StringIO()
    configure_logging(Settings(), text)
    yield text
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("pynetdicom", "pydicom", "highdicom", "alembic", "sqlalchemy", "kombu", "amqp", "PIL"):
        logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))


def lines(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_line_of_json(stream: io.StringIO):
    logging.getLogger("worker.test").info("took %d\nlines", 2, extra={"study_id": 7, "seconds": 1.5})
    (line,) = lines(stream)
    assert line["message"] == "took 2\nlines"
    assert (line["level"], line["logger"], line["study_id"], line["seconds"]) == ("INFO", "worker.test", 7, 1.5)
    assert line["at"].endswith("+00:00")


def test_a_field_that_is_not_allowed_is_dropped_by_name(stream: io.StringIO):
    logging.getLogger("worker.test").info("x", extra={"patient_name": "CANARY^NAME", "study_id": 1})
    assert "CANARY" not in stream.getvalue()
    assert lines(stream)[0]["dropped"] == ["patient_name"]


def test_an_exception_is_logged_without_its_text(stream: io.StringIO):
    try:
        {}["PatientName CANARY^NAME"]
    except KeyError:
        logging.getLogger("worker.test").exception("it failed", extra={"study_id": 3})
    assert "CANARY" not in stream.getvalue()
    (line,) = lines(stream)
    assert line["exception"]["type"] == "builtins.KeyError"
    assert "test_logs.py" in line["exception"]["at"][-1]


@pytest.mark.parametrize("name", ["pynetdicom.acse", "pydicom", "pynetdicom.events"])
def test_the_dicom_libraries_are_quiet(stream: io.StringIO, name: str):
    logging.getLogger(name).error("PatientName CANARY^NAME")
    assert stream.getvalue() == ""


def test_configuring_again_does_not_double_the_lines(stream: io.StringIO):
    configure_logging(Settings(log_level="WARNING"), stream)
    logging.getLogger("worker.test").warning("once")
    logging.getLogger("worker.test").info("not shown")
    assert len(lines(stream)) == 1
