"""Headers of strangers as values that are safe to copy into results: an allow-list, each value checked (PS3.5 6.2).

A value that does not fit its VR is cleaned where that keeps its meaning (text) and dropped where it does not (dates,
numbers, identifiers). Private attributes, free text and everything not listed here never pass. Headers are plain
values, so that they travel as JSON: the child sanitizes what it has read, the parent what it is told.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence

from dicom_node.allowed_attributes import (
    COMMON_ATTRIBUTES,
    EMPTY_TYPE_2,
    FRAME_ATTRIBUTES,
    IDENTIFIERS,
    NESTED_ATTRIBUTES,
    NUMBER_OF_VALUES,
)
from dicom_node.attributes import ATTRIBUTES
from dicom_node.header import is_uid
from dicom_node.timestamps import is_date, is_time

HeaderValue = Sequence[str | int | float] | Sequence["Header"]
Header = Mapping[str, HeaderValue]
"""The values of attributes by their keywords; those of a sequence are the headers of its items."""

TEXT_LENGTHS = {"SH": 16, "LO": 64, "PN": 64}
MAXIMUM_VALUES = 32
_CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")
_AGE = re.compile(r"[0-9]{3}[DWMY]")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")


def sanitize(
    header: Header, attributes: Iterable[str] = (*COMMON_ATTRIBUTES, *FRAME_ATTRIBUTES)
) -> dict[str, HeaderValue]:
    """The allowed attributes that are valid, and the missing type 2 ones without a value.

    Raises ``TypeError`` for what is no header at all: a child that was taken over could send anything.
    """
    clean: dict[str, HeaderValue] = {}
    for keyword in attributes:
        values = _clean_attribute(keyword, header[keyword]) if keyword in header else None
        if values is not None:
            clean[keyword] = values
        elif keyword in EMPTY_TYPE_2:
            clean[keyword] = []
    if "SharedFunctionalGroupsSequence" in clean and clean.get("SliceThickness") == []:
        del clean["SliceThickness"]  # the frames of a multi-frame instance carry their own
    return clean


def clean_text(text: str, length: int) -> str:
    """One value without control and formatting characters, markup signs or value separators, within ``length``."""
    kept = (_clean_character(character) for character in unicodedata.normalize("NFC", text))
    return " ".join("".join(kept).split())[:length].strip()


def clean_name(text: str) -> str:
    """A person name: three groups of five components, each group within 64 characters (PS3.5 6.2.1)."""
    groups = []
    for group in text.split("=")[:3]:
        components = [clean_text(component, 64) for component in group.split("^")[:5]]
        groups.append("^".join(components)[:64].rstrip("^ "))
    return "=".join(groups).rstrip("=")


def _clean_character(character: str) -> str:
    """The character itself, a space for a control character, nothing for what could be markup."""
    if unicodedata.category(character)[0] == "C":
        return " "
    return {"\\": "/", "<": " ", ">": " ", "\ufffd": "?"}.get(character, character)


def _clean_attribute(keyword: str, values: Sequence[object]) -> HeaderValue | None:
    """The valid values of an attribute, or None."""
    if not isinstance(values, list | tuple):
        raise TypeError("the values of an attribute are no list")
    vr = ATTRIBUTES[keyword].vr
    if vr == "SQ":
        items = [_clean_item(item) for item in values]
        return [item for item in items if item] or None
    values = values[:MAXIMUM_VALUES]
    expected = NUMBER_OF_VALUES.get(keyword, 1)
    if not values or (expected and len(values) != expected):
        return None
    cleaned: list[str | int | float] = []
    for value in values:
        one = _clean_value(keyword, vr, value)
        if one is None:
            return None
        cleaned.append(one)
    return cleaned


def _clean_item(item: object) -> Header:
    """A sequence item with its allowed attributes only."""
    if not isinstance(item, Mapping):
        raise TypeError("an item is no header")
    found = ((keyword, _clean_attribute(keyword, item[keyword])) for keyword in NESTED_ATTRIBUTES if keyword in item)
    return {keyword: values for keyword, values in found if values is not None}


def _clean_value(keyword: str, vr: str, value: object) -> str | int | None:
    """One value that fits its VR, or None."""
    if vr in {"US", "UL"}:
        return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFF else None
    if not isinstance(value, str | int | float):
        return None
    text = str(value).strip(" \0")
    return _identifier(text, TEXT_LENGTHS[vr]) if keyword in IDENTIFIERS else _CLEANERS[vr](text)


def _identifier(text: str, length: int) -> str | None:
    """The identifier if it is valid as it stands, else None."""
    return text if text and len(text) <= length and _clean_whitespace_kept(text) == text else None


def _clean_whitespace_kept(text: str) -> str:
    """The text with each character cleaned but its spaces left as they are."""
    return "".join(_clean_character(character) for character in text)


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str | None]:
    """A cleaner that keeps what matches the whole pattern and drops the rest."""
    return lambda text: text if pattern.fullmatch(text) else None


def _decimal(text: str) -> str | None:
    """A decimal string that stands for a finite number within 16 characters (PS3.5 6.2), or None."""
    if not _DECIMAL.fullmatch(text) or abs(float(text)) > 1e9:
        return None
    return text if len(text) <= 16 else f"{float(text):.8g}"


_CLEANERS: dict[str, Callable[[str], str | None]] = {
    "UI": lambda text: text if is_uid(text) else None,
    "CS": _matching(_CODE_STRING),
    "AS": _matching(_AGE),
    "DA": lambda text: text if is_date(text) else None,
    "TM": lambda text: text if is_time(text) else None,
    "DS": _decimal,
    "IS": _matching(_INTEGER),
    "PN": lambda text: clean_name(text) or None,
    "SH": lambda text: clean_text(text, TEXT_LENGTHS["SH"]) or None,
    "LO": lambda text: clean_text(text, TEXT_LENGTHS["LO"]) or None,
}
