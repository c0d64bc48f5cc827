"""What identifies an instance, and whether its encoded data set is whole (PS3.3 C.12.1, C.7.6.3); never decodes."""

import re
from dataclasses import dataclass

from dicom_node.elements import PIXEL_DATA, Element, Walk
from dicom_node.errors import InvalidInstance
from dicom_node.transfer_syntaxes import CLASSES_WITHOUT_PIXELS, ENCAPSULATED_SYNTAXES

_OTHER_PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009})  # float and double float: never in the accepted SOP classes

_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
_MODALITY, _SERIES_NUMBER, _INSTANCE_NUMBER = 0x00080060, 0x00200011, 0x00200013
_VERIFICATION_FLAG = 0x0040A493
_SAMPLES, _FRAMES, _ROWS, _COLUMNS, _BITS_ALLOCATED = 0x00280002, 0x00280008, 0x00280010, 0x00280011, 0x00280100
_WANTED = frozenset(
    {_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES, _MODALITY, _SERIES_NUMBER, _INSTANCE_NUMBER}
    | {_VERIFICATION_FLAG, _SAMPLES, _FRAMES, _ROWS, _COLUMNS, _BITS_ALLOCATED}
)
_MAX_VALUE_BYTES = 128

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """What identifies an instance and foretells the size of its pixels; every value is validated.

    Optional values are None when absent, empty or malformed; nothing here names a patient. ``verified`` is what a
    document says of itself (PS3.3 C.17.2).
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str | None = None
    series_number: int | None = None
    instance_number: int | None = None
    rows: int | None = None
    columns: int | None = None
    bits_allocated: int | None = None
    samples_per_pixel: int = 1
    number_of_frames: int = 1
    verified: bool = False


def is_uid(text: str) -> bool:
    """Return whether ``text`` is 1 to 64 digits in dotted components (PS3.5 9; leading zeros, which occur, pass)."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def scan(data: bytes | memoryview, transfer_syntax_uid: str) -> InstanceHeader:
    """Return the header from the first bytes of a data set, up to Pixel Data or to where ``data`` ends.

    Raises ``InvalidInstance`` when the bytes before that are no data set or lack one of the four UIDs.
    """
    values: dict[int, bytes] = {}
    with memoryview(data) as view:
        for element in Walk(view, transfer_syntax_uid).elements(whole=False):
            if element.tag == PIXEL_DATA:
                break
            _keep(view, element, values)
    return _header(values)


def inspect(data: bytes | memoryview, transfer_syntax_uid: str) -> InstanceHeader:
    """Return the header of a whole data set after checking that it is whole.

    The elements' lengths must end exactly where ``data`` ends; Pixel Data must be there, encapsulated if and only if
    the transfer syntax says so, and as long as the attributes foretell when it is not (PS3.3 C.7.6.3). A document must
    have none. Raises ``InvalidInstance`` otherwise.
    """
    values: dict[int, bytes] = {}
    pixels: Element | None = None
    with memoryview(data) as view:
        for element in Walk(view, transfer_syntax_uid).elements(whole=True):
            if pixels is not None and element.tag in _WANTED:
                raise InvalidInstance("Identifying elements follow Pixel Data")
            _keep(view, element, values)
            if element.tag in _OTHER_PIXEL_DATA:
                raise InvalidInstance("Float Pixel Data is not part of this SOP class")
            if element.tag == PIXEL_DATA:
                if pixels is not None:
                    raise InvalidInstance("Pixel Data occurs twice")
                pixels = element
    header = _header(values)
    if header.sop_class_uid in CLASSES_WITHOUT_PIXELS:
        if pixels is not None:
            raise InvalidInstance("Pixel Data is not part of this SOP class")
        return header
    _check_pixels(header, pixels, encapsulated=transfer_syntax_uid in ENCAPSULATED_SYNTAXES)
    return header


