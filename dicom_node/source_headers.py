"""The source headers as highdicom can take them: type 2 attributes present, values valid (PS3.5 6).

The reading child has sanitized them already; this is the last line, so that no text of a stranger can stop a result.
"""

import re
import warnings
from collections.abc import Iterator, Mapping

from pydicom import DataElement, Dataset
from pydicom.charset import convert_encodings, decode_bytes, encode_string, python_encoding
from pydicom.config import RAISE
from pydicom.datadict import tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.valuerep import TEXT_VR_DELIMS, validate_value

_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
_NAMES = ("PatientName", "ReferringPhysicianName")
_TEXT_VRS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UT"})
_FREE_TEXT_VRS = frozenset({"LT", "ST", "UT"})
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")
"""Control characters, and the backslash, which separates values."""
_DEFAULT_REPERTOIRE = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
_SEXES = frozenset({"M", "F", "O", ""})


def usable_header(header: Dataset) -> Dataset:
    """A copy of ``header`` in which every text is valid: others are left out, or empty where type 2 asks for them.

    Specific Character Set stays the source's where it can carry the texts, else it becomes UTF-8.
    """
    usable = Dataset()
    for element in header:
        if element.VR not in _TEXT_VRS or _is_valid(element):
            usable.add(element)
    missing = {keyword: "" for keyword in _TYPE_2 if keyword not in usable}
    if usable.get("PatientSex") not in _SEXES:
        missing["PatientSex"] = ""
    if not _can_carry(usable):
        missing["SpecificCharacterSet"] = "ISO_IR 192"
    return with_values(usable, missing)


def nameless(header: Dataset) -> Dataset:
    """A copy of ``header`` without names of people, for calls that might write them into a warning."""
    return with_values(header, dict.fromkeys(_NAMES, ""))


def with_values(header: Dataset, values: Mapping[str, object]) -> Dataset:
    """A shallow copy of ``header`` with some attributes replaced; elements are shared: never assign to them."""
    replaced = {tag_for_keyword(keyword) for keyword in values}
    copy = Dataset()
    for element in header:
        if element.tag not in replaced:
            copy.add(element)
    for keyword, value in values.items():
        setattr(copy, keyword, value)
    return copy


def _is_valid(element: DataElement) -> bool:
    """Whether every value of a text element is valid for its VR and free of control characters and backslashes."""
    values = element.value if isinstance(element.value, MultiValue) else [element.value]
    for value in values:
        text = "" if value is None else str(value)
        if element.VR not in _FREE_TEXT_VRS and _FORBIDDEN.search(text):
            return False
        try:
            validate_value(element.VR, text, RAISE)
        except ValueError:
            return False
    return True


def _texts(header: Dataset) -> Iterator[str]:
    """Every text of the header, also those in sequences."""
    for element in header.iterall():
        if element.VR in {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}:
            values = element.value if isinstance(element.value, MultiValue) else [element.value]
            yield from (str(value) for value in values if value)


def _can_carry(header: Dataset) -> bool:
    """Whether the header's Specific Character Set can encode its texts; plain ASCII fits into every one."""
    texts = [text for text in _texts(header) if not text.isascii()]
    if not texts:
        return True
    terms = header.get("SpecificCharacterSet")
    if not terms:
        return False
    return all(_round_trips(text, list(terms) if isinstance(terms, MultiValue) else [terms]) for text in texts)


def _round_trips(text: str, terms: list[str]) -> bool:
    """Whether pydicom, writing ``text`` in the character sets ``terms``, makes bytes that read the same."""
    if not all(term in python_encoding for term in terms):
        return False
    codecs = ["ascii" if term in _DEFAULT_REPERTOIRE else python_encoding[term] for term in terms]
    if not all(any(_encodable(character, codec) for codec in codecs) for character in text):
        return False  # asked first, because pydicom would warn and log
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            encodings = convert_encodings(terms)
            return decode_bytes(encode_string(text, encodings), encodings, TEXT_VR_DELIMS) == text
        except (UnicodeError, LookupError, UserWarning):
            return False


def _encodable(character: str, codec: str) -> bool:
    """Whether a Python codec has the character."""
    try:
        character.encode(codec)
    except UnicodeError:
        return False
    return True
