"""Stored values of CT frames to HU, native or encapsulated (PS3.5 A, PS3.3 C.11.1). Used in the reading child only.

Native frames are read from their known place in the file; encapsulated ones by pydicom's decoders, after the size that
the code stream claims was compared with Rows and Columns.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from dicom_node.errors import UnusableSeries
from dicom_node.frames import Frame, Rescale, numbers, text
from dicom_node.instance_file import InstanceFile
from dicom_node.malformed import MALFORMED
from dicom_node.series import AIR_HU

_MAXIMUM_SIDE = 4096
_J2K_START = b"\xff\x4f\xff\x51"
_JPEG_FRAME_MARKERS = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7})


def pixel_problem(file: InstanceFile, frames: int) -> str:  # noqa: PLR0911 - one return a reason
    """Why a file's pixels cannot be CT values, judged by its header alone; an empty text when they can."""
    dataset = file.dataset
    rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if not isinstance(rows, int) or not isinstance(columns, int) or not rows or not columns:
        return "Rows or Columns is missing"
    if max(rows, columns) > _MAXIMUM_SIDE:
        return "The matrix is beyond the limit"
    if file.pixels_end <= file.pixels_start:
        return "Pixel Data is missing or truncated"
    if dataset.get("BitsAllocated") != 16 or dataset.get("SamplesPerPixel", 1) != 1:
        return "The pixels are not 16 bit gray values"
    if text(dataset, "PhotometricInterpretation") not in {"MONOCHROME2", "MONOCHROME1"}:
        return "The pixels are not gray values"
    bits, high = dataset.get("BitsStored"), dataset.get("HighBit")
    if not isinstance(bits, int) or not isinstance(high, int) or not 1 <= bits <= high + 1 <= 16:
        return "Bits Stored or High Bit is impossible"
    if not file.encapsulated and file.pixels_end - file.pixels_start < 2 * rows * columns * frames:
        return "Pixel Data is truncated"
    return ""


def write_hu(frames: Sequence[Frame], volume: NDArray[np.int16]) -> None:
    """Decode the frames into ``volume`` (slice, row, column), in order; UnusableSeries when one cannot be decoded."""
    decoded: dict[Path, list[NDArray[np.uint16]]] = {}
    for index, frame in enumerate(frames):
        if frame.rescale is None:
            raise UnusableSeries("Rescale Slope or Rescale Intercept is missing.", code="NO_RESCALE")
        stored = _native(frame) if not frame.file.encapsulated else _encapsulated(frame, decoded)
        volume[index] = to_hu(stored, frame.file.dataset, frame.rescale)


def to_hu(stored: NDArray[np.uint16], dataset: Dataset, rescale: Rescale) -> NDArray[np.int16]:
    """HU of stored 16 bit words: unused bits removed, sign extended, padding turned to air, rescaled, rounded."""
    bits, high = int(dataset.BitsStored), int(dataset.HighBit)
    signed = dataset.get("PixelRepresentation") == 1
    words = stored if high == 15 else stored << np.uint16(15 - high)
    values = (words.view(np.int16) if signed else words) >> (16 - bits)
    low, span = (-(1 << (bits - 1)) if signed else 0), (1 << bits) - 1
    ends = [rescale.slope * end + rescale.intercept for end in (low, low + span)]
    if rescale.slope == 1.0 and rescale.intercept.is_integer() and min(ends) >= -32768 and max(ends) <= 32767:
        hu = values.view(np.int16) + np.int16(rescale.intercept)
    else:
        scaled = np.rint(values.astype(np.float32) * rescale.slope + rescale.intercept)
        hu = np.clip(scaled, -32768, 32767).astype(np.int16)
    padding = _padding(dataset, values)
    if padding is not None:
        hu[padding] = AIR_HU
    return hu


def _padding(dataset: Dataset, values: NDArray[np.uint16] | NDArray[np.int16]) -> NDArray[np.bool_] | None:
    """Where padding lies (PS3.3 C.7.5.1.1.2), or None when the header names no padding value."""
    first = numbers(dataset, "PixelPaddingValue", 1)
    if first is None:
        return None
    last = numbers(dataset, "PixelPaddingRangeLimit", 1) or first
    low, high = sorted((_as_stored(first[0], values.dtype), _as_stored(last[0], values.dtype)))
    return (values >= low) & (values <= high)


