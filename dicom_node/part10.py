"""The DICOM file format (PS3.10 7): file meta information written and read without touching the data set."""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from dicom_node import implementation
from dicom_node.errors import InvalidInstance
from dicom_node.header import is_uid

_PREAMBLE = bytes(128) + b"DICM"
MAXIMUM_META_BYTES = 64 * 1024
_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX, _SOURCE = 0x0002, 0x0003, 0x0010, 0x0016
_LONG_VRS = frozenset({b"OB", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT"})


@dataclass(frozen=True, slots=True)
class FileMeta:
    """The file meta information that this product writes and needs; ``source_ae_title`` is who sent the instance."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source_ae_title: str = ""

    def __post_init__(self) -> None:
        for uid in (self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid):
            if not is_uid(uid):
                raise InvalidInstance("A UID of the file meta information is malformed")


def encode_file_meta(meta: FileMeta) -> bytes:
    """Return preamble, prefix and file meta group in explicit VR little endian (PS3.10 7.1)."""
    elements = [
        struct.pack("<HH2sHI2s", 2, 1, b"OB", 0, 2, b"\x00\x01"),
        _element(_SOP_CLASS, b"UI", meta.sop_class_uid),
        _element(_SOP_INSTANCE, b"UI", meta.sop_instance_uid),
        _element(_TRANSFER_SYNTAX, b"UI", meta.transfer_syntax_uid),
        _element(0x0012, b"UI", implementation.CLASS_UID),
        _element(0x0013, b"SH", implementation.VERSION_NAME),
    ]
    if meta.source_ae_title:
        elements.append(_element(_SOURCE, b"AE", meta.source_ae_title))
    group = b"".join(elements)
    return _PREAMBLE + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(group)) + group


def read_file_meta(file: BinaryIO) -> FileMeta:
    """Return the file meta information at the start of ``file`` and leave it at the first byte of the data set.

    Raises ``InvalidInstance`` when the file is no DICOM file or its group length is wrong.
    """
    start = file.read(len(_PREAMBLE) + 12)
    if len(start) < len(_PREAMBLE) + 12 or start[128:132] != b"DICM":
        raise InvalidInstance("The file is not in the DICOM file format")
    group, element, vr, size, length = struct.unpack_from("<HH2sHI", start, len(_PREAMBLE))
    if (group, element, vr, size) != (2, 0, b"UL", 4) or length > MAXIMUM_META_BYTES:
        raise InvalidInstance("The file meta information has no valid group length")
    values = _values(file.read(length), length)
    return FileMeta(
        sop_class_uid=values.get(_SOP_CLASS, ""),
        sop_instance_uid=values.get(_SOP_INSTANCE, ""),
        transfer_syntax_uid=values.get(_TRANSFER_SYNTAX, ""),
        source_ae_title=values.get(_SOURCE, ""),
    )


def _element(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def _values(group: bytes, length: int) -> dict[int, str]:
    """Return the values of the file meta group by element number, as text."""
    values: dict[int, str] = {}
    position = 0
    while position + 8 <= len(group):
        tag_group, element, vr, size = struct.unpack_from("<HH2sH", group, position)
        position += 8
        if vr in _LONG_VRS and position + 4 <= len(group):
            size = struct.unpack_from("<I", group, position)[0]
            position += 4
        if tag_group != 2:
            raise InvalidInstance("The file meta information is malformed")
        values[element] = group[position : position + size].decode("latin-1").strip(" \0")
        position += size
    if position != length or len(group) != length:
        raise InvalidInstance("The file meta information is truncated")
    return values
