"""Stored values to HU: bits, sign, padding, rescale, and code streams that lie about their size."""

import base64
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from dicom_node import decoders
from dicom_node.decoders import code_stream_header
from dicom_node.errors import UnusableSeries
from dicom_node.frames import Rescale, frames_of
from dicom_node.instance_file import read_instance
from dicom_node.pixels import pixel_problem, to_hu, write_hu
from tests.dicom_node.small_series import SPACING_MM, encoded, small_hu
from training.synthesis.phantom_encoding import TransferSyntax
from training.synthesis.phantom_series import Encoding, SeriesOptions, make_series, write_series

HTJ2K_32_BY_32 = base64.b85decode(
    "|4;u>04YEK0000W0000W00000000000000W0000W0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&kdTm&kdTmwh="
    "~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000u>b-8lfVEbHTwkzbO68r62Jfx0PFyVbO0jx0|#^fzyK3K026@L{s01W0FZ>_0Hag@zyK4"
    "#02N@Ws-UOBbpS>hF=FJvLILcy0KfnhZ~z6SBuSFzz^A9DLU;fkJv=--JUl%9{fuCH_A!C%x&XicEeHSwz5oCK0QvtZ>FMd|>FMHp0Dj;1ec$(e-}"
    "imr_y2fcLI=NL2p;`}Aba)@f$XyZ|Je"
)
"""A 32×32 ramp, 64 × row + 3 × column, as reversible HTJ2K, made with imagecodecs 2026.3.6."""


def attributes(*, bits=16, high=None, signed=False, **more):
    dataset = Dataset()
    dataset.BitsStored, dataset.HighBit = bits, bits - 1 if high is None else high
    dataset.PixelRepresentation = int(signed)
    for keyword, value in more.items():
        dataset.add_new(keyword, "US", value)
    return encoded(dataset)


def hu_of(stored, dataset, slope=1.0, intercept=-1024.0):
    return to_hu(np.array([stored], dtype=np.uint16), dataset, Rescale(slope, intercept, "HU"))[0].tolist()


def frame_of(dataset, tmp_path: Path):
    path = tmp_path / "one.dcm"
    dataset.save_as(path, enforce_file_format=True)
    file = read_instance(path)
    (frame,) = frames_of(file, 10)
    return frame


def decoded(frame):
    volume = np.empty((1, frame.rows, frame.columns), dtype=np.int16)
    write_hu((frame,), volume)
    return volume[0]


def test_unused_high_bits_are_removed():
    assert hu_of([0xF000 | 1024, 24], attributes(bits=12)) == [0, -1000]


def test_twelve_bit_signed_values_are_sign_extended():
    assert hu_of([0x0FFF, 0x0800, 0x07FF], attributes(bits=12, signed=True), intercept=0.0) == [-1, -2048, 2047]


def test_values_left_aligned_in_their_word_are_shifted():
    assert hu_of([1024 << 4], attributes(bits=12, high=15)) == [0]


def test_unsigned_values_beyond_the_range_of_hu_are_clipped():
    assert hu_of([65535, 0], attributes()) == [32767, -1024]


def test_slope_and_fractional_intercept_are_rounded():
    assert hu_of([0, 3], attributes(), slope=0.5, intercept=-0.25) == [0, 1]


def test_padding_becomes_air():
    assert hu_of([63536, 24], attributes(signed=True, PixelPaddingValue=63536), intercept=0.0) == [-1024, 24]
    assert hu_of([5, 7, 9], attributes(PixelPaddingValue=5, PixelPaddingRangeLimit=7), intercept=0.0) == [
        -1024,
        -1024,
        9,
    ]


STORED_FORMS = [
    (16, 15, False),
    (16, 15, True),
    (12, 11, False),
    (12, 11, True),
    (13, 12, True),
    (12, 15, False),
    (10, 13, True),
    (1, 0, False),
]


@pytest.mark.parametrize(("bits", "high", "signed"), STORED_FORMS)
@pytest.mark.parametrize(
    ("slope", "intercept"),
    [("1", "0"), ("1", "-1024"), ("1", "-1024.5"), ("2", "-8192"), ("0.37", "-1000.1"), ("-1", "5"), ("250", "-32768")],
)
def test_native_pixels_of_every_stored_form_are_what_pydicom_makes_of_them(
    tmp_path, bits, high, signed, slope, intercept
):
    (dataset,) = make_series(small_hu()[:1], SPACING_MM)
    words = np.random.default_rng(bits).integers(0, 1 << 16, (dataset.Rows, dataset.Columns), dtype=np.uint16)
    dataset.PixelData = words.tobytes()
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, high, int(signed)
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    dataset.pop("PixelPaddingValue", None)
    found = decoded(frame_of(dataset, tmp_path))
    if high + 1 > bits:  # pydicom takes the lowest bits whatever High Bit says
        shifted = words >> np.uint16(high + 1 - bits)
        dataset.PixelData, dataset.HighBit = shifted.tobytes(), bits - 1
    rescaled = pydicom.pixels.apply_rescale(dataset.pixel_array, dataset)
    assert np.array_equal(found, np.clip(np.rint(rescaled), -32768, 32767).astype(np.int16))


