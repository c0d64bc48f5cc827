"""How one setting is read from text and explained: the parsers that ``settings.py`` names in its table (pure)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_SIZE = re.compile(r"(\d+)\s*([KMGT]i?B?|B?)", re.IGNORECASE)
_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")


@dataclass(frozen=True, slots=True)
class Option:
    """How one setting is read and explained.

    ``parse`` turns the text of the variable into the value and raises ValueError with what is expected;
    ``minimum`` and ``maximum`` bound numbers; a ``secret`` may also come from the file named by CSPINE_<NAME>_FILE.
    """

    meaning: str
    parse: Callable[[str], Any]
    minimum: float | None = None
    maximum: float | None = None
    secret: bool = False
    default_text: str | None = None


def size(text: str) -> int:
    """Bytes from ``10GiB``, ``512M`` or a plain number (units are powers of 1024)."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("expected a size such as 512MiB or 4GiB")
    unit = match.group(2).upper()[:1]
    return int(match.group(1)) << 10 * "BKMGT".index(unit or "B")


def number(text: str) -> float:
    """A decimal number that is not negative; NaN and infinity are no settings."""
    if re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,15})?", text) is None:
        raise ValueError("expected a decimal number such as 30 or 2.5")
    return float(text)


def whole(text: str) -> int:
    """A whole number that is not negative."""
    if re.fullmatch(r"[0-9]{1,18}", text) is None:
        raise ValueError("expected a whole number")
    return int(text)


def switch(text: str) -> bool:
    """``on`` or ``off``, in any case."""
    if text.lower() not in {"on", "off"}:
        raise ValueError("expected on or off")
    return text.lower() == "on"


def log_level(text: str) -> str:
    """One of LOG_LEVELS, in any case."""
    if text.upper() not in LOG_LEVELS:
        raise ValueError(f"expected one of {', '.join(LOG_LEVELS)}")
    return text.upper()


def url(*schemes: str) -> Callable[[str], str]:
    """A parser of URLs with one of these schemes; its error never repeats the text, which may hold a password."""

    def parse(text: str) -> str:
        try:
            scheme = urlsplit(text).scheme
        except ValueError:
            scheme = ""
        if scheme not in schemes:
            raise ValueError(f"expected a URL that begins with {', '.join(f'{name}:' for name in schemes)}") from None
        return text

    return parse


def uid(text: str) -> str:
    """A DICOM UID (PS3.5 Section 9.1)."""
    if len(text) > 64 or _UID.fullmatch(text) is None:
        raise ValueError("expected a UID of at most 64 characters, digits and periods (PS3.5 Section 9.1)")
    return text
