"""A rejection note that withdraws results: a Key Object Selection as IHE Imaging Object Change Management has it.

An archive that follows the profile hides the rejected objects (RAD-66); one that does not still lists the note.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from highdicom.sr import CompositeContentItem, RelationshipTypeValues
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import SecondaryCaptureImageStorage, SegmentationStorage

from dicom_node import codes
from dicom_node.key_objects import Selection, image_item, key_object_document
from dicom_node.node import Device, deterministic_uid
from dicom_node.provenance import Origin, in_zone_of, stamp_origin
from dicom_node.result_kind import RETRACTION_SERIES_NUMBER
from dicom_node.sop_classes import LABEL_MAP_SEGMENTATION_STORAGE
from dicom_node.source_headers import nameless, usable_header, with_values

_IMAGES = frozenset({SegmentationStorage, LABEL_MAP_SEGMENTATION_STORAGE, SecondaryCaptureImageStorage})


class RejectionReason(StrEnum):
    """Why results are withdrawn; the value is how the operator writes it."""

    QUALITY = "quality"
    """The result is wrong or of no use; archives may still show it on request."""
    PATIENT_SAFETY = "patient-safety"
    """The result must not be seen again, for example because it belongs to another patient."""

    @property
    def document_title(self) -> Code:
        """Its code (CID 7010)."""
        return _TITLES[self]


_TITLES = {
    RejectionReason.QUALITY: codes.REJECTED_FOR_QUALITY_REASONS,
    RejectionReason.PATIENT_SAFETY: codes.REJECTED_FOR_PATIENT_SAFETY_REASONS,
}


def build_retraction(
    results: Sequence[Dataset], device: Device, now: datetime, reason: RejectionReason = RejectionReason.QUALITY
) -> Dataset:
    """The note that rejects ``results`` (their headers, all of one study); the same results always give the same UIDs.

    The note belongs to the patient and study of the first header. ``now`` must be aware. ``ValueError`` for results of
    no or of several studies.
    """
    studies = {str(result.StudyInstanceUID) for result in results}
    if len(studies) != 1:
        raise ValueError(f"a retraction names the results of one study, not of {len(studies)}")
    if now.tzinfo is None:
        raise ValueError("the time of a retraction has no time zone")
    header = usable_header(results[0])
    origin = Origin(device, in_zone_of(header, now))
    rejected = [_reference(header, result) for result in results]
    selection = Selection(
        title=reason.document_title,
        description="These results of cspine are withdrawn. Do not use them.",
        items=[image_item(item) if item.SOPClassUID in _IMAGES else _composite_item(item) for item in rejected],
        evidence=rejected,
    )
    identity = (reason.value, *studies, *sorted(str(result.SOPInstanceUID) for result in results))
    arguments = {
        "series_instance_uid": deterministic_uid("retraction", "series", *identity),
        "series_number": RETRACTION_SERIES_NUMBER,
        "sop_instance_uid": deterministic_uid("retraction", "instance", *identity),
        "instance_number": 1,
        **origin.arguments("Retraction"),
    }
    dataset = key_object_document(selection, device, header, arguments)
    stamp_origin(dataset, origin, header)
    return dataset


def _reference(header: Dataset, result: Dataset) -> Dataset:
    """A rejected object as evidence, with the checked patient and study of ``header``."""
    keywords = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
    return with_values(nameless(header), {keyword: result[keyword].value for keyword in keywords})


def _composite_item(header: Dataset) -> CompositeContentItem:
    """A COMPOSITE item for an object that is no image."""
    return CompositeContentItem(
        name=codes.SOURCE,
        referenced_sop_class_uid=header.SOPClassUID,
        referenced_sop_instance_uid=header.SOPInstanceUID,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
