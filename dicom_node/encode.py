"""A result as the bytes of a Part 10 file, native Explicit VR Little Endian (PS3.10 7; PS3.5 A.2)."""

from io import BytesIO

from pydicom import Dataset, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian


def encode(dataset: Dataset) -> bytes:
    """The file of ``dataset``, the same bytes each time; ``ValueError`` for another transfer syntax."""
    if dataset.file_meta.TransferSyntaxUID != ExplicitVRLittleEndian:
        raise ValueError(f"results are written in Explicit VR Little Endian, not {dataset.file_meta.TransferSyntaxUID}")
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
