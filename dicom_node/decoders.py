"""Code streams of encapsulated CT frames to stored words (PS3.5 A.4). Used in the reading child only.

imagecodecs decodes what it can be trusted with: it is faster and lets other threads run. Whatever it refuses, and
whatever it is known to accept although it is damaged or means something else, is left to pydicom's decoders.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from dicom_node.errors import UnusableSeries
from dicom_node.malformed import MALFORMED

Words = NDArray[np.uint16]

_J2K_START = b"\xff\x4f\xff\x51"
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_FRAME_MARKERS = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7})
_OTHER_SIZE = "The compressed image has another size than the header says."
_JPEG_2000 = frozenset({uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K})
_JPEG_LS = frozenset({uid.JPEGLSLossless, uid.JPEGLSNearLossless})
_JPEG_LOSSLESS = frozenset({uid.JPEGLossless, uid.JPEGLosslessSV1})


@dataclass(frozen=True, slots=True)
class Image:
    """What a data set says of each of its encapsulated frames: 16 bits allocated, one sample a pixel."""

    transfer_syntax_uid: str
    rows: int
    columns: int
    bits_stored: int
    signed: bool
    photometric_interpretation: str


@dataclass(frozen=True, slots=True)
class CodeStreamHeader:
    """What a code stream says of itself."""

    rows: int
    columns: int
    precision: int


def decode(code_stream: bytes, image: Image) -> Words:
    """One frame's words (row, column); UnusableSeries when it has another size or cannot be decoded.

    The size that the code stream claims is compared before anything is decoded.
    """
    try:
        header = code_stream_header(code_stream)
        if header is not None and (header.rows, header.columns) != (image.rows, image.columns):
            raise UnusableSeries(_OTHER_SIZE, code="UNDECODABLE")
        words = _fast(code_stream, image, header)
        return _thorough(code_stream, image) if words is None else words
    except MALFORMED as error:
        raise UnusableSeries("Pixel Data cannot be decoded.", code="UNDECODABLE") from error


def code_stream_header(data: bytes) -> CodeStreamHeader | None:
    """What a JPEG, JPEG-LS or JPEG 2000 code stream claims, or None where it claims nothing."""
    start = data.find(_J2K_START, 0, 256)
    if start >= 0 and len(data) >= start + 43:
        width, height, left, top = struct.unpack_from(">4I", data, start + 8)
        return CodeStreamHeader(height - top, width - left, (data[start + 42] & 0x7F) + 1)
    if data[:2] != _JPEG_START:
        return None
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _JPEG_FRAME_MARKERS:
            precision, height, width = struct.unpack_from(">BHH", data, position + 4)
            return CodeStreamHeader(height, width, precision)
        position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])
    return None


def _fast(data: bytes, image: Image, header: CodeStreamHeader | None) -> Words | None:
    """The words as imagecodecs decodes them, or None where pydicom's decoders are to be asked."""
    decoder = _fast_decoder(data, image, header)
    if decoder is None:
        return None
    try:
        array = np.asarray(decoder(data))
    except MALFORMED:
        return None
    if array.shape != (image.rows, image.columns) or array.dtype.itemsize != 2:
        return None
    if image.transfer_syntax_uid in _JPEG_2000 and (array.dtype.kind == "i") != image.signed:
        return None  # the component's sign is not the header's: what was meant is pydicom's to say
    return np.ascontiguousarray(array).view(np.uint16)


def _fast_decoder(data: bytes, image: Image, header: CodeStreamHeader | None) -> Callable[[bytes], Any] | None:
    """The function of imagecodecs for this code stream, or None where it is not to be used."""
    import imagecodecs  # noqa: PLC0415  (only studies with compressed images pay for it)

    syntax = image.transfer_syntax_uid
    if syntax == uid.RLELossless:
        return lambda segments: _rle(imagecodecs.dicomrle_decode, segments, image)
    if header is None:
        return None
    if syntax in _JPEG_2000:
        return lambda stream: imagecodecs.jpeg2k_decode(stream, numthreads=1)
    if syntax in _JPEG_LS and (not image.signed or header.precision == image.bits_stored):
        return imagecodecs.jpegls_decode
    # libjpeg-turbo fills up a truncated image and only warns
    if syntax in _JPEG_LOSSLESS and data.rstrip(b"\0").endswith(_JPEG_END):
        return imagecodecs.jpeg8_decode
    return None


def _rle(decoder: Callable[..., bytes | bytearray], segments: bytes, image: Image) -> Words:
    """The words of an RLE frame, never more than the header says."""
    size = 2 * image.rows * image.columns
    return np.frombuffer(decoder(segments, "<u2", out=size), dtype="<u2").reshape(image.rows, image.columns)


def _thorough(code_stream: bytes, image: Image) -> Words:
    """The words as pydicom's decoders see them."""
    decoder = get_decoder(UID(image.transfer_syntax_uid))
    array, _ = decoder.as_array(_one_fragment(code_stream), **_decoder_options(image), raw=True)
    if array.shape != (image.rows, image.columns):
        raise UnusableSeries(_OTHER_SIZE, code="UNDECODABLE")
    if array.dtype.itemsize != 2:
        array = array.astype(np.int16 if image.signed else np.uint16)
    return np.ascontiguousarray(array).view(np.uint16)


def _one_fragment(code_stream: bytes) -> bytes:
    """The code stream encapsulated as the only frame, with an empty offset table (PS3.5 A.4)."""
    padded = code_stream + b"\0" * (len(code_stream) % 2)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, len(padded)) + padded
    return item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def _decoder_options(image: Image) -> dict[str, Any]:
    """The Image Pixel attributes as pydicom's decoders take them."""
    return {
        "rows": image.rows,
        "columns": image.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": 16,
        "bits_stored": image.bits_stored,
        "pixel_representation": int(image.signed),
        "photometric_interpretation": image.photometric_interpretation,
        "pixel_keyword": "PixelData",
    }
