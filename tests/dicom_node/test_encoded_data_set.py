"""Values straight from a data set's bytes: those that pydicom reads, and none where the bytes are no values."""

import struct
import warnings
from io import BytesIO

import pytest
from pydicom import DataElement, Dataset, config
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue

from dicom_node.allowed_attributes import COMMON_ATTRIBUTES, FRAME_ATTRIBUTES, NESTED_ATTRIBUTES
from dicom_node.attributes import ATTRIBUTES
from dicom_node.elements import MAX_DEPTH, MAX_ELEMENTS, Walk
from dicom_node.encoded_data_set import EncodedDataSet
from dicom_node.errors import InvalidInstance
from tests.dicom_node.small_series import SPACING_MM, encoded, small_hu
from training.synthesis.phantom_series import SeriesForm, SeriesOptions, make_series

ITEM, ITEM_END, SEQUENCE_END = (struct.pack("<HH", 0xFFFE, number) for number in (0xE000, 0xE00D, 0xE0DD))


def item(content: bytes, *, length: int | None = None) -> bytes:
    return ITEM + struct.pack("<I", len(content) if length is None else length) + content


def of(keyword: str, vr: bytes, raw: bytes, *, explicit: bool = True, charset: bytes = b"") -> EncodedDataSet:
    elements = {ATTRIBUTES[keyword].tag: (vr, raw)}
    if charset:
        elements[ATTRIBUTES["SpecificCharacterSet"].tag] = (b"CS", charset)
    return EncodedDataSet(elements, explicit=explicit)


def as_pydicom_reads(keyword: str, vr: bytes, raw: bytes, charset: bytes = b"") -> list[str]:
    tag = ATTRIBUTES[keyword].tag
    content = b""
    if charset:
        content += struct.pack("<HH2sH", 8, 5, b"CS", len(charset)) + charset
    content += struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(raw)) + raw
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = read_dataset(BytesIO(content), is_implicit_VR=False, is_little_endian=True).get(keyword)
    return [str(one) for one in (value if isinstance(value, MultiValue) else [value])]


JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"
NAMES = {
    b"": "Zo\u00eb^\u00c7elik".encode("latin_1"),
    b"ISO_IR 6": b"Doe^Jane ",
    b"ISO_IR 100": "Müller^Jörg".encode("latin_1"),
    b"ISO_IR 192": "Çelik^Zoë=名前".encode(),
    b"ISO_IR 144": "Люкceмбypг".encode("iso8859_5"),
    b"ISO_IR 101": "Łódź^Żaneta".encode("iso8859_2"),
    b"ISO_IR 13 ": "ﾔﾏﾀﾞ^ﾀﾛｳ".encode("shift_jis"),
    b"GB18030": "Wang^XiaoDong=王^小东".encode("gb18030"),
    b"GBK ": "王^小东".encode("gbk"),
    b"\\ISO 2022 IR 87": JAPANESE.encode("iso2022_jp"),
    b"ISO 2022 IR 100\\ISO 2022 IR 87": JAPANESE.encode("iso2022_jp"),
    b"\\ISO 2022 IR 149": b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
    b"ISO-IR 100": "Müller".encode("latin_1"),
    b"nonsense": b"Doe^J\xf6rg",
    b"ISO_IR 192\\ISO 2022 IR 87": "Zoë".encode(),
}


@pytest.mark.parametrize("charset", NAMES)
@pytest.mark.parametrize(("keyword", "vr"), [("PatientName", b"PN"), ("StudyDescription", b"LO")])
@pytest.mark.filterwarnings("ignore")
def test_text_in_every_character_set_is_what_pydicom_reads(charset, keyword, vr):
    raw = NAMES[charset]
    expected = as_pydicom_reads(keyword, vr, raw, charset)
    assert [str(one) for one in of(keyword, vr, raw, charset=charset).values(keyword)] == expected


@pytest.mark.parametrize("charset", [b"idna", b"unicode_escape", b"utf_7", b"\x1b[2J\nforged"])
def test_a_character_set_that_dicom_does_not_define_is_the_default_one_and_is_not_logged(charset, caplog):
    raw = b"\\u0041+AEE- xn--J\xf6rg"
    assert of("StudyDescription", b"LO", raw, charset=charset).values("StudyDescription") == ("", "u0041+AEE- xn--Jörg")
    assert caplog.text == ""


def test_bytes_that_are_no_text_of_their_character_set_are_replaced():
    assert of("PatientName", b"PN", b"Zo\xeb", charset=b"ISO_IR 192").values("PatientName") == ("Zo\ufffd",)


