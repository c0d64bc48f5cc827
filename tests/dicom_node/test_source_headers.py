"""The last check of source headers before they are copied into results."""

import warnings
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.valuerep import PersonName

from dicom_node.source_headers import nameless, usable_header, with_values


def header_of(character_set=None, **values):
    header = Dataset()
    if character_set is not None:
        header.SpecificCharacterSet = character_set
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keyword, value in values.items():
            setattr(header, keyword, value)
    return header


def round_trip(header):
    buffer = BytesIO()
    dcmwrite(buffer, header, implicit_vr=False, little_endian=True)
    buffer.seek(0)
    return dcmread(buffer, force=True)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientBirthDate", "20001532"),
        ("StudyTime", "25:61"),
        ("StudyID", "x" * 17),
        ("AccessionNumber", "a\nb"),
        ("PatientSex", "female"),
        ("PatientSex", "X"),
        ("PatientID", "\x00\x01"),
    ],
)
def test_an_invalid_value_of_a_type_2_attribute_becomes_empty(keyword, value):
    assert usable_header(header_of(**{keyword: value}))[keyword].value == ""


def test_an_invalid_value_of_another_attribute_is_left_out():
    assert "StudyDescription" not in usable_header(header_of(StudyDescription="x" * 65))


def test_valid_values_stay_and_the_source_is_not_touched():
    header = header_of("ISO_IR 100", PatientName="Müller^Jörg", PatientSex="M", PatientID="7")
    usable = usable_header(header)
    assert (usable.PatientName, usable.PatientSex, usable.PatientID) == ("Müller^Jörg", "M", "7")
    assert usable.SpecificCharacterSet == "ISO_IR 100"
    assert "StudyID" not in header
    assert nameless(header).PatientName == ""
    assert with_values(header, {"PatientID": "8"}).PatientID == "8"
    assert (header.PatientName, header.PatientID) == ("Müller^Jörg", "7")


@pytest.mark.parametrize(
    ("character_set", "name", "expected"),
    [
        (None, "Doe^Jane", None),
        (None, "Çelik^Zoë", "ISO_IR 192"),
        ("ISO_IR 100", "Çelik^Zoë", "ISO_IR 100"),
        ("ISO_IR 100", "山田^太郎", "ISO_IR 192"),
        ("ISO_IR 192", "山田^太郎", "ISO_IR 192"),
        ("NONSENSE", "Çelik^Zoë", "ISO_IR 192"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", ["", "ISO 2022 IR 87"]),
    ],
)
def test_the_character_set_of_the_source_stays_where_it_can_carry_the_texts(character_set, name, expected):
    usable = usable_header(header_of(character_set, PatientName=name))
    got = usable.get("SpecificCharacterSet")
    assert (list(got) if isinstance(expected, list) else got) == expected
    assert str(round_trip(usable).PatientName) == name


@given(st.text(max_size=70), st.text(max_size=70), st.sampled_from([None, "ISO_IR 100", "ISO_IR 144", "ISO_IR 192"]))
def test_any_text_gives_a_header_that_can_be_written_and_read_without_a_warning(name, description, character_set):
    header = header_of(character_set, PatientName=PersonName(""), StudyDescription="")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header["PatientName"]._value = PersonName(name)
    header["StudyDescription"]._value = description
    usable = usable_header(header)
    read = round_trip(usable)
    assert str(read.PatientName).rstrip(" ") == str(usable.PatientName).rstrip(" ")
    assert str(read.get("StudyDescription", "")).strip(" ") == str(usable.get("StudyDescription", "")).strip(" ")