@pytest.mark.parametrize("signed", [False, True])
def test_padding_of_a_file_becomes_air_and_nothing_else_does(tmp_path, signed):
    (dataset,) = make_series(small_hu()[:1], SPACING_MM, SeriesOptions(encoding=Encoding(signed=signed)))
    stored = dataset.pixel_array.copy()
    padding = -2000 if signed else 3000
    stored[:5] = padding
    dataset.PixelData = stored.tobytes()
    dataset.add_new("PixelPaddingValue", "SS" if signed else "US", padding)
    rescaled = pydicom.pixels.apply_rescale(stored, dataset)
    found = decoded(frame_of(dataset, tmp_path))
    assert (found[:5] == -1024).all()
    assert np.array_equal(found[5:], rescaled[5:])


@pytest.mark.parametrize("compressed", [0, 1])
def test_native_and_compressed_slices_may_stand_in_one_stack(tmp_path, compressed):
    hu = small_hu()[:2]
    frames = []
    for index in range(2):
        syntax = TransferSyntax.RLE if index == compressed else TransferSyntax.EXPLICIT_LE
        dataset = make_series(hu, SPACING_MM, SeriesOptions(encoding=Encoding(syntax)))[index]
        (tmp_path / str(index)).mkdir()
        frames.append(frame_of(dataset, tmp_path / str(index)))
    volume = np.empty_like(hu)
    write_hu(frames, volume)
    truth = np.stack([decoded(frame) for frame in frames])
    assert np.array_equal(volume, truth)
    assert {plane.tobytes() for plane in volume} == {plane.tobytes() for plane in hu}


def test_a_file_that_was_cut_after_its_header_was_read_is_truncated(tmp_path):
    (dataset,) = make_series(small_hu()[:1], SPACING_MM)
    frame = frame_of(dataset, tmp_path)
    frame.file.path.write_bytes(frame.file.path.read_bytes()[:-2])
    with pytest.raises(UnusableSeries) as refused:
        decoded(frame)
    assert refused.value.code == "TRUNCATED"


@pytest.mark.parametrize(
    "syntax",
    [
        TransferSyntax.EXPLICIT_LE,
        TransferSyntax.IMPLICIT_LE,
        TransferSyntax.RLE,
        TransferSyntax.JPEG_LOSSLESS_SV1,
        TransferSyntax.JPEG_LS_LOSSLESS,
        TransferSyntax.JPEG_2000_LOSSLESS,
    ],
)
@pytest.mark.parametrize("signed", [False, True])
def test_every_transfer_syntax_gives_the_same_hu(tmp_path, syntax, signed):
    hu = small_hu()[:1]
    encoding = Encoding(syntax, bits_stored=16 if signed else 12, signed=signed)
    (dataset,) = make_series(hu, SPACING_MM, SeriesOptions(encoding=encoding))
    assert np.array_equal(decoded(frame_of(dataset, tmp_path)), hu[0])


def test_htj2k_is_decoded(tmp_path):
    (dataset,) = make_series(np.zeros((1, 32, 32), dtype=np.int16), SPACING_MM)
    dataset.PixelData = encapsulate([HTJ2K_32_BY_32])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = HTJ2KLossless
    expected = 64 * np.arange(32)[:, None] + 3 * np.arange(32) - 1024
    assert np.array_equal(decoded(frame_of(dataset, tmp_path)), expected)
    header = code_stream_header(HTJ2K_32_BY_32)
    assert (header.rows, header.columns, header.precision) == (32, 32, 16)


LOSSLESS = [
    TransferSyntax.RLE,
    TransferSyntax.JPEG_LOSSLESS_SV1,
    TransferSyntax.JPEG_LS_LOSSLESS,
    TransferSyntax.JPEG_2000_LOSSLESS,
    TransferSyntax.HTJ2K_LOSSLESS,
]


