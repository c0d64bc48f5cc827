"""Who talks to whom: AE titles (PS3.5 6.2, VR AE), peers, this device, and UIDs derived from names (PS3.5 B.2)."""

import re
import uuid
from dataclasses import dataclass
from typing import Self

from pydicom.uid import UID

from dicom_node import implementation

PRODUCT_NAMESPACE = uuid.UUID("6f5b8e0e-37c4-5f0a-9a55-0d6c7b6c3f11")
"""The UUID namespace of every UID that this product derives; changing it makes new UIDs for old results."""

MANUFACTURER = "cspine"
"""Manufacturer (0008,0070) of every result: an object of ours that another one edited has another."""

IMPLEMENTATION_CLASS_UID = UID(implementation.CLASS_UID)
IMPLEMENTATION_VERSION_NAME = implementation.VERSION_NAME

_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")
_PEER = re.compile(r"(?P<title>[^@]+)@(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[^@:\[\]/\s]+)):(?P<port>[0-9]{1,5})")
_ESCAPES = str.maketrans({"%": "%25", "/": "%2F"})


class AETitle(str):
    """An application entity title: 1 to 16 printable ASCII characters without a backslash, outer spaces removed.

    Raises ``ValueError`` for anything else (PS3.5 6.2, VR AE).
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Return ``value`` without the outer spaces, which are not significant."""
        title = value.strip(" ")
        if not _AE_TITLE.fullmatch(title):
            raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
        return super().__new__(cls, title)


@dataclass(frozen=True, slots=True)
class Peer:
    """A remote application entity and where it listens; ``port`` is a TCP port, 1 to 65535."""

    ae_title: AETitle
    host: str
    port: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "ae_title", AETitle(self.ae_title))
        if not self.host:
            raise ValueError("a peer needs a host name or address")
        if not 1 <= self.port <= 65535:
            raise ValueError(f"{self.port} is not a TCP port")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the peer written as ``AET@HOST:PORT``, an IPv6 address in brackets; raise ``ValueError`` otherwise."""
        match = _PEER.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"a peer is written AET@HOST:PORT, not {text!r}")
        return cls(AETitle(match["title"]), match["ipv6"] or match["host"], int(match["port"]))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


def deterministic_uid(*parts: str) -> UID:
    """Return the UID that ``parts`` always have: ``2.25.`` and a version 5 UUID of the product's namespace (PS3.5 B.2).

    Parts are joined with slashes after escaping, so different lists of parts never share a name.
    """
    if not parts:
        raise ValueError("a deterministic UID needs at least one part")
    name = "/".join(part.translate(_ESCAPES) for part in parts)
    return UID(f"2.25.{uuid.uuid5(PRODUCT_NAMESPACE, name).int}")


@dataclass(frozen=True, slots=True)
class Device:
    """The equipment that every result names (PS3.3 C.7.5.1, Contributing Equipment with Device UID)."""

    manufacturer: str
    model_name: str
    software_version: str
    device_uid: UID
    serial: str

    @classmethod
    def create(cls, software_version: str, serial: str) -> Self:
        """Return this product's device; its UID follows from the serial number of the installation alone."""
        return cls(MANUFACTURER, "cspine", software_version, deterministic_uid("device", serial), serial)
