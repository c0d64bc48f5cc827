"""dicom_node.series_facts: the facts that rules ask about come cleaned, whatever the header holds."""

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from dicom_node.encoded_data_set import EncodedDataSet
from dicom_node.errors import InvalidInstance
from dicom_node.instance_file import read_instance
from dicom_node.series_facts import FACT_TAGS, SeriesFacts, facts_of
from tests.dicom_node.small_series import SPACING_MM, small_hu
from training.synthesis.phantom_series import make_series


def code(value: str, scheme: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "meaning"
    return item


def read(dataset: Dataset, path: Path) -> SeriesFacts:
    dataset.save_as(path, enforce_file_format=True)
    return facts_of(read_instance(path, FACT_TAGS).dataset)


@pytest.fixture
def header() -> Dataset:
    return make_series(small_hu((2, 8, 8))[:1], SPACING_MM)[0]


def of(**raw: tuple[bytes, bytes]) -> SeriesFacts:
    tags = {"charset": 0x00080005, "description": 0x0008103E, "age": 0x00101010, "codes": 0x00081032}
    return facts_of(EncodedDataSet({tags[name]: value for name, value in raw.items()}, explicit=True))


def test_the_facts_of_a_header_are_read_from_its_file(tmp_path, header):
    header.StudyDescription, header.SeriesDescription = "CT HALSWIRBELSÄULE", "HWS  1.0 Hr60"
    header.BodyPartExamined, header.ProtocolName, header.StationName = "CSPINE", "HWS^Trauma", "CT-ER 1"
    header.ProcedureCodeSequence = [code("72125", "CPT")]
    request = Dataset()
    request.RequestedProcedureCodeSequence = [code("HWS", "99RIS"), code("72125", "CPT")]
    header.RequestAttributesSequence = [request]
    header.PatientAge = "018M"
    facts = read(header, tmp_path / "file")
    assert (facts.modality, facts.body_part, facts.station_name) == ("CT", "CSPINE", "CT-ER 1")
    assert (facts.study_description, facts.series_description) == ("CT HALSWIRBELSÄULE", "HWS 1.0 Hr60")
    assert facts.protocol_name == "HWS^Trauma"
    assert facts.procedure_codes == ("CPT:72125", "99RIS:HWS")
    assert facts.age_years == 1.5
    assert facts.series_instance_uid == header.SeriesInstanceUID


def test_the_age_is_counted_from_the_dates_where_it_is_not_given(tmp_path, header):
    header.PatientAge, header.PatientBirthDate, header.StudyDate = "", "20080302", "20260301"
    assert 17.9 < (read(header, tmp_path / "file").age_years or 0) < 18.0
    header.PatientBirthDate = "20270302"
    assert read(header, tmp_path / "file").age_years is None


def test_what_a_header_does_not_say_is_empty():
    assert facts_of(EncodedDataSet({}, explicit=True)) == SeriesFacts()


def test_long_texts_and_control_characters_are_cleaned():
    facts = of(description=(b"LO", b"NECK\x1b[2J\nforged line\0" + b"x" * 60_000))
    assert facts.series_description.startswith("NECK [2J forged line")
    assert len(facts.series_description) == 64
    assert facts.series_description.isprintable()


def test_texts_of_other_character_sets_are_read():
    japanese = "頸椎".encode("iso2022_jp")
    facts = of(charset=(b"CS", b"\\ISO 2022 IR 87"), description=(b"LO", japanese))
    assert facts.series_description == "頸椎"


@pytest.mark.parametrize("raw", [b"45", b"045X", b"ABCY", "٠٤٥Y".encode(), b""])
def test_an_age_that_is_none_is_unknown(raw):
    assert of(age=(b"AS", raw)).age_years is None


def test_a_sequence_that_is_malformed_has_no_codes():
    assert of(codes=(b"SQ", b"\xfe\xff\x00\xe0" + struct.pack("<I", 10_000) + b"short")).procedure_codes == ()


@pytest.mark.filterwarnings("ignore:.*(decode byte string|escape sequence)")
@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(
        ["ISO_IR 192", "GB18030", "\\ISO 2022 IR 87", "ISO 2022 IR 100\\ISO 2022 IR 149", "unicode_escape"]
    ),
    st.binary(max_size=200),
)
def test_bytes_of_strangers_become_printable_texts_of_limited_length(charset, raw):
    facts = of(charset=(b"CS", charset.encode()), description=(b"LO", raw), age=(b"AS", raw), codes=(b"SQ", raw))
    assert len(facts.series_description) <= 64
    assert facts.series_description == "" or facts.series_description.isprintable()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file with everything that is looked at."""
    (header,) = make_series(small_hu((1, 8, 8)), SPACING_MM)
    header.SeriesDescription, header.ProcedureCodeSequence = "HWS", [code("72125", "CPT")]
    request = Dataset()
    request.RequestedProcedureCodeSequence = [code("HWS", "99RIS")]
    header.RequestAttributesSequence = [request]
    path = tmp_path_factory.mktemp("good") / "file"
    header.save_as(path, enforce_file_format=True)
    return path.read_bytes()


PIECES = st.binary(max_size=16) | st.sampled_from([b"\xff\xff\xff\xff", b"\xfe\xff\x00\xe0", b"SQ", b"UN"])


@pytest.mark.filterwarnings("ignore:.*(decode byte string|escape sequence)")
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_file_with_changed_bytes_has_facts_or_is_refused(good, tmp_path, data):
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(changed)))
        put = data.draw(
            st.binary(max_size=16) | st.sampled_from([b"\xff\xff\xff\xff", b"\xfe\xff\x00\xe0", b"SQ", b"UN"])
        )
        changed[start : start + data.draw(st.integers(0, 16))] = put
    path = tmp_path / "changed"
    path.write_bytes(changed)
    try:
        facts = facts_of(read_instance(path, FACT_TAGS).dataset)
    except InvalidInstance:
        return
    assert all(len(text) <= 64 for text in (facts.study_description, facts.protocol_name, *facts.procedure_codes))
