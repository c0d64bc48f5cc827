"""Stored values of CT frames to HU, native or encapsulated (PS3.5 A, PS3.3 C.11.1). Used in the reading child only.

Native frames are read from their known place in the file; encapsulated ones by `dicom_node.decoders`.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_frames

from dicom_node.decoders import Image, decode
from dicom_node.errors import UnusableSeries
from dicom_node.frames import Frame, Rescale, numbers, text
from dicom_node.instance_file import InstanceFile
from dicom_node.malformed import MALFORMED
from dicom_node.series import AIR_HU

_MAXIMUM_SIDE = 4096
_MAXIMUM_THREADS = 8
"""Each takes address space of the reading child, which is limited."""


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
    """Decode the frames into ``volume`` (slice, row, column), in order; UnusableSeries when one cannot be decoded.

    Compressed frames are decoded by several threads.
    """
    sources: dict[Path, Sequence[bytes]] = {}

    def write(index: int) -> None:
        frame = frames[index]
        if frame.rescale is None:
            raise UnusableSeries("Rescale Slope or Rescale Intercept is missing.", code="NO_RESCALE")
        stored = _encapsulated(frame, sources) if frame.file.encapsulated else _native(frame)
        volume[index] = to_hu(stored, frame.file.dataset, frame.rescale)

    if not any(frame.file.encapsulated for frame in frames):
        for index in range(len(frames)):  # memory is the limit, not the processor
            write(index)
        return
    sources.update({frame.file.path: _code_streams(frame) for frame in frames if frame.multi_frame})
    with ThreadPoolExecutor(min(len(frames), _cores(), _MAXIMUM_THREADS)) as pool:
        try:
            written = pool.map(write, range(len(frames)))
        except RuntimeError as error:  # a thread needs address space for its stack
            raise MemoryError("no thread can be started") from error
        for _ in written:
            pass


def to_hu(stored: NDArray[np.uint16], dataset: Dataset, rescale: Rescale) -> NDArray[np.int16]:
    """HU of stored 16 bit words: unused bits removed, sign extended, padding turned to air, rescaled, rounded."""
    bits, high = int(dataset.BitsStored), int(dataset.HighBit)
    signed = dataset.get("PixelRepresentation") == 1
    words = stored if high == 15 else stored << np.uint16(15 - high)
    values = words.view(np.int16) if signed else words
    if bits < 16:
        values = values >> (16 - bits)
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


def _encapsulated(frame: Frame, sources: Mapping[Path, Sequence[bytes]]) -> NDArray[np.uint16]:
    """The words of an encapsulated frame; ``sources`` has the code streams of multi-frame files."""
    code_streams = sources.get(frame.file.path) or _code_streams(frame)
    if frame.index >= len(code_streams):
        raise UnusableSeries("Pixel Data holds fewer frames than the header says.", code="TRUNCATED")
    dataset = frame.file.dataset
    image = Image(
        transfer_syntax_uid=frame.file.transfer_syntax_uid,
        rows=frame.rows,
        columns=frame.columns,
        bits_stored=int(dataset.BitsStored),
        signed=dataset.get("PixelRepresentation") == 1,
        photometric_interpretation=text(dataset, "PhotometricInterpretation"),
    )
    return decode(code_streams[frame.index], image)


def _code_streams(frame: Frame) -> Sequence[bytes]:
    """The code stream of every frame of the frame's file."""
    dataset = frame.file.dataset
    frames = int((numbers(dataset, "NumberOfFrames", 1) or (1.0,))[0]) if frame.multi_frame else 1
    with frame.file.path.open("rb") as file:
        file.seek(frame.file.pixels_start)
        value = file.read(frame.file.pixels_end - frame.file.pixels_start)
    try:
        return list(generate_frames(value, number_of_frames=frames))
    except MALFORMED as error:
        raise UnusableSeries("Pixel Data cannot be decoded.", code="UNDECODABLE") from error


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
