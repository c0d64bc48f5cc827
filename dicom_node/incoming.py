"""One data set on its way into the spool: a locked temporary file that counts and hashes what it is given."""

import contextlib
import fcntl
import hashlib
import mmap
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from dicom_node.errors import InvalidInstance, OutOfResources
from dicom_node.part10 import FileMeta, encode_file_meta

_BUFFER_BYTES = 256 * 1024
_SPACE_CHECK_BYTES = 64 * 1024 * 1024


class IncomingFile:
    """A temporary DICOM file that a data set is written to; ``meta`` is written first.

    Not thread safe: one writer, and afterwards one reader. Its lock tells sweepers that it is in use.
    """

    def __init__(self, path: Path, descriptor: int, meta: FileMeta, max_bytes: int) -> None:
        self.path = path
        self.meta = meta
        self.size_bytes = 0
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._file = os.fdopen(descriptor, "r+b", buffering=_BUFFER_BYTES)
        self._meta_bytes = self._file.write(encode_file_meta(meta))
        self._next_space_check = _SPACE_CHECK_BYTES
        self._require_space: Callable[[], None] | None = None

    @property
    def sha256(self) -> str:
        """The SHA-256 of the data set bytes so far, as 64 hexadecimal digits."""
        return self._hash.hexdigest()

    def check_space_with(self, require_space: Callable[[], None]) -> None:
        """Call ``require_space``, which may raise, after every 64 MiB."""
        self._require_space = require_space

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes of the data set.

        Raises ``InvalidInstance`` beyond the largest size and ``OutOfResources`` when the file system does not take it.
        """
        self.size_bytes += len(data)
        if self.size_bytes > self._max_bytes:
            raise InvalidInstance("The data set is larger than this node accepts", code="INSTANCE_TOO_LARGE")
        if self._require_space is not None and self.size_bytes >= self._next_space_check:
            self._next_space_check += _SPACE_CHECK_BYTES
            self._require_space()
        self._hash.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise OutOfResources(f"The spool failed ({type(error).__name__})", code="SPOOL_FAILED") from error

    @contextlib.contextmanager
    def data_set(self) -> Iterator[memoryview]:
        """Give a read-only view of the data set bytes, mapped from the file, never copied into memory."""
        self._flush()
        if not self.size_bytes:
            yield memoryview(b"")
            return
        with (
            mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
            view[self._meta_bytes :] as data,
        ):
            yield data

    def sync(self) -> None:
        """Flush and fsync the file; raises ``OSError``, after which the file must be discarded."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def discard(self) -> None:
        """Close the file and delete it unless it was moved away; harmless when repeated."""
        with contextlib.suppress(OSError):  # closing flushes, which fails again on a full disk
            self._file.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    def _flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            raise OutOfResources(f"The spool failed ({type(error).__name__})", code="SPOOL_FAILED") from error


def create_incoming(folder: Path, meta: FileMeta, max_bytes: int, require_space: Callable[[], None]) -> IncomingFile:
    """Create a locked incoming file in ``folder``; raises ``OutOfResources`` when the file system refuses."""
    try:
        while True:
            path = folder / f"{secrets.token_hex(16)}.part"
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                break
            os.close(descriptor)  # a sweeper took it between creation and lock
    except OSError as error:
        raise OutOfResources(f"The spool failed ({type(error).__name__})", code="SPOOL_FAILED") from error
    incoming = IncomingFile(path, descriptor, meta, max_bytes)
    incoming.check_space_with(require_space)
    return incoming


def remove_abandoned(folder: Path) -> int:
    """Delete the incoming files in ``folder`` that nobody holds a lock on; return how many."""
    removed = 0
    for path in folder.glob("*.part"):
        with contextlib.suppress(OSError):  # in use, or gone meanwhile
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                removed += 1
            finally:
                os.close(descriptor)
    return removed
