"""How values are written on pages: times, durations, sizes, probabilities."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any

from flask import Flask

_STEPS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def when(at: datetime | None) -> str:
    """A time on the clock of the site."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float | None) -> str:
    """Seconds in the two largest units that matter."""
    if seconds is None:
        return ""
    for length, unit in _STEPS:
        if seconds >= length:
            rest, smaller = seconds % length, dict(_smaller())[unit]
            count = int(rest // smaller[0])
            return f"{int(seconds // length)} {unit}" + (f" {count} {smaller[1]}" if count else "")
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def percent(probability: float | None) -> str:
    """A probability."""
    return "" if probability is None else f"{100 * probability:.1f} %"


def size(count: int) -> str:
    """Bytes."""
    for unit, name in ((1024**3, "GiB"), (1024**2, "MiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1024:.0f} KiB"


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested values as pairs of a dotted name and a value, in their order."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def add_formats(app: Flask) -> None:
    """Make them known to the templates."""
    for function in (when, duration, percent, size, flat):
        app.jinja_env.filters[function.__name__] = function
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def _smaller() -> Iterator[tuple[str, tuple[float, str]]]:
    """For each unit the next smaller one."""
    units = [*_STEPS, (1.0, "s")]
    for (_, unit), following in pairwise(units):
        yield unit, following
