"""Minimal documents and segmentations for tests of the wire; whole data sets, no content."""

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, SegmentationStorage

from dicom_node.transfer_syntaxes import ENCAPSULATED_SYNTAXES
from tests.dicom_node.tiny_ct import CANARY, STUDY_UID


def make_document(
    number: int = 1, *, sop_class: str = Comprehensive3DSRStorage, syntax: str = ExplicitVRLittleEndian
) -> Dataset:
    """Return a document without content; its UID follows from ``number``."""
    dataset = _identified(f"2.25.9{number}", sop_class, syntax, "SR")
    dataset.VerificationFlag = "UNVERIFIED"
    return dataset


def make_mask(
    number: int = 1, *, sop_class: str = SegmentationStorage, syntax: str = ExplicitVRLittleEndian
) -> Dataset:
    """Return a segmentation of 3 x 5 pixels on 3 frames, one bit a pixel where it is native."""
    dataset = _identified(f"2.25.8{number}", sop_class, syntax, "SEG")
    dataset.SamplesPerPixel = 1
    dataset.NumberOfFrames = 3
    dataset.Rows, dataset.Columns = 3, 5
    encapsulated = syntax in ENCAPSULATED_SYNTAXES
    dataset.BitsAllocated = 8 if encapsulated else 1
    dataset.PixelData = encapsulate([bytes(16)] * 3) if encapsulated else bytes(6)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = encapsulated
    return dataset


def _identified(uid: str, sop_class: str, syntax: str, modality: str) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = uid
    dataset.Modality = modality
    dataset.PatientName = CANARY
    dataset.StudyInstanceUID = STUDY_UID
    dataset.SeriesInstanceUID = f"{uid}.1"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset
