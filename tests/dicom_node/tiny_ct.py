"""Minimal CT instances for tests of the wire: whole data sets in any accepted transfer syntax, pixels not decodable."""

from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from dicom_node.transfer_syntaxes import ENCAPSULATED_SYNTAXES

STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
SERIES_UID = "1.2.826.0.1.3680043.8.498.1.1"
CANARY = "CANARY^PATIENT"


def make_ct(
    number: int = 1,
    *,
    rows: int = 16,
    columns: int = 16,
    sop_class: str = CTImageStorage,
    transfer_syntax: str = ExplicitVRLittleEndian,
) -> Dataset:
    """Return a CT instance whose pixels and UID follow from ``number``; patient attributes hold a canary."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
    dataset.Modality = "CT"
    dataset.PatientName = CANARY
    dataset.PatientID = "CANARY-ZQXJ"
    dataset.StudyInstanceUID = STUDY_UID
    dataset.SeriesInstanceUID = SERIES_UID
    dataset.SeriesNumber = 3
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [0.0, 0.0, float(number)]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    pixels = bytes((number + index) % 251 for index in range(rows * columns)) * 2
    dataset.PixelData = encapsulate([pixels]) if transfer_syntax in ENCAPSULATED_SYNTAXES else pixels
    dataset["PixelData"].VR = "OB" if transfer_syntax in ENCAPSULATED_SYNTAXES else "OW"
    dataset["PixelData"].is_undefined_length = transfer_syntax in ENCAPSULATED_SYNTAXES
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    return dataset


def encode_data_set(dataset: Dataset, transfer_syntax: str | None = None) -> bytes:
    """Return the encoded data set alone."""
    syntax = transfer_syntax or dataset.file_meta.TransferSyntaxUID
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = syntax == ImplicitVRLittleEndian
    write_dataset(buffer, dataset)
    return bytes(buffer.getvalue())


def write_ct(dataset: Dataset, path: Path) -> Path:
    """Write the instance as a DICOM file."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())
    return path