@pytest.mark.parametrize(
    ("keyword", "vr", "raw"),
    [
        ("PixelSpacing", b"DS", b"0.5\\ 0.25 "),
        ("ImageType", b"CS", b"ORIGINAL\\PRIMARY\\AXIAL "),
        ("SOPInstanceUID", b"UI", b"1.2.3\0"),
        ("StudyDate", b"DA", b"20260102"),
        ("SeriesNumber", b"IS", b" 12 "),
        ("Rows", b"US", b"\x00\x02"),
        ("PixelPaddingValue", b"SS", b"\x30\xf8"),
        ("PixelPaddingValue", b"US", b"\x30\xf8"),
        ("SliceThickness", b"FD", struct.pack("<d", 0.625)),
        ("Rows", b"UL", struct.pack("<I", 512)),
    ],
)
def test_values_are_what_pydicom_reads(keyword, vr, raw):
    found = of(keyword, vr, raw).values(keyword)
    assert [str(one).strip() for one in found] == [one.strip() for one in as_pydicom_reads(keyword, vr, raw)]


@pytest.mark.parametrize("vr", [b"", b"UN"])
def test_what_has_no_vr_has_that_of_the_table(vr):
    assert of("Rows", vr, b"\x00\x02").integer("Rows") == 512
    assert of("PixelSpacing", vr, b"0.5\\0.5").values("PixelSpacing") == ("0.5", "0.5")


@pytest.mark.parametrize(
    ("vr", "raw"),
    [(b"US", b""), (b"US", b"\1"), (b"US", b"\1\0\2"), (b"FD", b"1234"), (b"OB", b"\0\2"), (b"SQ", item(b""))],
)
def test_bytes_that_are_no_value_of_their_vr_are_missing(vr, raw):
    assert of("Rows", vr, raw).values("Rows") is None
    assert of("Rows", vr, raw).integer("Rows") is None
    assert of("Rows", b"US", b"\1\0\2\0").integer("Rows") is None


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("form", SeriesForm)
@pytest.mark.parametrize("undefined", [False, True])
def test_whole_headers_with_their_sequences_are_what_pydicom_holds(implicit, form, undefined):
    dataset = make_series(small_hu()[:4], SPACING_MM, SeriesOptions(form=form))[0]
    del dataset.PixelData
    for element in dataset.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for one in element.value:
                one.is_undefined_length_sequence_item = undefined

    def plain(source, keywords):
        found = {}
        for keyword in keywords:
            if keyword not in source:
                continue
            value = source[keyword].value
            if ATTRIBUTES[keyword].vr == "SQ":
                found[keyword] = [plain(one, NESTED_ATTRIBUTES) for one in value]
            else:
                values = value if isinstance(value, MultiValue) else [value]
                found[keyword] = ["" if one is None else str(one) for one in values]
        return found

    def texts(header):
        return {
            keyword: [texts(one) if isinstance(one, dict) else str(one) for one in values]
            for keyword, values in header.items()
        }

    keywords = (*COMMON_ATTRIBUTES, *FRAME_ATTRIBUTES)
    found = encoded(dataset, implicit=implicit).header(keywords, NESTED_ATTRIBUTES)
    assert texts(found) == plain(dataset, keywords)
    assert "ImagePositionPatient" in str(found)


def test_items_of_an_unknown_vr_are_in_implicit_vr():
    code = struct.pack("<HHI", 0x0008, 0x0100, 4) + b"36WN"
    dataset = of("ProcedureCodeSequence", b"UN", item(code))
    assert dataset.items("ProcedureCodeSequence")[0].values("CodeValue") == ("36WN",)


@pytest.mark.parametrize(
    "raw",
    [
        b"\0" * 8,
        ITEM,
        item(b"", length=0xFFFFFFFE),
        item(b"", length=0xFFFFFFFF),
        item(b"\x28\0\x10\0US\2\0"),
        item(b"\x28\0\x10\0??\2\0\0\0"),
        item(b"\2\0\x10\0UI\0\0"),
    ],
)
def test_malformed_sequences_have_no_items(raw):
    dataset = of("ProcedureCodeSequence", b"SQ", raw)
    assert dataset.items("ProcedureCodeSequence") == []
    assert list(dataset.first_items()) == []


def test_a_million_empty_items_are_none():
    dataset = of("PerFrameFunctionalGroupsSequence", b"SQ", item(b"") * (MAX_ELEMENTS + 1))
    assert dataset.items("PerFrameFunctionalGroupsSequence") == []
    view = memoryview(item(b"") * (MAX_ELEMENTS + 1))
    with pytest.raises(InvalidInstance, match="too many"):
        list(Walk(view, "1.2.840.10008.1.2.1").items())


def test_sequences_are_followed_to_their_depth_only():
    content = b""
    for _ in range(500):
        inner = item(content)
        content = struct.pack("<HH2sHI", 0x0020, 0x9113, b"SQ", 0, len(inner)) + inner
    header = of("ProcedureCodeSequence", b"SQ", item(content)).header(("ProcedureCodeSequence",), NESTED_ATTRIBUTES)
    depth = 0
    (header,) = header["ProcedureCodeSequence"]
    while header:
        depth += 1
        (header,) = header["PlanePositionSequence"]
    assert depth == MAX_DEPTH - 1


def test_a_header_with_the_wrong_kind_of_value_is_no_value():
    dataset = Dataset()
    dataset.add(DataElement("ProcedureCodeSequence", "LO", "text", validation_mode=config.IGNORE))
    assert encoded(dataset).items("ProcedureCodeSequence") == []
