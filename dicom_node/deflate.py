"""A stored data set deflated: Deflated Explicit VR Little Endian (PS3.5 A.5, RFC 1951)."""

import zlib
from pathlib import Path

from dicom_node.part10 import read_file_meta

_PIECE_BYTES = 1024 * 1024


def deflated(path: Path) -> bytes:
    """Return the data set of a file in Explicit VR Little Endian deflated, without file meta information.

    Raises ``OSError`` and ``InvalidInstance``.
    """
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)  # no zlib header
    with path.open("rb") as file:
        read_file_meta(file)
        pieces = [compressor.compress(piece) for piece in iter(lambda: file.read(_PIECE_BYTES), b"")]
    stream = b"".join([*pieces, compressor.flush()])
    return stream + b"\0" * (len(stream) % 2)
