"""Headers of strangers as data sets that are safe to copy into results: an allow-list, each value checked (PS3.5 6.2).

A value that does not fit its VR is cleaned where that keeps its meaning (text) and dropped where it does not (dates,
numbers, identifiers). Private attributes, free text and everything not listed here never pass.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.multival import MultiValue

from dicom_node.allowed_attributes import (
    COMMON_ATTRIBUTES,
    EMPTY_TYPE_2,
    FRAME_ATTRIBUTES,
    IDENTIFIERS,
    NESTED_ATTRIBUTES,
    NUMBER_OF_VALUES,
)
from dicom_node.header import is_uid
from dicom_node.malformed import elements_of, value_of
from dicom_node.timestamps import is_date, is_time

TEXT_LENGTHS = {"SH": 16, "LO": 64, "PN": 64}
MAXIMUM_VALUES = 32
_CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")
_AGE = re.compile(r"[0-9]{3}[DWMY]")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")


def sanitize(header: Dataset, attributes: Iterable[str] = (*COMMON_ATTRIBUTES, *FRAME_ATTRIBUTES)) -> Dataset:
    """A new data set with the allowed attributes that are valid, text in UTF-8, and the missing type 2 ones empty."""
    clean = Dataset()
    clean.SpecificCharacterSet = "ISO_IR 192"
    wanted = frozenset(attributes)
    for keyword in wanted:
        element = _clean_element(header, keyword)
        if element is not None:
            clean.add(element)
    for keyword in EMPTY_TYPE_2:
        if keyword in wanted and keyword not in clean:
            clean.add(DataElement(tag_for_keyword(keyword) or 0, dictionary_VR(keyword), None))
    if _lacks_thickness(clean):
        del clean.SliceThickness
    return clean


def _lacks_thickness(clean: Dataset) -> bool:
    """Whether the top level has an empty Slice Thickness although frames carry their own (multi-frame)."""
    return "SharedFunctionalGroupsSequence" in clean and clean.get("SliceThickness", "") is None


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


def _clean_element(header: Dataset, keyword: str) -> DataElement | None:
    """The element with its valid values, or None."""
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in header:
        return None
    vr = dictionary_VR(keyword)
    vr = "US" if vr == "US or SS" else vr
    value = value_of(header, keyword)
    if vr == "SQ":
        items = [sanitize_item(item) for item in value or ()]
        return DataElement(tag, vr, [item for item in items if len(item)]) if items else None
    values = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
    cleaned = _clean_values(keyword, vr, values[:MAXIMUM_VALUES])
    if cleaned is None:
        return None
    return DataElement(tag, vr, cleaned[0] if len(cleaned) == 1 else cleaned)


def sanitize_item(item: Dataset) -> Dataset:
    """A sequence item with its allowed attributes only."""
    clean = Dataset()
    for element in elements_of(item):
        if element.keyword in NESTED_ATTRIBUTES:
            kept = _clean_element(item, element.keyword)
            if kept is not None:
                clean.add(kept)
    return clean


def _clean_values(keyword: str, vr: str, values: list[object]) -> list[object] | None:
    """All values checked by their VR; None when the number of values is wrong or one of them cannot be kept."""
    expected = NUMBER_OF_VALUES.get(keyword, 1)
    if expected and len(values) != expected:
        return None
    cleaned: list[object]
    if keyword in IDENTIFIERS:
        cleaned = [_identifier(str(value or ""), TEXT_LENGTHS[vr]) for value in values]
    else:
        cleaned = [_clean_value(vr, value) for value in values]
    return None if any(value is None for value in cleaned) else cleaned


def _identifier(text: str, length: int) -> str | None:
    """The identifier if it is valid as it stands, else None."""
    stripped = text.strip(" \0")
    clean = _clean_whitespace_kept(stripped)
    return stripped if stripped and clean == stripped and len(stripped) <= length else None


def _clean_whitespace_kept(text: str) -> str:
    """The text with each character cleaned but its spaces left as they are."""
    return "".join(_clean_character(character) for character in text)


def _clean_value(vr: str, value: object) -> object | None:
    """One value that fits its VR, or None."""
    if value is None:
        return None
    if vr in {"US", "UL"}:
        return value if isinstance(value, int) and 0 <= value <= 0xFFFF else None
    return _CLEANERS[vr](str(value).strip(" \0")) if vr in _CLEANERS else None


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