def _keep(data: memoryview, element: Element, values: dict[int, bytes]) -> None:
    """Put the value of a wanted element into ``values``; a wanted element that occurs twice is refused."""
    if element.tag not in _WANTED:
        return
    if element.tag in values:
        raise InvalidInstance(f"({element.tag >> 16:04X},{element.tag & 0xFFFF:04X}) occurs twice")
    if element.encapsulated or element.end - element.start > _MAX_VALUE_BYTES:
        raise InvalidInstance(f"({element.tag >> 16:04X},{element.tag & 0xFFFF:04X}) is too long")
    values[element.tag] = bytes(data[element.start : element.end])


def _check_pixels(header: InstanceHeader, pixels: Element | None, *, encapsulated: bool) -> None:
    """Raise ``InvalidInstance`` unless Pixel Data is there in the right form and, when native, in the right length."""
    if pixels is None:
        raise InvalidInstance("Pixel Data is missing")
    if not header.rows or not header.columns or not header.bits_allocated:
        raise InvalidInstance("Rows, Columns or Bits Allocated is missing")
    if pixels.encapsulated != encapsulated:
        raise InvalidInstance("Pixel Data is not in the form of the transfer syntax")
    if encapsulated:
        return
    samples = header.rows * header.columns * header.samples_per_pixel * header.number_of_frames
    expected = (samples * header.bits_allocated + 7) // 8
    if pixels.end - pixels.start not in {expected, expected + expected % 2}:
        raise InvalidInstance("Pixel Data is not as long as Rows and Columns say")


def _header(values: dict[int, bytes]) -> InstanceHeader:
    """Return the header made of raw values; raise ``InvalidInstance`` for a missing or malformed UID."""
    return InstanceHeader(
        sop_class_uid=_uid(values, _SOP_CLASS, "SOP Class UID"),
        sop_instance_uid=_uid(values, _SOP_INSTANCE, "SOP Instance UID"),
        study_instance_uid=_uid(values, _STUDY, "Study Instance UID"),
        series_instance_uid=_uid(values, _SERIES, "Series Instance UID"),
        modality=_text(values, _MODALITY, _CODE_STRING),
        series_number=_integer(values, _SERIES_NUMBER),
        instance_number=_integer(values, _INSTANCE_NUMBER),
        rows=_unsigned(values, _ROWS),
        columns=_unsigned(values, _COLUMNS),
        bits_allocated=_unsigned(values, _BITS_ALLOCATED),
        samples_per_pixel=_unsigned(values, _SAMPLES) or 1,
        number_of_frames=_frames(values),
        verified=_text(values, _VERIFICATION_FLAG, _CODE_STRING) == "VERIFIED",
    )


def _uid(values: dict[int, bytes], tag: int, name: str) -> str:
    text = values.get(tag, b"").rstrip(b"\0 ").decode("latin-1")
    if not text:
        raise InvalidInstance(f"{name} is missing")
    if not is_uid(text):
        raise InvalidInstance(f"{name} is malformed")
    return text


def _text(values: dict[int, bytes], tag: int, pattern: re.Pattern[str]) -> str | None:
    text = values.get(tag, b"").decode("latin-1").strip(" \0")
    return text if pattern.fullmatch(text) else None


def _integer(values: dict[int, bytes], tag: int) -> int | None:
    text = _text(values, tag, _INTEGER)
    return None if text is None else int(text)


def _unsigned(values: dict[int, bytes], tag: int) -> int | None:
    value = values.get(tag, b"")
    if value and len(value) != 2:
        raise InvalidInstance(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is not one 16 bit number")
    return int.from_bytes(value, "little") if value else None


def _frames(values: dict[int, bytes]) -> int:
    frames = _integer(values, _FRAMES)
    if frames is None:
        if values.get(_FRAMES, b"").strip(b" \0"):
            raise InvalidInstance("Number of Frames is malformed")
        return 1
    if frames < 1:
        raise InvalidInstance("Number of Frames is not positive")
    return frames