def noisy(syntax, *, bits, signed):
    """A 96 × 80 frame full of noise in its transfer syntax."""
    hu = np.random.default_rng(bits).integers(-1024, 3000, (1, 96, 80), dtype=np.int16)
    (dataset,) = make_series(hu, SPACING_MM, SeriesOptions(encoding=Encoding(syntax, bits_stored=bits, signed=signed)))
    return dataset


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize(("bits", "signed"), [(12, False), (16, False), (16, True), (13, True)])
def test_what_the_fast_decoder_says_is_bit_for_bit_what_pydicom_says(tmp_path, syntax, bits, signed, monkeypatch):
    frame = frame_of(noisy(syntax, bits=bits, signed=signed), tmp_path)
    fast = decoded(frame)
    monkeypatch.setattr(decoders, "_fast", lambda *_: None)
    assert np.array_equal(fast, decoded(frame))


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize(("bits", "signed"), [(12, False), (16, True)])
def test_the_fast_decoder_is_the_one_that_is_used(tmp_path, syntax, bits, signed, monkeypatch):
    frame = frame_of(noisy(syntax, bits=bits, signed=signed), tmp_path)
    monkeypatch.setattr(decoders, "_thorough", lambda *_: pytest.fail("pydicom was asked"))
    assert decoded(frame).shape == (96, 80)


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.99])
def test_a_truncated_code_stream_is_refused(tmp_path, syntax, kept):
    dataset = noisy(syntax, bits=16, signed=True)
    (code_stream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([code_stream[: int(kept * len(code_stream))]])
    with pytest.raises(UnusableSeries) as refused:
        decoded(frame_of(dataset, tmp_path))
    assert refused.value.code == "UNDECODABLE"


@pytest.mark.parametrize("syntax", [TransferSyntax.JPEG_2000_LOSSLESS, TransferSyntax.JPEG_LS_LOSSLESS])
def test_a_code_stream_of_another_sign_or_precision_than_the_header_is_read_as_pydicom_reads_it(
    tmp_path, syntax, monkeypatch
):
    dataset = noisy(syntax, bits=12, signed=False)
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 15, 1
    frame = frame_of(dataset, tmp_path)
    fast = decoded(frame)
    monkeypatch.setattr(decoders, "_fast", lambda *_: None)
    assert np.array_equal(fast, decoded(frame))


def test_many_compressed_slices_come_in_order(tmp_path):
    hu = np.stack([np.full((32, 32), value, dtype=np.int16) for value in range(40)])
    options = SeriesOptions(encoding=Encoding(TransferSyntax.RLE))
    paths = write_series(hu, SPACING_MM, tmp_path, options)
    frames = [frames_of(read_instance(path), 1)[0] for path in paths]
    volume = np.empty_like(hu)
    write_hu(frames, volume)
    assert sorted(volume[:, 0, 0].tolist()) == list(range(40))
    assert volume[:, 0, 0].tolist() == [int(decoded(frame)[0, 0]) for frame in frames]


@pytest.mark.parametrize(
    "syntax",
    [TransferSyntax.JPEG_LOSSLESS_SV1, TransferSyntax.JPEG_LS_LOSSLESS, TransferSyntax.JPEG_2000_LOSSLESS],
)
def test_a_code_stream_of_another_size_is_refused_before_it_is_decoded(tmp_path, syntax):
    (dataset,) = make_series(small_hu()[:1], SPACING_MM, SeriesOptions(encoding=Encoding(syntax)))
    dataset.Rows += 2
    with pytest.raises(UnusableSeries, match="another size"):
        decoded(frame_of(dataset, tmp_path))


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless])
@pytest.mark.parametrize(
    "data", [b"", b"\0" * 64, b"\xff\xd8\xff\xd9", bytes(range(256)), b"\xff\x4f\xff\x51" + b"\0" * 60]
)
def test_garbage_instead_of_a_code_stream_is_refused(tmp_path, syntax, data):
    (dataset,) = make_series(small_hu()[:1], SPACING_MM)
    dataset.PixelData = encapsulate([data or b"\0\0"])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    with pytest.raises(UnusableSeries) as refused:
        decoded(frame_of(dataset, tmp_path))
    assert refused.value.code == "UNDECODABLE"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Rows": 0}, "Rows"),
        ({"Rows": 65535}, "beyond the limit"),
        ({"Rows": 1000}, "truncated"),
        ({"BitsAllocated": 8}, "16 bit"),
        ({"SamplesPerPixel": 3}, "16 bit"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "gray"),
        ({"BitsStored": 0}, "Bits Stored"),
        ({"BitsStored": 16, "HighBit": 11}, "Bits Stored"),
        ({"HighBit": 99}, "Bits Stored"),
    ],
)
def test_impossible_pixel_attributes_are_named_before_anything_is_decoded(tmp_path, changes, words):
    (dataset,) = make_series(small_hu()[:1], SPACING_MM)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    path = tmp_path / "one.dcm"
    dataset.save_as(path, enforce_file_format=True)
    assert words in pixel_problem(read_instance(path), 1)


def test_a_good_header_has_no_problem(tmp_path):
    (dataset,) = make_series(small_hu()[:1], SPACING_MM)
    assert pixel_problem(frame_of(dataset, tmp_path).file, 1) == ""
    assert "truncated" in pixel_problem(frame_of(dataset, tmp_path).file, 2)
