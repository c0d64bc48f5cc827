"""A bounded walk over the element headers of an encoded data set (PS3.5 7): lengths only, no value ever decoded.

The bytes come from strangers. Nothing here allocates by a length that they claim; nesting and the number of elements
visited are bounded.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from dicom_node.errors import InvalidInstance
from dicom_node.transfer_syntaxes import STORAGE_SYNTAXES, is_explicit

MAX_ELEMENTS = 200_000
"""Elements and items visited before a data set is refused; an enhanced CT of 2,000 frames has about 80,000."""
MAX_DEPTH = 16
"""Nesting of undefined-length sequences that is followed."""
PIXEL_DATA = 0x7FE00010

_UNDEFINED = 0xFFFFFFFF
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_EXPLICIT = struct.Struct("<HH2sH")
_LENGTH = struct.Struct("<I")
_DELIMITER_BYTES = 8


class Element(NamedTuple):
    """A top-level element: ``start`` and ``end`` bound its value; ``encapsulated`` says its length was undefined.

    ``vr`` is empty in implicit VR.
    """

    tag: int
    start: int
    end: int
    encapsulated: bool
    vr: bytes


class Truncated(InvalidInstance):
    """The bytes end inside an element."""

    def __init__(self) -> None:
        super().__init__("The data set is truncated")


class Walk:
    """One pass over the element headers of ``data``; counts what it visits and refuses to visit too much."""

    def __init__(self, data: memoryview, transfer_syntax_uid: str) -> None:
        if transfer_syntax_uid not in STORAGE_SYNTAXES:
            raise InvalidInstance("The transfer syntax is not supported")
        self._data = data
        self._end = len(data)
        self._explicit = is_explicit(transfer_syntax_uid)
        self._visited = 0

    def elements(self, *, whole: bool) -> Iterator[Element]:
        """Yield the top-level elements; without ``whole`` a cut last element ends the walk instead of raising."""
        position = 0
        while position < self._end:
            try:
                tag, vr, length, start = self._element_header(position, explicit=self._explicit)
                position = self._value_end(tag, vr, length, start, depth=0)
            except Truncated:
                if whole:
                    raise
                return
            yield Element(tag, start, position, length == _UNDEFINED, vr)

    def items(self) -> Iterator[tuple[int, int]]:
        """Yield where the content of each item starts and ends when ``data`` is the value of a sequence (PS3.5 7.5)."""
        position = 0
        while position < self._end:
            tag, _, length, start = self._element_header(position, explicit=False)
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise InvalidInstance("A sequence holds something else than items")
            if length == _UNDEFINED:
                position = self._item_end(start, explicit=self._explicit, depth=1)
                yield start, position - _DELIMITER_BYTES
                continue
            position = start + length
            if position > self._end:
                raise Truncated
            yield start, position

    def _element_header(self, position: int, *, explicit: bool) -> tuple[int, bytes, int, int]:
        """Return (tag, VR or b"", length, start of the value) of the element at ``position`` (PS3.5 7.1.2, 7.1.3)."""
        self._visited += 1
        if self._visited > MAX_ELEMENTS:
            raise InvalidInstance("The data set has too many elements")
        if position + 8 > self._end:
            raise Truncated
        group, element, vr, length = _EXPLICIT.unpack_from(self._data, position)
        tag = group << 16 | element
        if group in {0x0000, 0x0002}:
            raise InvalidInstance("Command or file meta elements inside the data set")
        if not explicit or group == 0xFFFE:
            return tag, b"", _LENGTH.unpack_from(self._data, position + 4)[0], position + 8
        if vr in _SHORT_VRS:
            return tag, vr, length, position + 8
        if vr not in _LONG_VRS:
            raise InvalidInstance("An element has no known VR")
        if position + 12 > self._end:
            raise Truncated
        return tag, vr, _LENGTH.unpack_from(self._data, position + 8)[0], position + 12

    def _value_end(self, tag: int, vr: bytes, length: int, start: int, *, depth: int) -> int:
        """Return where the value ends, following delimiters when its length is undefined."""
        if tag >> 16 == 0xFFFE:
            raise InvalidInstance("An item or delimiter outside of a sequence")
        if length != _UNDEFINED:
            if start + length > self._end:
                raise Truncated
            return start + length
        if tag == PIXEL_DATA:
            return self._fragments_end(start)
        if vr not in {b"", b"SQ", b"UN"}:
            raise InvalidInstance("An undefined length where none is allowed")
        # PS3.5 6.2.2: the items of a UN element of undefined length are in implicit VR
        return self._items_end(start, explicit=vr == b"SQ", depth=depth + 1)

    def _items_end(self, position: int, *, explicit: bool, depth: int) -> int:
        """Return the end of a sequence of undefined length whose first item starts at ``position`` (PS3.5 7.5)."""
        if depth > MAX_DEPTH:
            raise InvalidInstance("Sequences are nested too deeply")
        while True:
            tag, _, length, start = self._element_header(position, explicit=False)
            if tag == _SEQUENCE_END and length == 0:
                return start
            if tag != _ITEM:
                raise InvalidInstance("A sequence holds something else than items")
            if length != _UNDEFINED:
                position = start + length
                if position > self._end:
                    raise Truncated
                continue
            position = self._item_end(start, explicit=explicit, depth=depth)

    def _item_end(self, position: int, *, explicit: bool, depth: int) -> int:
        """Return the end of an item of undefined length whose first element starts at ``position``."""
        while True:
            tag, vr, length, start = self._element_header(position, explicit=explicit)
            if tag == _ITEM_END and length == 0:
                return start
            position = self._value_end(tag, vr, length, start, depth=depth)

    def _fragments_end(self, position: int) -> int:
        """Return the end of encapsulated Pixel Data whose offset table starts at ``position`` (PS3.5 A.4)."""
        items = 0
        while True:
            tag, _, length, start = self._element_header(position, explicit=False)
            if tag == _SEQUENCE_END and length == 0:
                if items < 2:
                    raise InvalidInstance("Pixel Data holds no fragment")
                return start
            if tag != _ITEM or length == _UNDEFINED:
                raise InvalidInstance("Pixel Data holds something else than fragments")
            items += 1
            position = start + length
            if position > self._end:
                raise Truncated
