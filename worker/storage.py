"""The store of encoded results: written once, durably, under names made from their content, and checked when read."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path


class ResultCorrupt(Exception):
    """A stored result is missing or its bytes are not those that were stored."""


@dataclass(frozen=True, slots=True)
class StoredResult:
    """Where a result lies: ``path`` is relative to the store's root."""

    path: str
    sha256: str
    size_bytes: int


class ResultStore:
    """Keeps result bytes below ``root``; the same bytes always get the same name, so that a repeat is free."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> StoredResult:
        """Store ``data`` and return where; it survives a power failure from then on. Raises OSError."""
        sha256 = hashlib.sha256(data).hexdigest()
        stored = StoredResult(f"{sha256[:2]}/{sha256}.dcm", sha256, len(data))
        final = self.root / stored.path
        final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=final.parent, prefix=".", suffix=".part")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)
        for folder in (final.parent, self.root, self.root.parent):
            _fsync_folder(folder)
        return stored

    def get(self, path: str, sha256: str) -> bytes:
        """The bytes of a result; raises ResultCorrupt when they are not those with this SHA-256."""
        try:
            data = self._inside(path).read_bytes()
        except OSError as error:
            raise ResultCorrupt(f"a stored result cannot be read ({error.strerror})") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ResultCorrupt("a stored result was changed on disk")
        return data

    def verified(self, path: str, sha256: str) -> Path:
        """The absolute path of a result whose bytes were just checked; raises ResultCorrupt."""
        self.get(path, sha256)
        return self._inside(path).absolute()

    def _inside(self, path: str) -> Path:
        """The file at ``path`` below the root; a path that leads out of the store is corrupt, not followed."""
        absolute = self.root / path
        if not absolute.resolve().is_relative_to(self.root.resolve()):
            raise ResultCorrupt("a stored result lies outside of the store")
        return absolute


def _fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
