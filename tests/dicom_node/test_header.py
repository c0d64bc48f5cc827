"""The header scan and the check that a data set is whole, on hand-made and on real bytes."""

import struct
import time
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
)

from dicom_node.elements import MAX_DEPTH, MAX_ELEMENTS
from dicom_node.errors import InvalidInstance
from dicom_node.header import InstanceHeader, inspect, is_uid, scan
from dicom_node.part10 import read_file_meta
from dicom_node.transfer_syntaxes import ENCAPSULATED_SYNTAXES, STORAGE_SYNTAXES
from tests.dicom_node.tiny_ct import SERIES_UID, STUDY_UID, encode_data_set, make_ct

NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


def long_element(tag, vr, length, value=b"", syntax=ExplicitVRLittleEndian):
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if syntax == ImplicitVRLittleEndian:
        return head + struct.pack("<I", length) + value
    return head + vr + b"\0\0" + struct.pack("<I", length) + value


def item_head(tag, length=0):
    return struct.pack("<HHI", 0xFFFE, tag, length)


def with_prefix_element(element_bytes, syntax=ExplicitVRLittleEndian):
    return element_bytes + encode_data_set(make_ct(), syntax)


@pytest.mark.parametrize("syntax", STORAGE_SYNTAXES, ids=str)
def test_the_header_of_a_whole_instance_is_read(syntax):
    dataset = make_ct(5, rows=6, columns=4, transfer_syntax=syntax)
    assert inspect(encode_data_set(dataset), syntax) == InstanceHeader(
        sop_class_uid=dataset.SOPClassUID,
        sop_instance_uid=dataset.SOPInstanceUID,
        study_instance_uid=STUDY_UID,
        series_instance_uid=SERIES_UID,
        modality="CT",
        series_number=3,
        instance_number=5,
        rows=6,
        columns=4,
        bits_allocated=16,
    )


@pytest.mark.parametrize("syntax", NATIVE, ids=str)
def test_scan_needs_only_the_first_bytes(syntax):
    encoded = encode_data_set(make_ct(rows=512, columns=512), syntax)
    assert scan(encoded[:2048], syntax) == inspect(encoded, syntax)
    with pytest.raises(InvalidInstance, match="missing"):
        scan(encoded[:60], syntax)


@given(st.data())
def test_every_true_prefix_of_a_data_set_is_truncated(data):
    syntax = data.draw(st.sampled_from([*NATIVE, JPEGLosslessSV1]))
    encoded = encode_data_set(make_ct(transfer_syntax=syntax), syntax)
    with pytest.raises(InvalidInstance):
        inspect(encoded[: data.draw(st.integers(0, len(encoded) - 1))], syntax)


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, "1.2.3", ""])
def test_a_transfer_syntax_that_is_not_offered_is_refused(syntax):
    with pytest.raises(InvalidInstance, match="transfer syntax"):
        inspect(encode_data_set(make_ct()), syntax)


@pytest.mark.parametrize("undefined", [False, True], ids=["defined lengths", "undefined lengths"])
@pytest.mark.parametrize("syntax", [*NATIVE, JPEGLosslessSV1], ids=str)
def test_nested_sequences_of_both_kinds_are_passed_over(syntax, undefined):
    dataset = make_ct(transfer_syntax=syntax)
    icon = Dataset()
    icon.Rows = icon.Columns = 2
    icon.PixelData = encapsulate([b"ab"]) if syntax in ENCAPSULATED_SYNTAXES else b"abcd"
    icon["PixelData"].VR = "OB"
    icon["PixelData"].is_undefined_length = syntax in ENCAPSULATED_SYNTAXES
    inner, outer = Dataset(), Dataset()
    inner.SOPInstanceUID = "9.9.9"  # not this instance's
    inner.IconImageSequence = Sequence([icon])
    outer.ReferencedImageSequence = Sequence([inner, Dataset()])
    dataset.ReferencedStudySequence = Sequence([outer, outer])
    for sequence in (dataset, outer, inner):
        for element in sequence:
            if element.VR == "SQ":
                element.is_undefined_length = undefined
                for part in element.value:
                    part.is_undefined_length_sequence_item = undefined
    header = inspect(encode_data_set(dataset, syntax), syntax)
    assert header.sop_instance_uid == dataset.SOPInstanceUID
    assert header.rows == 16


def test_an_unknown_element_of_undefined_length_holds_implicit_items():
    """PS3.5 6.2.2: a private sequence that passed through a node that did not know it."""
    inside = struct.pack("<HHI", 0x0008, 0x0060, 2) + b"CT"
    items = item_head(0xE000, 0xFFFFFFFF) + inside + item_head(0xE00D) + item_head(0xE0DD)
    data = with_prefix_element(long_element(0x00070010, b"UN", 0xFFFFFFFF, items))
    assert inspect(data, ExplicitVRLittleEndian).modality == "CT"


@pytest.mark.parametrize(
    "element",
    [
        long_element(0x00070010, b"OB", 0xFFFFFFFF),
        long_element(0x00070010, b"SQ", 0xFFFFFFFF),
        long_element(0x00070010, b"SQ", 0xFFFFFFFF, item_head(0xE00D)),
        long_element(0x00070010, b"SQ", 0xFFFFFFFF, item_head(0xE000, 0xFFFFFF00)),
        item_head(0xE000),
        item_head(0xE0DD),
        b"\x02\x00\x10\x00UI\x02\x001\x00",
        b"\x00\x00\x00\x01US\x02\x00\x01\x00",
    ],
    ids=range(8),
)
def test_broken_structures_are_refused(element):
    with pytest.raises(InvalidInstance):
        inspect(with_prefix_element(element), ExplicitVRLittleEndian)


