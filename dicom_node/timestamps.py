"""Dates and times as DICOM writes them (PS3.5 6.2, VR DA and TM)."""

import re
from datetime import date

_TIME = re.compile(r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:[0-5][0-9](?:\.[0-9]{1,6})?)?)?")


def is_date(text: str) -> bool:
    """Return whether the text is an existing day as YYYYMMDD."""
    if len(text) != 8 or not text.isascii() or not text.isdigit():
        return False
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True


def is_time(text: str) -> bool:
    """Return whether the text is HH, HHMM, HHMMSS or HHMMSS.FFFFFF."""
    return _TIME.fullmatch(text) is not None
