"""Headers of strangers: only listed, valid attributes pass, whatever stood in the source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import DataElement, Dataset, config
from pydicom.datadict import dictionary_VR

from dicom_node.allowed_attributes import COMMON_ATTRIBUTES, EMPTY_TYPE_2, FRAME_ATTRIBUTES
from dicom_node.sanitize import clean_name, clean_text
from tests.dicom_node.small_series import SPACING_MM, sanitized, small_hu
from training.synthesis.phantom_series import SeriesForm, SeriesOptions, make_series


def header(**attributes):
    dataset = Dataset()
    for keyword, value in attributes.items():
        dataset.add(DataElement(keyword, dictionary_VR(keyword), value, validation_mode=config.IGNORE))
    return dataset


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientBirthDate", "20001532"),
        ("StudyDate", "2026-01-02"),
        ("StudyTime", "25:00"),
        ("PatientSex", "female"),
        ("SOPInstanceUID", "../../../../etc/cron.d/x"),
        ("SOPInstanceUID", "1." + "2" * 64),
        ("StudyInstanceUID", "1.2\n.3"),
        ("PixelSpacing", ["NaN", "inf"]),
        ("PixelSpacing", ["1"]),
        ("SliceThickness", "1e999"),
        ("ImagePositionPatient", ["0", "0"]),
        ("PatientAge", "old"),
        ("Rows", [1] * 100),
        ("PatientID", "A\\B"),
        ("PatientID", "4711\r\n"),
        ("PatientID", "9" * 65),
        ("AccessionNumber", "<script>"),
    ],
)
def test_values_that_are_not_valid_are_not_passed_on(keyword, value):
    clean = sanitized(header(**{keyword: value}))
    assert clean.get(keyword) in {None, ""}


@pytest.mark.parametrize(
    ("keyword", "value", "cleaned"),
    [
        ("StudyDescription", "HARVARD 02  < EH >\nANATOMIE", "HARVARD 02 EH ANATOMIE"),
        ("SeriesDescription", "x" * 100, "x" * 64),
        ("Manufacturer", "A\x00B\x1b[31m", "A B [31m"),
        ("PatientName", "Doe^<script>alert(1)</script>", "Doe^script alert(1) /script"),
        ("PatientName", "A" * 10_000, "A" * 64),
        ("PatientName", "^^^^^^", None),
        ("PatientName", "Çelik^Zoë", "Çelik^Zoë"),
        ("ProtocolName", "left\u202eright", "left right"),
    ],
)
def test_text_is_cleaned(keyword, value, cleaned):
    clean = sanitized(header(**{keyword: value}))
    assert (None if clean.get(keyword) in {None, ""} else str(clean[keyword].value)) == cleaned


def test_private_and_unlisted_attributes_never_pass():
    dataset = make_series(small_hu(), SPACING_MM)[0]
    dataset.private_block(0x0009, "CANARY", create=True).add_new(0x01, "LO", "canary")
    dataset.PatientComments = "canary"
    dataset.InstitutionName = "canary"
    clean = sanitized(dataset)
    assert "canary" not in str(clean)
    assert "PixelData" not in clean
    assert {element.keyword for element in clean} <= {*COMMON_ATTRIBUTES, *FRAME_ATTRIBUTES, "SpecificCharacterSet"}


def test_type_2_attributes_are_there_even_when_the_source_has_none():
    clean = sanitized(Dataset())
    assert {element.keyword for element in clean} == {*EMPTY_TYPE_2, "SpecificCharacterSet"}


def test_a_decimal_that_is_too_long_is_shortened():
    clean = sanitized(header(PixelSpacing=["0.48828125000000001", "0.48828125000000001"]))
    assert [str(value) for value in clean.PixelSpacing] == ["0.48828125", "0.48828125"]


def test_sanitizing_twice_changes_nothing():
    for form in SeriesForm:
        dataset = make_series(small_hu(), SPACING_MM, SeriesOptions(form=form))[0]
        once = sanitized(dataset)
        assert sanitized(once) == once


def test_multi_frame_headers_keep_geometry_and_lose_the_rest():
    dataset = make_series(small_hu(), SPACING_MM, SeriesOptions(form=SeriesForm.ENHANCED))[0]
    clean = sanitized(dataset)
    assert len(clean.PerFrameFunctionalGroupsSequence) == int(dataset.NumberOfFrames)
    assert "PixelMeasuresSequence" in clean.SharedFunctionalGroupsSequence[0]
    assert "CTExposureSequence" not in clean.SharedFunctionalGroupsSequence[0]
    assert "SliceThickness" not in clean


@given(st.text(max_size=200))
def test_any_text_becomes_one_printable_line_within_its_length(text):
    clean = clean_text(text, 64)
    assert len(clean) <= 64
    assert clean.isprintable()
    assert not set(clean) & set("\\<>\r\n\0")
    assert clean_text(clean, 64) == clean


@given(st.text(max_size=300))
def test_any_person_name_keeps_to_its_groups_and_components(text):
    clean = clean_name(text)
    groups = clean.split("=")
    assert len(groups) <= 3
    assert all(len(group) <= 64 and group.count("^") <= 4 for group in groups)
    assert clean_name(clean) == clean
