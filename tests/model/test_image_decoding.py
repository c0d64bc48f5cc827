"""Bytes of a stranger become a gray image, or a sentence that says why not."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.errors import UnusableImage
from model.image_decoding import ImageLimits, decode_image


def encoded(pixels, kind="PNG", **options):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format=kind, **options)
    return content.getvalue()


GRADIENT = np.tile(np.arange(0, 240, 5, dtype=np.uint8), (40, 1))


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_that_claims(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_gray_of_8_bit_comes_back_between_0_and_1(kind):
    picture = decode_image(encoded(GRADIENT, kind))
    assert picture.gray.dtype == np.float32
    assert np.abs(picture.gray - GRADIENT / 255).max() < 0.02
    assert not picture.colored


def test_16_bit_keeps_more_than_256_gray_values():
    pixels = np.arange(48 * 48, dtype=np.uint16).reshape(48, 48) * 25
    picture = decode_image(encoded(pixels))
    assert len(np.unique(picture.gray)) == 48 * 48
    assert picture.gray.max() == pytest.approx(pixels.max() / 65535)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_of_png_is_read_as_gray(mode):
    content = io.BytesIO()
    Image.fromarray(GRADIENT).convert(mode).save(content, format="PNG")
    picture = decode_image(content.getvalue())
    assert picture.gray.shape == GRADIENT.shape
    assert not picture.colored


def test_color_is_noticed_and_the_noise_of_jpeg_is_not():
    gray = np.repeat(GRADIENT[..., None], 3, axis=2)
    drawn = gray.copy()
    drawn[5:15, 5:15] = (255, 0, 0)
    assert not decode_image(encoded(gray, "JPEG", quality=40)).colored
    assert decode_image(encoded(drawn, "JPEG")).colored


def test_an_image_that_lies_on_its_side_is_put_upright():
    content = io.BytesIO()
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(GRADIENT).save(content, format="JPEG", exif=turned)
    assert decode_image(content.getvalue()).gray.shape == GRADIENT.shape[::-1]


@pytest.mark.parametrize("size", [(60_000, 60_000), (20_000, 10), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_by_its_header(size):
    with pytest.raises(UnusableImage):
        decode_image(png_that_claims(*size))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_truncated_file_is_refused(kind, share):
    noise = np.random.default_rng(1).integers(0, 255, (64, 64), dtype=np.uint8)
    content = encoded(noise, kind)
    with pytest.raises(UnusableImage, match="damaged or truncated"):
        decode_image(content[: int(share * len(content))])


@pytest.mark.parametrize("content", [b"", b"GIF89a....", b"%PDF-1.4", b"<svg/>", b"\0" * 132 + b"DICM"])
def test_other_formats_are_not_tried(content):
    with pytest.raises(UnusableImage, match="no JPEG or PNG"):
        decode_image(content)


def test_a_file_beyond_the_limits_is_refused():
    content = encoded(GRADIENT)
    with pytest.raises(UnusableImage, match="larger than 10 bytes"):
        decode_image(content, ImageLimits(content_bytes=10))
    with pytest.raises(UnusableImage, match="pixels"):
        decode_image(content, ImageLimits(pixels=100))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.integers(8, 200), st.sampled_from(["PNG", "JPEG"]))
def test_damage_anywhere_is_refused_or_read_but_nothing_else_is_raised(noise, at, kind):
    content = bytearray(encoded(GRADIENT, kind))
    content[at : at + len(noise)] = noise
    with contextlib.suppress(UnusableImage):
        assert decode_image(bytes(content)).gray.ndim == 2
