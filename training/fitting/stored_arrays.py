"""Arrays of an ``.npz`` file, mapped instead of read: no more of a large data set is in memory than a batch needs.

What ``numpy.savez`` writes is not compressed, so that each array lies in the file as it lies in memory. All processes
that read a file share one copy of it, the system's own.
"""

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from training.datasets.studies import DataSetError

_LOCAL_HEADER = 30
"""Bytes of a ZIP file's local header before the name (APPNOTE.TXT 4.3.7); the lengths of name and extra end it."""


@dataclass(frozen=True, slots=True)
class _Place:
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool


class StoredArrays:
    """The arrays of one file; raises ``DataSetError`` where it is none, is cut off or is compressed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            size = path.stat().st_size
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                self._places = {info.filename.removesuffix(".npy"): _place(file, info) for info in archive.infolist()}
        except (OSError, ValueError, struct.error, zipfile.BadZipFile) as error:
            raise DataSetError(f"{path} is damaged: remove it and make it again ({error})") from error
        for place in self._places.values():
            if place.offset + int(np.prod(place.shape)) * place.dtype.itemsize > size:
                raise DataSetError(f"{path} is cut off: remove it and make it again")

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def mapped(self, name: str) -> NDArray[Any]:
        """An array, read-only; only the pages that are touched are read."""
        if name not in self._places:
            raise DataSetError(f"{self.path} holds no {name}: remove it and make it again")
        place = self._places[name]
        if not all(place.shape):
            return np.empty(place.shape, place.dtype)
        order = "F" if place.fortran else "C"
        return np.memmap(self.path, place.dtype, "r", place.offset, place.shape, order)  # type: ignore[call-overload, no-any-return]  # as NumPy documents


def _place(file: BinaryIO, info: zipfile.ZipInfo) -> _Place:
    """Where an array lies in the file."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed")
    file.seek(info.header_offset)
    name, extra = struct.unpack("<HH", file.read(_LOCAL_HEADER)[-4:])
    file.seek(info.header_offset + _LOCAL_HEADER + name + extra)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError(f"{info.filename} holds no plain numbers")
    return _Place(file.tell(), shape, dtype, fortran)
