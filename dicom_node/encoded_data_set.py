"""The wanted attributes of a data set as its bytes, each decoded only when it is asked for (PS3.5 6.2, 7).

The bytes come from strangers. Values that are none of their VR are missing ones; sequences are walked within bounds.
Used in the reading child, which does not load pydicom for it, and for the answers of peers.
"""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence

from dicom_node.attributes import ATTRIBUTES, VR_BY_TAG
from dicom_node.elements import MAX_DEPTH, Walk
from dicom_node.errors import InvalidInstance
from dicom_node.sanitize import MAXIMUM_VALUES, Header, HeaderValue
from dicom_node.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, is_explicit

Value = str | int | float
RawElement = tuple[bytes, bytes | memoryview]
"""A VR, which is empty in implicit VR, and the encoded value."""

_CHARACTER_SET = 0x00080005
_ITEM_START = b"\xfe\xff\x00\xe0"
_NUMBERS = {
    vr: struct.Struct(f"<{code}")
    for vr, code in zip((b"US", b"SS", b"UL", b"SL", b"UV", b"SV", b"FL", b"FD"), "HhIiQqfd", strict=True)
}
_DEFAULT_TEXTS = frozenset({b"AE", b"AS", b"CS", b"DA", b"DS", b"DT", b"IS", b"TM", b"UI", b"UR"})
_TEXTS = frozenset({b"LO", b"LT", b"PN", b"SH", b"ST", b"UC", b"UT"})
_CODECS = {
    "": "latin_1",
    "ISO_IR 6": "latin_1",
    "ISO 2022 IR 6": "latin_1",
    "ISO_IR 100": "latin_1",
    "ISO 2022 IR 100": "latin_1",
    "ISO_IR 192": "utf_8",
}
"""Python's codecs for the usual character sets, as pydicom has them; the others are left to it (PS3.3 C.12.1.1.2)."""
_SPELLING = re.compile(r"\AISO(?:.(2022).IR.|.IR)")


class EncodedDataSet:
    """The wanted elements of a data set or item by tag."""

    __slots__ = ("_character_sets", "_elements", "_explicit")

    def __init__(
        self, elements: Mapping[int, RawElement], *, explicit: bool, character_sets: Sequence[str] = ("",)
    ) -> None:
        self._elements = elements
        self._explicit = explicit
        self._character_sets = character_sets
        if _CHARACTER_SET in elements:
            named = self.values("SpecificCharacterSet")
            self._character_sets = [str(value).strip(" \0") for value in named or ("",)]

    def __contains__(self, keyword: str) -> bool:
        return keyword in ATTRIBUTES and ATTRIBUTES[keyword].tag in self._elements

    def values(self, keyword: str) -> tuple[Value, ...] | None:
        """The values of an attribute, one at least; None when it is missing or its bytes are none of its VR."""
        tag = ATTRIBUTES[keyword].tag
        element = self._elements.get(tag)
        if element is None:
            return None
        vr = _known_vr(tag, *element)
        raw = bytes(element[1])
        if vr in _DEFAULT_TEXTS:
            return tuple(raw.decode("latin_1").rstrip(" \0").split("\\"))
        if vr in _TEXTS:
            return tuple(_decoded(raw, self._character_sets).rstrip(" \0").split("\\"))
        number = _NUMBERS.get(vr)
        if number is None or not raw or len(raw) % number.size:
            return None
        return tuple(value for (value,) in number.iter_unpack(raw))

    def integer(self, keyword: str) -> int | None:
        """The attribute as its only value, a binary integer; None when it is something else."""
        values = self.values(keyword)
        return values[0] if values is not None and len(values) == 1 and isinstance(values[0], int) else None

    def items(self, keyword: str) -> list["EncodedDataSet"]:
        """The items of a sequence; none when it is missing, something else or malformed."""
        try:
            return list(self._items(ATTRIBUTES[keyword].tag))
        except InvalidInstance:
            return []

    def first_items(self) -> Iterator["EncodedDataSet"]:
        """The first item of every sequence, in the order of their tags; malformed ones are passed over."""
        for tag in sorted(self._elements):
            try:
                yield from (item for item, _ in zip(self._items(tag), range(1), strict=False))
            except InvalidInstance:
                continue

    def header(self, keywords: Sequence[str], nested: Sequence[str] = (), depth: int = 0) -> Header:
        """These attributes as plain values, and those named by ``nested`` inside of their sequences."""
        found: dict[str, HeaderValue] = {}
        for keyword in keywords:
            if keyword not in self:
                continue
            if ATTRIBUTES[keyword].vr != "SQ":
                found[keyword] = list((self.values(keyword) or ())[:MAXIMUM_VALUES])
            elif depth < MAX_DEPTH:
                found[keyword] = [item.header(nested, nested, depth + 1) for item in self.items(keyword)]
        return found

    def _items(self, tag: int) -> Iterator["EncodedDataSet"]:
        """The items of the element with this tag, walked one by one; InvalidInstance when they are malformed."""
        vr, raw = self._elements.get(tag, (b"", b""))
        if _known_vr(tag, vr, raw) != b"SQ":
            return
        explicit = self._explicit and vr != b"UN"  # PS3.5 6.2.2
        syntax = EXPLICIT_VR_LITTLE_ENDIAN if explicit else IMPLICIT_VR_LITTLE_ENDIAN
        view = memoryview(raw)
        for start, end in Walk(view, syntax).items():
            yield encoded_data_set(view[start:end], syntax, self._character_sets)


def encoded_data_set(view: memoryview, syntax: str, character_sets: Sequence[str] = ("",)) -> EncodedDataSet:
    """The whole data set that ``view`` holds in this transfer syntax, or an item; InvalidInstance when malformed."""
    elements = {
        element.tag: (element.vr, view[element.start : element.end])
        for element in Walk(view, syntax).elements(whole=True)
    }
    return EncodedDataSet(elements, explicit=is_explicit(syntax), character_sets=character_sets)


def _known_vr(tag: int, vr: bytes, raw: bytes | memoryview) -> bytes:
    """The VR itself; where it is not said, that of the table, and SQ for what holds an item."""
    if vr and vr != b"UN":
        return vr
    if tag in VR_BY_TAG:
        return VR_BY_TAG[tag]
    return b"SQ" if raw[:4] == _ITEM_START and not tag >> 16 & 1 else b"UN"


def _decoded(raw: bytes, character_sets: Sequence[str]) -> str:
    """Text in its character sets; what cannot be decoded is replaced."""
    escapes = b"\x1b" in raw and any(name.startswith("ISO 2022") for name in character_sets)
    codec = "ascii" if raw.isascii() else _CODECS.get(character_sets[0])
    if codec is not None and not escapes:
        return raw.decode(codec, "replace")
    from pydicom.charset import convert_encodings, decode_bytes, python_encoding  # noqa: PLC0415  (few pay for it)
    from pydicom.valuerep import TEXT_VR_DELIMS  # noqa: PLC0415

    spelled = [_SPELLING.sub(_as_defined, name) for name in character_sets[:MAXIMUM_VALUES]]
    known = [name if name in python_encoding else "ISO_IR 6" for name in spelled]  # pydicom tries any codec of Python
    return decode_bytes(raw, convert_encodings(known), TEXT_VR_DELIMS)


def _as_defined(match: re.Match[str]) -> str:
    """The beginning of a defined term that was written with other separators, as scanners do."""
    return "ISO_IR" if match[1] is None else "ISO 2022 IR "
