"""JPEG and PNG bytes of a stranger to a gray image, within bounds; nothing of them is executed or written.

The size is read from the header and refused before a pixel is decoded; only the two named formats are tried.
"""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model.errors import UnusableImage

FORMATS = ("JPEG", "PNG")
COLOR_DIFFERENCE = 24
"""Two channels of a pixel (0..255) that differ by more are color; JPEG alone makes differences of a few."""
COLOR_SHARE = 0.005

_DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, KeyError, OverflowError, MemoryError,
    struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
"""All that Pillow is known to raise on damaged files."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is decoded at most."""

    content_bytes: int = 64 * 1024 * 1024
    pixels: int = 16 * 1024 * 1024
    side: int = 16_384


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: gray values (row, column), 0..1.

    ``colored``: it had color (annotations, a photo). ``from_hu``: the gray values are HU in the bone window.
    """

    gray: NDArray[np.float32]
    colored: bool = False
    from_hu: bool = False


def is_picture(content: bytes) -> bool:
    """Whether the bytes begin as a JPEG or PNG file does."""
    return content.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))


def decode_image(content: bytes, limits: ImageLimits | None = None) -> Picture:
    """The picture in JPEG or PNG bytes, 8 or 16 bit, gray or RGB, upright; raises ``UnusableImage``."""
    limits = limits or ImageLimits()
    if len(content) > limits.content_bytes:
        raise UnusableImage(f"the image file is larger than {limits.content_bytes} bytes")
    if not is_picture(content):
        raise UnusableImage("the file is no JPEG or PNG image")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_size(image.size, limits)
            image.load()
            return _picture(ImageOps.exif_transpose(image))
    except UnusableImage:
        raise
    except _DECODING_ERRORS as error:
        raise UnusableImage(f"the image is damaged or truncated ({type(error).__name__})") from error


def _check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width * height > limits.pixels or max(size) > limits.side:
        raise UnusableImage(f"the image has {width} x {height} pixels: {limits.pixels} are the most")


def _picture(image: Image.Image) -> Picture:
    """Gray values of an image in any mode of Pillow's that the formats give."""
    if image.mode.startswith("I"):  # 16 bit gray
        return Picture(np.asarray(image, dtype=np.float32) / np.float32(65535))
    if image.mode in {"1", "L"}:
        return Picture(np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255))
    if image.has_transparency_data:  # what is transparent counts as black, as on a viewer's background
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
    colors = np.asarray(image.convert("RGB"))
    spread = colors.max(axis=2) - colors.min(axis=2)
    colored = float((spread > COLOR_DIFFERENCE).mean()) > COLOR_SHARE
    return Picture(np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255), colored)
