"""The durable store of received instances: temporary file, fsync, rename, fsync of the folder, names from hashes only.

Layout below the root (all folders 0700, all files 0600, one file system)::

    incoming/<random>.part                                  being received; locked by who receives it
    store/<hh>/<study key>/<instance key>-<content>.dcm     whole DICOM files

where ``study key`` and ``instance key`` are the SHA-256 of the Study and SOP Instance UID, ``hh`` the first two digits
of the study key, and ``content`` 16 digits derived from the transfer syntax and the bytes of the data set.
"""

import hashlib
import mmap
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from dicom_node.errors import OutOfResources
from dicom_node.header import InstanceHeader, inspect
from dicom_node.incoming import IncomingFile, create_incoming, remove_abandoned
from dicom_node.part10 import FileMeta, read_file_meta
from dicom_node.transfer_syntaxes import max_bytes_of

_KNOWN_FOLDERS_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One file of the store; ``sha256`` and ``size_bytes`` are those of the data set, ``path`` is below the root."""

    header: InstanceHeader
    meta: FileMeta
    sha256: str
    size_bytes: int
    path: str


class Spool:
    """The store below ``root``, which is created when missing; safe to use from several threads and processes.

    ``min_free_bytes`` is the free space of the file system below which nothing more is taken in, and
    ``max_instance_bytes`` the largest data set; for some SOP classes it is smaller.
    """

    def __init__(self, root: Path, *, min_free_bytes: int = 1 << 29, max_instance_bytes: int = 2 << 30) -> None:
        self.root = root.absolute()
        self._min_free_bytes = min_free_bytes
        self._max_instance_bytes = max_instance_bytes
        self._incoming = self.root / "incoming"
        self._store = self.root / "store"
        self._lock = threading.Lock()
        self._durable_folders: set[Path] = set()
        self.root.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self.root, self._incoming, self._store):
            folder.mkdir(mode=0o700, exist_ok=True)
        for folder in (self.root.parent, self.root):
            _fsync_folder(folder)

    def free_bytes(self) -> int:
        """Return the free space of the spool's file system that an ordinary user may fill, in bytes."""
        status = os.statvfs(self.root)
        return status.f_bavail * status.f_frsize

    def require_space(self) -> None:
        """Raise ``OutOfResources`` when the file system has less than ``min_free_bytes`` left, or cannot be asked."""
        try:
            free_bytes = self.free_bytes()
        except OSError as error:
            raise OutOfResources(f"The spool failed ({type(error).__name__})", code="SPOOL_FAILED") from error
        if free_bytes < self._min_free_bytes:
            raise OutOfResources("The spool is out of space", code="SPOOL_FULL")

    def receive(self, meta: FileMeta) -> IncomingFile:
        """Return a new incoming file that holds ``meta`` and takes the data set; the caller keeps or discards it."""
        self.require_space()
        max_bytes = min(self._max_instance_bytes, max_bytes_of(meta.sop_class_uid))
        return create_incoming(self._incoming, meta, max_bytes, self.require_space)

    def keep(self, incoming: IncomingFile, header: InstanceHeader) -> StoredInstance:
        """Make a received file durable under its final name and return what is stored.

        The same instance with the same bytes gets the same name again. On any failure the incoming file is deleted and
        ``OutOfResources`` raised: a failed fsync is never tried again on the same file.
        """
        path = _path(header, incoming.meta.transfer_syntax_uid, incoming.sha256)
        try:
            incoming.sync()
            self._move(incoming, self.root / path)
        except OSError as error:
            raise OutOfResources(f"The spool failed ({type(error).__name__})", code="SPOOL_FAILED") from error
        finally:
            incoming.discard()
        return StoredInstance(header, incoming.meta, incoming.sha256, incoming.size_bytes, path)

    def sweep(self) -> int:
        """Delete incoming files that no process receives any more and return how many there were."""
        return remove_abandoned(self._incoming)

    def files(self) -> Iterator[str]:
        """Yield the path below the root of every stored instance, for the comparison with the records."""
        for folder in sorted(self._store.glob("*/*")):
            for path in sorted(folder.glob("*.dcm")):
                yield path.relative_to(self.root).as_posix()

    def describe(self, path: str) -> StoredInstance:
        """Return what the stored file at ``path`` (below the root) holds, checked as on receipt.

        Raises ``InvalidInstance`` when it is not a whole instance and ``OSError`` when it cannot be read.
        """
        with self.open(path) as file:
            meta = read_file_meta(file)
            start = file.tell()
            with (
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
                memoryview(mapped) as view,
                view[start:] as data,
            ):
                header = inspect(data, meta.transfer_syntax_uid)
                return StoredInstance(header, meta, hashlib.sha256(data).hexdigest(), len(data), path)

    def open(self, path: str) -> BinaryIO:
        """Return the stored file at ``path`` (below the root), opened for reading; never follows a link out of it."""
        absolute = self.root / path
        if not absolute.resolve().is_relative_to(self.root.resolve()):
            raise OSError("a path outside of the spool")
        return cast("BinaryIO", os.fdopen(os.open(absolute, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb"))

    def _move(self, incoming: IncomingFile, final: Path) -> None:
        """Rename the synced file to its final name and sync the folders that the name stands in."""
        self._ensure_folder(final.parent)
        try:
            incoming.path.replace(final)
        except FileNotFoundError:  # the study's folder was removed since it was made
            self._ensure_folder(final.parent, again=True)
            incoming.path.replace(final)
        _fsync_folder(final.parent)

    def _ensure_folder(self, folder: Path, *, again: bool = False) -> None:
        """Create a study's folder durably; the lock keeps others from storing into it before its parents are synced."""
        with self._lock:
            if folder in self._durable_folders and not again:
                return
            for part in (folder.parent, folder):
                part.mkdir(mode=0o700, exist_ok=True)
                _fsync_folder(part.parent)
            if len(self._durable_folders) >= _KNOWN_FOLDERS_LIMIT:
                self._durable_folders.clear()
            self._durable_folders.add(folder)


def _path(header: InstanceHeader, transfer_syntax_uid: str, sha256: str) -> str:
    study = hashlib.sha256(header.study_instance_uid.encode()).hexdigest()
    instance = hashlib.sha256(header.sop_instance_uid.encode()).hexdigest()
    content = hashlib.sha256(f"{transfer_syntax_uid}/{sha256}".encode()).hexdigest()[:16]
    return f"store/{study[:2]}/{study}/{instance}-{content}.dcm"


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
