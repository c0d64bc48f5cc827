"""What the structured reports share: opening, evidence, key slices and the answer (PS3.16 TID 1204, 1004, 1600)."""

from collections.abc import Mapping, Sequence
from typing import Any

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    EnhancedSR,
    FindingSite,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
    UIDRefContentItem,
)
from pydicom import Dataset
from pydicom.sr.coding import Code

from dicom_node import codes
from dicom_node.contours import KeySlice
from dicom_node.node import Device
from dicom_node.provenance import procedures_reported
from dicom_node.result_context import ResultContext
from dicom_node.sentences import DISCLAIMER, SUPERSEDES, answer, conclusion, limitation_sentences, negative_summary
from dicom_node.source_headers import nameless, with_values
from model.findings import Vertebra

LIBRARY_SIZE = 3
"""Key slices in the Image Library: every slice would make a report of more than a megabyte."""


def opening(context: ResultContext, header: Dataset) -> tuple[ContentItem, ...]:
    """Language, observer and procedure reported: how every report of ours begins."""
    procedures = [
        CodeContentItem(
            name=codes.PROCEDURE_REPORTED, value=procedure, relationship_type=RelationshipTypeValues.HAS_CONCEPT_MOD
        )
        for procedure in procedures_reported(header)
    ]
    return (*language_and_observer(context.device), *procedures)


def language_and_observer(device: Device) -> tuple[ContentItem, ...]:
    """Language (TID 1204) and the device as observer (TID 1004)."""
    observer = ObserverContext(
        observer_type=CodedConcept.from_code(codes.DEVICE),
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=device.device_uid,
            name=device.model_name,
            manufacturer_name=device.manufacturer,
            model_name=device.model_name,
            serial_number=device.serial,
        ),
    )
    language = LanguageOfContentItemAndDescendants(CodedConcept.from_code(codes.LANGUAGE))
    return (*language, *ObservationContext(observer_device_context=observer))


def document(
    sop_class: type[EnhancedSR] | type[Comprehensive3DSR],
    root: ContainerContentItem,
    evidence: Sequence[Dataset],
    arguments: Mapping[str, Any],
) -> EnhancedSR | Comprehensive3DSR:
    """The document with the content of ``root``, of which every referenced instance must be in ``evidence``.

    The content is put in last: highdicom would copy it and search it three times, which takes longer than to make it.
    """
    title = ContainerContentItem(name=root.name, template_id=root.template_id, is_content_continuous=False)
    title.ContentSequence = ContentSequence()
    dataset = sop_class(evidence=evidence, content=title, **arguments)
    dataset.ContentSequence = list(root.ContentSequence)
    return dataset


def evidence(context: ResultContext, header: Dataset, indices: Sequence[int]) -> list[Dataset]:
    """The source instances of some native slices as evidence, each with the checked patient and study of ``header``."""
    instances = {}
    for index in indices:
        source = context.source_frame(index)
        identity = {"SOPClassUID": source.sop_class_uid, "SOPInstanceUID": source.sop_instance_uid}
        instances[source.sop_instance_uid] = with_values(nameless(header), identity)
    return list(instances.values())


def library_slices(context: ResultContext, slices: Mapping[Vertebra, KeySlice]) -> tuple[int, ...]:
    """One to three native slices: of suspected levels first, then from C1 downwards, else the middle of the series."""
    ranked = sorted(context.findings.vertebrae, key=lambda finding: (not finding.fractured, -finding.probability))
    indices = dict.fromkeys(slices[finding.vertebra].index for finding in ranked)
    return tuple(indices)[:LIBRARY_SIZE] or (context.labels.shape[0] // 2,)


def image_library(context: ResultContext, indices: Sequence[int]) -> ContainerContentItem:
    """Image Library (TID 1600) with the key slices alone."""
    acquisition = RelationshipTypeValues.HAS_ACQ_CONTEXT
    group = ContainerContentItem(name=codes.IMAGE_LIBRARY_GROUP, relationship_type=RelationshipTypeValues.CONTAINS)
    group.ContentSequence = ContentSequence()
    group.ContentSequence.append(
        CodeContentItem(name=codes.MODALITY, value=codes.COMPUTED_TOMOGRAPHY, relationship_type=acquisition)
    )
    frame_of_reference = context.series.headers[0].get("FrameOfReferenceUID")
    if frame_of_reference:
        group.ContentSequence.append(
            UIDRefContentItem(
                name=codes.FRAME_OF_REFERENCE_UID, value=frame_of_reference, relationship_type=acquisition
            )
        )
    group.ContentSequence.extend(image_items(context, indices))
    library = ContainerContentItem(name=codes.IMAGE_LIBRARY, relationship_type=RelationshipTypeValues.CONTAINS)
    library.ContentSequence = ContentSequence([group])
    return library


def image_items(context: ResultContext, indices: Sequence[int]) -> list[ImageContentItem]:
    """An IMAGE item for each of some native slices."""
    return [
        ImageContentItem(
            name=codes.SOURCE,
            referenced_sop_class_uid=source.sop_class_uid,
            referenced_sop_instance_uid=source.sop_instance_uid,
            referenced_frame_numbers=source.frame_numbers,
            relationship_type=RelationshipTypeValues.CONTAINS,
        )
        for source in map(context.source_frame, indices)
    ]


def evaluations(context: ResultContext) -> ContainerContentItem:
    """Qualitative Evaluations (TID 1500): the coded answer for the cervical spine, then words and limitations.

    It stands outside Imaging Measurements because a group without coordinates stops the viewer.
    """
    contains = RelationshipTypeValues.CONTAINS
    overall = CodeContentItem(name=codes.FRACTURE, value=answer(context.findings).code, relationship_type=contains)
    overall.ContentSequence = ContentSequence([FindingSite(anatomic_location=codes.CERVICAL_SPINE)])
    summary = negative_summary(context.findings)
    texts: list[tuple[Code, str]] = [(codes.CONCLUSION, conclusion(context.findings))]
    texts += [(codes.COMMENT, summary)] if summary else []
    texts += [(codes.COMMENT, f"Limitation: {text}") for text in limitation_sentences(context.findings)]
    texts += [(codes.COMMENT, SUPERSEDES)] if context.supersedes else []
    texts.append((codes.COMMENT, DISCLAIMER))
    container = ContainerContentItem(name=codes.QUALITATIVE_EVALUATIONS, relationship_type=contains)
    container.ContentSequence = ContentSequence(
        [overall, *(TextContentItem(name=name, value=text, relationship_type=contains) for name, text in texts)]
    )
    return container