def nested(depth, syntax):
    opening = long_element(0x00081115, b"SQ", 0xFFFFFFFF, b"", syntax) + item_head(0xE000, 0xFFFFFFFF)
    return opening * depth + (item_head(0xE00D) + item_head(0xE0DD)) * depth


@pytest.mark.parametrize("syntax", NATIVE, ids=str)
def test_deep_nesting_is_refused_at_once(syntax):
    allowed = encode_data_set(make_ct(), syntax)
    assert inspect(nested(MAX_DEPTH, syntax) + allowed, syntax)
    for depth in (MAX_DEPTH + 1, 300, 200_000):
        with pytest.raises(InvalidInstance, match="deep"):
            inspect(nested(depth, syntax) + allowed, syntax)


def test_millions_of_empty_items_are_refused_in_a_moment_or_passed_over():
    items = item_head(0xE000) * 2_000_000
    undefined = with_prefix_element(long_element(0x00070010, b"SQ", 0xFFFFFFFF, items + item_head(0xE0DD)))
    started = time.process_time()
    with pytest.raises(InvalidInstance, match="too many"):
        inspect(undefined, ExplicitVRLittleEndian)
    assert inspect(with_prefix_element(long_element(0x00070010, b"SQ", len(items), items)), ExplicitVRLittleEndian)
    assert time.process_time() - started < 2
    assert MAX_ELEMENTS < 2_000_000


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (b"", "truncated"),
        (item_head(0xE0DD), "no fragment"),
        (item_head(0xE000) + item_head(0xE0DD), "no fragment"),
        (item_head(0xE000) + item_head(0xE000, 4) + b"abcd", "truncated"),
        (item_head(0xE000) + item_head(0xE000, 400) + b"abcd", "truncated"),
        (item_head(0xE000) + item_head(0xE000, 0xFFFFFFFF) + item_head(0xE0DD), "else than fragments"),
        (item_head(0xE000) + item_head(0xE000, 4) + b"abcd" + item_head(0xE00D), "else than fragments"),
    ],
)
def test_broken_encapsulated_pixels_are_refused(pixels, words):
    dataset = make_ct(transfer_syntax=JPEGLosslessSV1)
    del dataset.PixelData
    data = encode_data_set(dataset) + long_element(0x7FE00010, b"OB", 0xFFFFFFFF, pixels)
    with pytest.raises(InvalidInstance, match=words):
        inspect(data, JPEGLosslessSV1)


def test_native_pixels_in_an_encapsulated_syntax_are_refused():
    with pytest.raises(InvalidInstance, match="form"):
        inspect(encode_data_set(make_ct()), JPEGLosslessSV1)


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), frames=st.integers(1, 3), off=st.integers(-3, 3))
def test_native_pixels_must_be_as_long_as_the_attributes_say(rows, columns, frames, off):
    dataset = make_ct(rows=rows, columns=columns)
    dataset.NumberOfFrames = frames
    dataset.BitsAllocated = 8
    expected = rows * columns * frames
    dataset.PixelData = bytes(max(0, expected + off))
    data = encode_data_set(dataset)  # pydicom pads to an even length
    if expected + off in {expected, expected + expected % 2} or (off == -1 and expected % 2 == 0):
        assert inspect(data, ExplicitVRLittleEndian).number_of_frames == frames
    elif len(dataset.PixelData) + len(dataset.PixelData) % 2 not in {expected, expected + expected % 2}:
        with pytest.raises(InvalidInstance, match="as long as"):
            inspect(data, ExplicitVRLittleEndian)


@pytest.mark.parametrize(
    ("modality", "kept"), [("CT", "CT"), ("MR", "MR"), ("", None), ("ct<script>", None), ("A" * 17, None)]
)
def test_a_modality_that_is_no_code_string_is_dropped(modality, kept):
    dataset = make_ct()
    dataset.add_new("Modality", "LO", modality)
    assert (
        inspect(encode_data_set(dataset).replace(b"\x08\0\x60\0LO", b"\x08\0\x60\0CS"), ExplicitVRLittleEndian).modality
        == kept
    )


@pytest.mark.parametrize(("text", "valid"), [("1.2.3", True), ("0", True), ("1.02", True), ("1" * 64, True)])
def test_uids_that_occur_are_valid(text, valid):
    assert is_uid(text) is valid


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".1", "1..2", "1" * 65, "1.2\n", "1.2 ", "١.٢", "1/2", "a.b", "1.2\\1.3", "1.2\0"]
)
def test_what_is_no_uid_is_refused(text):
    assert not is_uid(text)


def test_real_instances_are_whole_and_cut_ones_are_not(shared_data):
    files = sorted(shared_data.rglob("*.dcm"))[::40]
    checked = 0
    for path in files:
        with path.open("rb") as file:
            meta = read_file_meta(file)
            data = file.read()
        if meta.transfer_syntax_uid in STORAGE_SYNTAXES:
            header = inspect(data, meta.transfer_syntax_uid)
            assert header.sop_instance_uid == meta.sop_instance_uid
            assert scan(data[:16384], meta.transfer_syntax_uid) == header
            with pytest.raises(InvalidInstance, match=r"truncated|missing"):
                inspect(data[: len(data) // 2], meta.transfer_syntax_uid)
            checked += 1
    assert checked


def test_a_file_of_pydicom_is_whole():
    buffer = BytesIO()
    dcmwrite(buffer, make_ct(), enforce_file_format=True)
    buffer.seek(0)
    meta = read_file_meta(buffer)
    assert inspect(buffer.read(), meta.transfer_syntax_uid).sop_instance_uid == meta.sop_instance_uid
