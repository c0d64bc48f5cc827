"""Zip files of strangers within bounds: their directory is measured before it is read, each entry before it is opened.

Nothing is unpacked: names inside an archive are compared at most, never used as paths.
"""

import os
import zipfile
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO

_END_BYTES = 22
_END, _END_64 = b"PK\x05\x06", b"PK\x06\x07"
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED = 0x1


class NotPlainZip(Exception):
    """The file is no zip file that can be read: another format, cut, with a comment, or ZIP64."""


class TooManyEntries(Exception):
    """The directory of a zip file is too long to be read at all (its reader would read all of it)."""


class EntryProblem(StrEnum):
    """Why an entry is not opened."""

    UNREADABLE = "encrypted, or compressed in another way than deflate"
    TOO_LARGE = "too large"
    SUSPICIOUS = "compressed too well to be true"


@dataclass(frozen=True, slots=True)
class ZipBounds:
    """What is opened: ``ratio`` bounds how far an entry shrinks that takes ``least_bytes`` or more in the archive."""

    entries: int
    directory_bytes: int
    entry_bytes: int
    ratio: int
    least_bytes: int


def check_directory(file: BinaryIO, bounds: ZipBounds) -> None:
    """Raise ``NotPlainZip`` or ``TooManyEntries`` unless the directory at the end of the file may be read."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _END_BYTES - 20, 0))
    tail = file.read()
    end = tail[-_END_BYTES:]
    plain = len(end) == _END_BYTES and end.startswith(_END) and end.endswith(b"\0\0")
    if not plain or tail[:-_END_BYTES].startswith(_END_64):
        raise NotPlainZip
    entries, directory_bytes = int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    if entries > bounds.entries or directory_bytes > bounds.directory_bytes:
        raise TooManyEntries
    file.seek(0)


def problem_of(info: zipfile.ZipInfo, bounds: ZipBounds) -> EntryProblem | None:
    """What the directory says against opening this entry; how many bytes it really has is for its reader to bound."""
    if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
        return EntryProblem.UNREADABLE
    if info.file_size > bounds.entry_bytes:
        return EntryProblem.TOO_LARGE
    if info.file_size > bounds.ratio * max(info.compress_size, bounds.least_bytes):
        return EntryProblem.SUSPICIOUS
    return None
