"""A storage SCU on a bare socket (PS3.8 9.3), for what no toolkit would send: written without pynetdicom on purpose."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

VERIFICATION = "1.2.840.10008.1.1"
P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = 4, 5, 6, 7


@dataclass(frozen=True)
class Response:
    """A response's command set: its status and its comment."""

    status: int
    comment: str
    sop_instance_uid: str


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBI", kind, 0, len(body)) + body


def pdv(context_id: int, control: int, data: bytes) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context_id, control) + data


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def store_command(
    sop_instance_uid: bytes | None, sop_class_uid: bytes = CTImageStorage.encode(), message_id: int = 1
) -> bytes:
    """Return a C-STORE-RQ command set with the UIDs exactly as given."""
    body = (
        element(0x0002, sop_class_uid) + element(0x0100, b"\x01\x00") + element(0x0110, struct.pack("<H", message_id))
    )
    body += element(0x0700, b"\x00\x00") + element(0x0800, b"\x00\x00")
    if sop_instance_uid is not None:
        body += element(0x1000, sop_instance_uid)
    return element(0x0000, struct.pack("<I", len(body))) + body


def association_request(
    called: bytes,
    contexts: dict[int, tuple[str, str]],
    calling: bytes = b"RAW",
    extra: bytes = b"",
    max_pdu: int = 16384,
) -> bytes:
    """Return an A-ASSOCIATE-RQ PDU."""
    body = struct.pack(">HH", 1, 0) + called.ljust(16) + calling.ljust(16) + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1")
    for context_id, (abstract_syntax, transfer_syntax) in contexts.items():
        syntaxes = item(0x30, abstract_syntax.encode()) + item(0x40, transfer_syntax.encode())
        body += item(0x20, struct.pack(">BBBB", context_id, 0, 0, 0) + syntaxes)
    body += item(0x50, item(0x51, struct.pack(">I", max_pdu)) + item(0x52, b"1.2.3.4") + extra)
    return pdu(1, body)


class RawAssociation:
    """An established association; context 1 is the one given, context 3 verification."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def read_pdu(self) -> tuple[int, bytes]:
        """Return type and body of the next PDU; (0, b"") when the peer closed."""
        header = self._read(6)
        if len(header) < 6:
            return 0, b""
        kind, _, length = struct.unpack(">BBI", header)
        return kind, self._read(length)

    def store(self, command: bytes, data_set: bytes, *, fragment: int = 16000) -> Response | None:
        """Send a C-STORE request and return the response, None when the association was aborted instead."""
        self.connection.sendall(pdu(P_DATA, pdv(1, 3, command)))
        pieces = [data_set[start : start + fragment] for start in range(0, len(data_set), fragment)] or [b""]
        for piece in pieces[:-1]:
            self.connection.sendall(pdu(P_DATA, pdv(1, 0, piece)))
        self.connection.sendall(pdu(P_DATA, pdv(1, 2, pieces[-1])))
        return self.response()

    def response(self) -> Response | None:
        """Return the next response."""
        kind, body = self.read_pdu()
        if kind != P_DATA:
            return None
        values = dict(self._elements(body[6:]))
        comment = values.get(0x0902, b"").decode().strip()
        uid = values.get(0x1000, b"").decode().rstrip("\0 ")
        return Response(struct.unpack("<H", values[0x0900])[0], comment, uid)

    def release(self) -> None:
        self.connection.sendall(pdu(RELEASE_RQ, bytes(4)))
        assert self.read_pdu()[0] == RELEASE_RP

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                piece = self.connection.recv(size - len(data))
            except ConnectionResetError:
                piece = b""
            if not piece:
                return data
            data += piece
        return data

    @staticmethod
    def _elements(command: bytes) -> Iterator[tuple[int, bytes]]:
        position = 0
        while position < len(command):
            _, number, length = struct.unpack_from("<HHI", command, position)
            yield number, command[position + 8 : position + 8 + length]
            position += 8 + length


@contextmanager
def raw_association(
    port: int,
    called: str = "CSPINE",
    sop_class: str = CTImageStorage,
    transfer_syntax: str = ExplicitVRLittleEndian,
    max_pdu: int = 16384,
) -> Iterator[RawAssociation]:
    """Open an association on a bare socket; the socket is closed without release when the block ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        contexts = {1: (sop_class, transfer_syntax), 3: (VERIFICATION, "1.2.840.10008.1.2")}
        connection.sendall(association_request(called.encode(), contexts, max_pdu=max_pdu))
        association = RawAssociation(connection)
        assert association.read_pdu()[0] == 2
        yield association