def _as_stored(number: float, dtype: np.dtype[np.uint16] | np.dtype[np.int16]) -> int:
    """A padding value read with the wrong signedness, put right."""
    value = int(number)
    if dtype == np.int16 and value > 32767:
        return value - 65536
    return value + 65536 if dtype == np.uint16 and value < 0 else value


def _native(frame: Frame) -> NDArray[np.uint16]:
    """The words of a native frame, straight from the file."""
    count = frame.rows * frame.columns
    offset = frame.file.pixels_start + 2 * count * frame.index
    words = np.fromfile(frame.file.path, dtype="<u2", count=count, offset=offset)
    if words.size != count:
        raise UnusableSeries("Pixel Data is truncated.", code="TRUNCATED")
    return words.reshape(frame.rows, frame.columns)


def _encapsulated(frame: Frame, decoded: dict[Path, list[NDArray[np.uint16]]]) -> NDArray[np.uint16]:
    """The words of an encapsulated frame; a multi-frame file is decoded once."""
    path = frame.file.path
    if path not in decoded:
        decoded.clear()
        try:
            decoded[path] = list(_decode(frame))
        except MALFORMED as error:
            raise UnusableSeries("Pixel Data cannot be decoded.", code="UNDECODABLE") from error
    if frame.index >= len(decoded[path]):
        raise UnusableSeries("Pixel Data holds fewer frames than the header says.", code="TRUNCATED")
    return decoded[path][frame.index]


def _decode(frame: Frame) -> Iterator[NDArray[np.uint16]]:
    """Every frame of the file as words."""
    dataset = frame.file.dataset
    frames = int((numbers(dataset, "NumberOfFrames", 1) or (1.0,))[0]) if frame.multi_frame else 1
    with frame.file.path.open("rb") as file:
        file.seek(frame.file.pixels_start)
        value = file.read(frame.file.pixels_end - frame.file.pixels_start)
    decoder = get_decoder(UID(frame.file.transfer_syntax_uid))
    for code_stream in generate_frames(value, number_of_frames=frames):
        size = code_stream_size(code_stream)
        if size is not None and size != (frame.rows, frame.columns):
            raise UnusableSeries("The compressed image has another size than the header says.", code="UNDECODABLE")
        array, _ = decoder.as_array(_one_fragment(code_stream), **_decoder_options(frame), raw=True)
        if array.shape != (frame.rows, frame.columns):
            raise UnusableSeries("The compressed image has another size than the header says.", code="UNDECODABLE")
        if array.dtype.itemsize != 2:
            array = array.astype(np.int16 if dataset.get("PixelRepresentation") == 1 else np.uint16)
        yield np.ascontiguousarray(array).view(np.uint16)


def _one_fragment(code_stream: bytes) -> bytes:
    """The code stream encapsulated as the only frame, with an empty offset table (PS3.5 A.4)."""
    padded = code_stream + b"\0" * (len(code_stream) % 2)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, len(padded)) + padded
    return item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def _decoder_options(frame: Frame) -> dict[str, Any]:
    """The Image Pixel attributes as pydicom's decoders take them."""
    dataset = frame.file.dataset
    return {
        "rows": frame.rows,
        "columns": frame.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": 16,
        "bits_stored": int(dataset.BitsStored),
        "pixel_representation": 1 if dataset.get("PixelRepresentation") == 1 else 0,
        "photometric_interpretation": text(dataset, "PhotometricInterpretation"),
        "pixel_keyword": "PixelData",
    }


def code_stream_size(data: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 code stream claims, or None where it claims none."""
    start = data.find(_J2K_START, 0, 256)
    if start >= 0 and len(data) >= start + 24:
        width, height, left, top = struct.unpack_from(">4I", data, start + 8)
        return height - top, width - left
    if data[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _JPEG_FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return height, width
        position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])
    return None
