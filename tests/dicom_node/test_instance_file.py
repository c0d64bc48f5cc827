"""Files of strangers: what is no instance is named, what is wanted is read, what is not wanted costs nothing."""

import struct
import time

import pytest
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_node.errors import InvalidInstance
from dicom_node.frames import text
from dicom_node.instance_file import NotDicom, read_instance
from tests.dicom_node.small_series import SPACING_MM, small_hu
from training.synthesis.phantom_encoding import TransferSyntax
from training.synthesis.phantom_series import Encoding, SeriesOptions, make_series


@pytest.fixture
def dataset() -> Dataset:
    return make_series(small_hu()[:1], SPACING_MM)[0]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


@pytest.mark.parametrize("content", [b"", b"x", b"hello world, this is a text", bytes(200), b"%PDF-1.7" + bytes(300)])
def test_other_files_are_not_dicom(path, content):
    path.write_bytes(content)
    with pytest.raises(NotDicom):
        read_instance(path)


def test_a_directory_record_is_not_an_instance(path, dataset):
    dataset.save_as(path, enforce_file_format=True)
    class_uid, directory = b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.840.10008.1.3.10"
    path.write_bytes(path.read_bytes().replace(class_uid, directory.ljust(len(class_uid), b"\0")))
    with pytest.raises(NotDicom, match="DICOMDIR"):
        read_instance(path)


@pytest.mark.parametrize("syntax", TransferSyntax)
def test_wanted_attributes_and_the_place_of_the_pixels_are_found(path, syntax):
    if syntax is TransferSyntax.HTJ2K_LOSSLESS:
        pytest.skip("read like the other encapsulated ones; its decoder is tested with the pixels")
    (dataset,) = make_series(small_hu()[:1], SPACING_MM, SeriesOptions(encoding=Encoding(syntax)))
    dataset.save_as(path, enforce_file_format=True)
    file = read_instance(path)
    assert text(file.dataset, "SOPInstanceUID") == dataset.SOPInstanceUID
    assert text(file.dataset, "PatientName") == "Çelik^Zoë"
    assert "PixelData" not in file.dataset
    content = path.read_bytes()[file.pixels_start : file.pixels_end]
    assert content.startswith(dataset.PixelData[:100])


@pytest.mark.parametrize("syntax", [TransferSyntax.EXPLICIT_LE, TransferSyntax.IMPLICIT_LE])
def test_a_data_set_without_preamble_and_file_meta_is_read(path, syntax):
    (dataset,) = make_series(small_hu()[:1], SPACING_MM, SeriesOptions(encoding=Encoding(syntax)))
    dataset.save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    start = 132 + 12 + int.from_bytes(content[140:144], "little")
    path.write_bytes(content[start:])
    assert read_instance(path).dataset.integer("Rows") == dataset.Rows


def test_deflated_data_sets_are_refused_unread(path, dataset):
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    with pytest.raises(InvalidInstance, match="transfer syntax"):
        read_instance(path)


def test_pixels_cut_off_are_no_pixels(path, dataset):
    dataset.save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes()[:-100])
    assert read_instance(path).pixels_end == 0


def appended(path, dataset, element: bytes, before=0x00280000):
    """The file with an extra element of explicit VR put in before the group."""
    dataset.save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    at = content.index(struct.pack("<HH2s", before >> 16, 2, b"US"))
    path.write_bytes(content[:at] + element + content[at:])


@pytest.mark.parametrize(
    ("element", "accepted"),
    [
        (struct.pack("<HH2sHI", 0x0027, 0x1010, b"SQ", 0, 16_000_000) + b"\xfe\xff\x00\xe0\0\0\0\0" * 2_000_000, True),
        (struct.pack("<HH2sHI", 0x0027, 0x1010, b"UC", 0, 20_000_000) + b"1\\" * 10_000_000, True),
        (
            struct.pack("<HH2sHI", 0x0027, 0x1010, b"SQ", 0, 0xFFFFFFFF)
            + b"\xfe\xff\x00\xe0\0\0\0\0" * 2_000_000
            + b"\xfe\xff\xdd\xe0\0\0\0\0",
            False,
        ),
    ],
    ids=["two million empty items", "ten million values", "two million items without length"],
)
def test_bombs_in_unwanted_elements_cost_nothing(path, dataset, element, accepted):
    appended(path, dataset, element)
    started = time.monotonic()
    if accepted:
        assert read_instance(path).dataset.integer("Rows") == dataset.Rows
    else:
        with pytest.raises(InvalidInstance, match="too many"):
            read_instance(path)
    assert time.monotonic() - started < 5.0


def test_a_wanted_text_of_megabytes_is_ignored(path, dataset):
    dataset.StudyDescription = "x"
    appended(path, dataset, struct.pack("<HH2sHI", 0x0027, 0x0010, b"UT", 0, 4) + b"abcd")
    assert text(read_instance(path).dataset, "StudyDescription") == "x"
