"""File meta information, written and read back by us and by pydicom."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import CTImageStorage

from dicom_node.errors import InvalidInstance
from dicom_node.node import IMPLEMENTATION_CLASS_UID
from dicom_node.part10 import FileMeta, encode_file_meta, read_file_meta
from dicom_node.transfer_syntaxes import STORAGE_SYNTAXES
from tests.dicom_node.tiny_ct import encode_data_set, make_ct

UIDS = st.lists(st.integers(0, 10**9), min_size=1, max_size=6).map(lambda parts: ".".join(map(str, parts)))
METAS = st.builds(FileMeta, UIDS, UIDS, UIDS, st.from_regex(r"([A-Z0-9]{1,16})?", fullmatch=True))


@given(METAS)
def test_meta_information_reads_back_and_the_data_set_follows(meta):
    file = BytesIO(encode_file_meta(meta) + b"data set")
    assert read_file_meta(file) == meta
    assert file.read() == b"data set"


@pytest.mark.parametrize("syntax", STORAGE_SYNTAXES, ids=str)
def test_pydicom_reads_our_files(syntax):
    dataset = make_ct(transfer_syntax=syntax)
    meta = FileMeta(CTImageStorage, dataset.SOPInstanceUID, syntax, "SENDER")
    back = dcmread(BytesIO(encode_file_meta(meta) + encode_data_set(dataset)))
    assert back == dataset
    assert back.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert back.file_meta.SourceApplicationEntityTitle == "SENDER"
    assert back.file_meta.FileMetaInformationVersion == b"\x00\x01"


@given(METAS, st.data())
def test_a_cut_or_changed_file_is_refused_or_read_without_another_error(meta, data):
    encoded = bytearray(encode_file_meta(meta))
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(InvalidInstance):
        read_file_meta(BytesIO(bytes(encoded[:cut])))
    position = data.draw(st.integers(128, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))
    try:
        assert isinstance(read_file_meta(BytesIO(bytes(encoded))), FileMeta)
    except InvalidInstance as error:
        assert str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("uid", ["", "../x", "1" * 65])
def test_meta_information_with_a_malformed_uid_cannot_be_made(uid):
    with pytest.raises(InvalidInstance):
        FileMeta(CTImageStorage, uid, "1.2.840.10008.1.2")
