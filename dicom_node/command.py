"""DIMSE command sets (PS3.7 6.3, E.1): implicit VR little endian, flat and small; read, and C-STORE responses made.

What a peer sends is checked before anybody else sees it. pydicom is kept out of it: it warns, with the value, about
UIDs that real senders use (leading zeros), and takes a hundred times as long.
"""

import struct
from dataclasses import dataclass

from dicom_node.header import is_uid

MAX_COMMAND_BYTES = 16 * 1024
"""A C-STORE request takes about 200 bytes."""

C_STORE_RQ = 0x0001
C_STORE_RSP = 0x8001
C_FIND_RSP = 0x8020
C_ECHO_RQ = 0x0030
C_ECHO_RSP = 0x8030
N_EVENT_REPORT_RQ = 0x0100
N_ACTION_RSP = 0x8130

_CLASS, _FIELD, _MESSAGE_ID, _DATA_SET_TYPE, _INSTANCE = 0x0002, 0x0100, 0x0110, 0x0800, 0x1000
_GROUP_LENGTH, _RESPONDED_TO, _STATUS, _COMMENT, _EVENT_TYPE = 0x0000, 0x0120, 0x0900, 0x0902, 0x1002
_NO_DATA_SET = 0x0101
_RESPONSE = 0x8000  # this bit of the command field tells responses from requests (PS3.7 E.1)


class MalformedCommandError(ValueError):
    """Bytes that are no command set, or lack what every one has: the association is aborted."""


@dataclass(frozen=True, slots=True)
class Command:
    """A request or a response.

    ``message_id`` of a response is that of its request. ``sop_class_uid`` and ``sop_instance_uid`` are None when
    missing or malformed; ``event_type_id`` is that of an N-EVENT-REPORT request, ``status`` that of a response.
    """

    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str | None
    sop_instance_uid: str | None
    event_type_id: int | None = None
    status: int | None = None


def parse_command(data: bytes) -> Command:
    """Return the request or response encoded in ``data``; raises ``MalformedCommandError``."""
    values = _values(data)
    field = _unsigned(values, _FIELD)
    is_response = bool(field & _RESPONSE)
    return Command(
        field=field,
        message_id=_unsigned(values, _RESPONDED_TO if is_response else _MESSAGE_ID),
        has_data_set=_unsigned(values, _DATA_SET_TYPE) != _NO_DATA_SET,
        sop_class_uid=_uid(values, _CLASS),
        sop_instance_uid=_uid(values, _INSTANCE),
        event_type_id=_unsigned(values, _EVENT_TYPE) if field == N_EVENT_REPORT_RQ else None,
        status=_unsigned(values, _STATUS) if is_response else None,
    )


@dataclass(frozen=True, slots=True)
class StoreResponse:
    """A C-STORE response (PS3.7 9.3.1.2); ``comment`` is ASCII, at most 64 characters.

    ``comment`` and ``sop_instance_uid`` may be empty, and are left out then.
    """

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    status: int
    comment: str = ""


def encode_response(response: StoreResponse) -> bytes:
    """Return the command set of ``response``."""
    body = b"".join(
        [
            _element(_CLASS, response.sop_class_uid.encode("ascii"), b"\0"),
            _element(_FIELD, struct.pack("<H", C_STORE_RSP)),
            _element(_RESPONDED_TO, struct.pack("<H", response.message_id)),
            _element(_DATA_SET_TYPE, struct.pack("<H", _NO_DATA_SET)),
            _element(_STATUS, struct.pack("<H", response.status)),
            _element(_COMMENT, response.comment.encode("ascii")[:64], b" ") if response.comment else b"",
            _element(_INSTANCE, response.sop_instance_uid.encode("ascii"), b"\0") if response.sop_instance_uid else b"",
        ]
    )
    return _element(_GROUP_LENGTH, struct.pack("<I", len(body))) + body


def _element(element: int, value: bytes, padding: bytes = b"") -> bytes:
    value += padding * (len(value) % 2)
    return struct.pack("<HHI", 0x0000, element, len(value)) + value


def _values(data: bytes) -> dict[int, bytes]:
    """Return the raw values by element number of group 0000."""
    values: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        if position + 8 > len(data):
            raise MalformedCommandError("the command set is truncated")
        group, element, length = struct.unpack_from("<HHI", data, position)
        start, position = position + 8, position + 8 + length
        if group != 0x0000 or position > len(data) or element in values:
            raise MalformedCommandError("the command set is malformed")
        values[element] = data[start:position]
    return values


def _unsigned(values: dict[int, bytes], element: int) -> int:
    value = values.get(element, b"")
    if len(value) != 2:
        raise MalformedCommandError(f"(0000,{element:04X}) is missing or malformed")
    return int.from_bytes(value, "little")


def _uid(values: dict[int, bytes], element: int) -> str | None:
    text = values.get(element, b"").rstrip(b"\0 ").decode("latin-1")
    return text if is_uid(text) else None
