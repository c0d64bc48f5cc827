"""Where a bundle is installed from: a folder or a zip file, of which only the named files are ever read, within bounds.

Nothing is unpacked: names inside an archive are compared, never used as paths, and what nobody asked for is left alone.
"""

import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Protocol

from model.errors import BundleError
from worker.zip_bounds import (
    EntryProblem,
    NotPlainZip,
    TooManyEntries,
    ZipBounds,
    check_directory,
    problem_of,
)

BOUNDS = ZipBounds(entries=64, directory_bytes=64 * 1024, entry_bytes=1 << 40, ratio=200, least_bytes=1024)
"""Weights hardly shrink at all, JSON shrinks to a tenth: a file that shrinks more than this is a trap."""
_CHUNK = 1024 * 1024


class TooLarge(BundleError):
    """A file is larger than what is accepted."""


class BundleSource(Protocol):
    """A place with the files of a bundle."""

    def open(self, name: str, limit: int) -> BinaryIO:
        """The file of this plain name; raises ``BundleError``, ``TooLarge`` where it says to have over ``limit``."""

    def __contains__(self, name: str) -> bool:
        """Whether there is such a file."""


class FolderSource:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __contains__(self, name: str) -> bool:
        return (self._folder / name).is_file()

    def open(self, name: str, limit: int) -> BinaryIO:
        """Open a regular file; a pipe or device is refused, not waited for."""
        try:
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise BundleError(f"{name} in {self._folder} cannot be read: {error.strerror}") from error
        file = os.fdopen(descriptor, "rb")
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            file.close()
            raise TooLarge(f"{name} in {self._folder} is no file of at most {limit} bytes")
        return file


class ZipSource:
    """A zip file whose directory was checked; its files lie at the top or all in one folder."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        infos = archive.infolist()
        names = [info.filename for info in infos]
        if len(set(names)) != len(names):
            raise BundleError("two files of the zip file have the same name")
        at = [name for name in names if name.count("/") <= 1 and name.rpartition("/")[2] == "metadata.json"]
        if len(at) != 1:
            raise BundleError("the zip file must hold one metadata.json, at its top or in its one folder")
        self._folder = at[0].removesuffix("metadata.json")
        self._infos = {info.filename.removeprefix(self._folder): info for info in infos}

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def open(self, name: str, limit: int) -> BinaryIO:
        """Open one file; what it says of its size is checked here, what it has while it is read."""
        info = self._infos.get(name)
        if info is None:
            raise BundleError(f"the zip file has no {name}")
        problem = problem_of(info, replace(BOUNDS, entry_bytes=limit))
        if problem is EntryProblem.UNREADABLE:
            raise BundleError(f"{name} in the zip file is {problem}")
        if problem is not None:
            raise TooLarge(f"{name} in the zip file is larger than {limit} bytes or compressed too well to be true")
        return self._archive.open(info)  # type: ignore[return-value]  # a binary stream, typed as IO[bytes]


@contextmanager
def bundle_source(path: Path) -> Iterator[BundleSource]:
    """The source at ``path``; errors of reading inside the block become ``BundleError``."""
    if path.is_dir():
        yield FolderSource(path)
        return
    try:
        with _opened(path) as file:
            _check_directory(file, path)
            with zipfile.ZipFile(file) as archive:
                yield ZipSource(archive)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise BundleError(f"{path} is no zip file that can be read") from error


def chunks(source: BundleSource, name: str, limit: int) -> Iterator[bytes]:
    """A file piece by piece; raises ``TooLarge`` as soon as it has more than ``limit`` bytes."""
    with source.open(name, limit) as file:
        left = limit
        while chunk := file.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise TooLarge(f"{name} is larger than {limit} bytes")
            yield chunk


def _opened(path: Path) -> BinaryIO:
    """The zip file itself."""
    try:
        return path.open("rb")
    except OSError as error:
        raise BundleError(f"there is no bundle at {path}: {error.strerror}") from error


def _check_directory(file: BinaryIO, path: Path) -> None:
    """Refuse a zip file whose directory is too long to be read at all."""
    try:
        check_directory(file, BOUNDS)
    except NotPlainZip as error:
        raise BundleError(
            f"{path} is neither the folder of a bundle nor a plain zip file (no comment, no ZIP64)"
        ) from error
    except TooManyEntries as error:
        raise BundleError(f"{path} has more than {BOUNDS.entries} entries: it is no bundle") from error
