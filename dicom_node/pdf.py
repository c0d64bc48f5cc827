"""The summary as an Encapsulated PDF of one page (PS3.3 A.45.1): the same picture, for those who file documents."""

from io import BytesIO

from highdicom.base import SOPClass
from highdicom.sr import CodedConcept
from PIL import Image
from pydicom import Dataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dicom_node import codes
from dicom_node.provenance import common_arguments, stamp
from dicom_node.result_context import ResultContext
from dicom_node.result_kind import ResultKind, variant_name
from dicom_node.source_headers import nameless
from dicom_node.summary import render_summary

TITLE = "Cervical spine CT: fracture detection; AI, not verified"
PIXELS_PER_INCH = 124
"""The picture is as wide as a page of paper."""
JPEG_QUALITY = 95


def build_pdf(context: ResultContext, picture: Image.Image | None = None) -> Dataset:
    """The document of any outcome; ``picture`` is the summary's, if there is one."""
    header = context.header
    arguments = common_arguments(context, ResultKind.PDF, "Summary PDF")
    equipment = arguments.pop("contributing_equipment")
    source = nameless(header)
    dataset = SOPClass(
        study_instance_uid=context.study_instance_uid,
        sop_class_uid=EncapsulatedPDFStorage,
        modality="DOC",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        patient_id=source.PatientID,
        accession_number=source.AccessionNumber,
        study_id=source.StudyID,
        specific_character_set=header.get("SpecificCharacterSet"),
        **arguments,
    )
    document = pdf_of(picture or render_summary(context))
    dataset.ContributingEquipmentSequence = equipment
    dataset.ConversionType = "WSD"
    dataset.AcquisitionDateTime = ""  # type 2
    dataset.ContentDate, dataset.ContentTime = dataset.InstanceCreationDate, dataset.InstanceCreationTime  # stamped
    dataset.BurnedInAnnotation = "NO"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.DocumentTitle = TITLE
    dataset.ConceptNameCodeSequence = [CodedConcept.from_code(codes.DIAGNOSTIC_IMAGING_REPORT)]
    dataset.SourceInstanceSequence = [_summary(context)]
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(document)
    dataset.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    stamp(dataset, context, header)
    return dataset


def pdf_of(picture: Image.Image) -> bytes:
    """A PDF page that holds the picture: without dates, so that the same picture gives the same bytes."""
    buffer = BytesIO()
    picture.save(
        buffer,
        "PDF",
        resolution=PIXELS_PER_INCH,
        title=TITLE,
        creationDate=None,
        modDate=None,
        quality=JPEG_QUALITY,
        subsampling=0,
    )
    return buffer.getvalue()


def _summary(context: ResultContext) -> Dataset:
    """The reference to the Secondary Capture that holds the same picture."""
    reference = Dataset()
    reference.ReferencedSOPClassUID = SecondaryCaptureImageStorage
    reference.ReferencedSOPInstanceUID = context.uid("instance", variant_name(ResultKind.SUMMARY, None))
    return reference
