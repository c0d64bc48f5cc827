"""Results become Part 10 files in native Explicit VR Little Endian."""

from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian

from dicom_node.encode import encode
from dicom_node.narrative import build_narrative
from dicom_node.node import IMPLEMENTATION_CLASS_UID
from tests.dicom_node.necks import NEGATIVE


def test_the_bytes_are_a_part_10_file_of_this_implementation():
    data = encode(build_narrative(NEGATIVE.context()))
    assert data[128:132] == b"DICM"
    read = dcmread(BytesIO(data))
    assert read.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert read.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID


def test_another_transfer_syntax_is_refused():
    dataset = build_narrative(NEGATIVE.context())
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    with pytest.raises(ValueError, match="Explicit VR Little Endian"):
        encode(dataset)
