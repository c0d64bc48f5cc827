"""Stored values of CT frames to HU, native or encapsulated (PS3.5 A, PS3.3 C.11.1). Used in the reading child only.

Native frames are read from their known place in the file into the volume and turned into HU there; encapsulated ones
are decoded by `dicom_node.decoders`.
"""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from dicom_node.encoded_data_set import EncodedDataSet
from dicom_node.errors import UnusableSeries
from dicom_node.frames import Frame, Rescale, numbers, text
from dicom_node.hu_scale import AIR_HU
from dicom_node.instance_file import InstanceFile

_MAXIMUM_SIDE = 4096
_MAXIMUM_THREADS = 8
"""Each takes address space of the reading child, which is limited."""


def pixel_problem(file: InstanceFile, frames: int) -> str:  # noqa: PLR0911 - one return a reason
    """Why a file's pixels cannot be CT values, judged by its header alone; an empty text when they can."""
    dataset = file.dataset
    rows, columns = dataset.integer("Rows"), dataset.integer("Columns")
    if not rows or not columns or min(rows, columns) < 0:
        return "Rows or Columns is missing"
    if max(rows, columns) > _MAXIMUM_SIDE:
        return "The matrix is beyond the limit"
    if file.pixels_end <= file.pixels_start:
        return "Pixel Data is missing or truncated"
    samples = dataset.integer("SamplesPerPixel") if "SamplesPerPixel" in dataset else 1
    if dataset.integer("BitsAllocated") != 16 or samples != 1:
        return "The pixels are not 16 bit gray values"
    if text(dataset, "PhotometricInterpretation") not in {"MONOCHROME2", "MONOCHROME1"}:
        return "The pixels are not gray values"
    bits, high = dataset.integer("BitsStored"), dataset.integer("HighBit")
    if bits is None or high is None or not 1 <= bits <= high + 1 <= 16:
        return "Bits Stored or High Bit is impossible"
    if not file.encapsulated and file.pixels_end - file.pixels_start < 2 * rows * columns * frames:
        return "Pixel Data is truncated"
    return ""


def write_hu(frames: Sequence[Frame], volume: NDArray[np.int16]) -> None:
    """Write the frames into ``volume`` (slice, row, column), in order; UnusableSeries when one cannot be decoded.

    Compressed frames are decoded by several threads.
    """
    planes = np.asarray(volume)
    if not any(frame.file.encapsulated for frame in frames):  # memory is the limit, not the processor
        for frame, plane in zip(frames, planes, strict=True):
            _read_native(frame, plane)
            _rescale(frame, plane)
        return
    from dicom_node.encapsulated import EncapsulatedFrames  # noqa: PLC0415  (half a second, for compressed images alone)

    encapsulated = EncapsulatedFrames(frames)

    def write(index: int) -> None:
        frame, plane = frames[index], planes[index]
        if frame.file.encapsulated:
            plane.view(np.uint16)[...] = encapsulated.words(frame)
        else:
            _read_native(frame, plane)
        _rescale(frame, plane)

    with ThreadPoolExecutor(min(len(frames), _cores(), _MAXIMUM_THREADS)) as pool:
        try:
            written = pool.map(write, range(len(frames)))
        except RuntimeError as error:  # a thread needs address space for its stack
            raise MemoryError("no thread can be started") from error
        for _ in written:
            pass


def to_hu(words: NDArray[np.uint16], dataset: EncodedDataSet, rescale: Rescale) -> NDArray[np.int16]:
    """Turn stored 16 bit words into HU in their place, and return them.

    Unused bits are removed, the sign extended, padding turned to air; then they are rescaled and rounded.
    """
    bits, high = dataset.integer("BitsStored") or 16, dataset.integer("HighBit") or 0
    signed = dataset.integer("PixelRepresentation") == 1
    if high < 15:
        words <<= np.uint16(15 - high)
    hu: NDArray[np.int16] = words.view(np.int16)
    values: NDArray[np.uint16] | NDArray[np.int16] = hu if signed else words
    if bits < 16:
        values >>= 16 - bits
    padding = _padding(dataset, values)
    low, span = (-(1 << (bits - 1)) if signed else 0), (1 << bits) - 1
    ends = [rescale.slope * end + rescale.intercept for end in (low, low + span)]
    if rescale.slope == 1.0 and rescale.intercept.is_integer() and min(ends) >= -32768 and max(ends) <= 32767:
        hu += np.int16(rescale.intercept)
    else:
        scaled = values * np.float64(rescale.slope)
        scaled += rescale.intercept
        np.clip(np.rint(scaled, out=scaled), -32768, 32767, out=scaled)
        hu[...] = scaled
    if padding is not None:
        hu[padding] = AIR_HU
    return hu


def _rescale(frame: Frame, plane: NDArray[np.int16]) -> None:
    """Turn the words of a frame, which lie in ``plane``, into HU."""
    if frame.rescale is None:
        raise UnusableSeries("Rescale Slope or Rescale Intercept is missing.", code="NO_RESCALE")
    to_hu(plane.view(np.uint16), frame.file.dataset, frame.rescale)


def _padding(dataset: EncodedDataSet, values: NDArray[np.uint16] | NDArray[np.int16]) -> NDArray[np.bool_] | None:
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


def _read_native(frame: Frame, plane: NDArray[np.int16]) -> None:
    """Read the words of a native frame straight from the file into ``plane``."""
    with frame.file.path.open("rb", buffering=0) as file:
        file.seek(frame.file.pixels_start + plane.nbytes * frame.index)
        count = file.readinto(plane.data)
    if count != plane.nbytes:
        raise UnusableSeries("Pixel Data is truncated.", code="TRUNCATED")
    if sys.byteorder == "big":
        plane.byteswap(inplace=True)


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
