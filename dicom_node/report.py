"""The findings as a TID 1500 Measurement Report in a Comprehensive 3D SR (PS3.16 TID 1500, 1410; PS3.3 A.35.13).

One planar group for each level, each with one SCOORD POLYLINE on its key slice: a common viewer fails on a group
without coordinates. Safety rule: Finding = Fracture stands only on levels with a suspected fracture, because viewers
list Finding and Finding Site and may hide whether it is present; on every other level the Finding is the vertebra.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    GraphicTypeValues,
    ImageContentItem,
    ImageRegion,
    LanguageOfContentItemAndDescendants,
    Measurement,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
    UIDRefContentItem,
)
from pydicom import Dataset
from pydicom.sr.coding import Code

from dicom_node import codes
from dicom_node.contours import KeySlice
from dicom_node.provenance import algorithm_parameters, procedures_reported, report_arguments, stamp
from dicom_node.result_context import ResultContext, ResultKind, tracking_identifier
from dicom_node.sentences import DISCLAIMER, answer, conclusion, limitation_sentences, negative_summary
from dicom_node.source_headers import nameless, usable_header, with_values
from model.findings import Vertebra, VertebraFinding

LIBRARY_SIZE = 3
"""Key slices in the Image Library: every slice would make a report of more than a megabyte."""


def build_report(
    context: ResultContext, slices: Mapping[Vertebra, KeySlice], segmentation: Dataset | None = None
) -> Dataset:
    """The report of every level found, or one that says Undetermined and why; the segmentation is evidence."""
    header = usable_header(context.series.headers[0])
    library = library_slices(context, slices)
    root = ContainerContentItem(name=codes.IMAGING_MEASUREMENT_REPORT, template_id="1500", is_content_continuous=False)
    root.ContentSequence = ContentSequence([*opening(context, header), _image_library(context, library)], is_root=False)
    if slices:
        root.ContentSequence.append(_measurements(context, slices))
    root.ContentSequence.append(_evaluations(context))
    indices = dict.fromkeys((*library, *(key.index for key in slices.values())))
    dataset = Comprehensive3DSR(
        evidence=[*evidence(context, header, tuple(indices)), *([segmentation] if segmentation is not None else [])],
        content=root,
        **report_arguments(context, header, ResultKind.REPORT, "Report"),
    )
    stamp(dataset, context, header)
    return dataset


def opening(context: ResultContext, header: Dataset) -> tuple[ContentItem, ...]:
    """Language (TID 1204), observer (TID 1004) and procedure reported: how every report of ours begins."""
    device = context.device
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
    procedures = [
        CodeContentItem(
            name=codes.PROCEDURE_REPORTED, value=procedure, relationship_type=RelationshipTypeValues.HAS_CONCEPT_MOD
        )
        for procedure in procedures_reported(header)
    ]
    language = LanguageOfContentItemAndDescendants(CodedConcept.from_code(codes.LANGUAGE))
    return (*language, *ObservationContext(observer_device_context=observer), *procedures)


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


def _image_library(context: ResultContext, indices: Sequence[int]) -> ContainerContentItem:
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
    for source in (context.source_frame(index) for index in indices):
        group.ContentSequence.append(
            ImageContentItem(
                name=codes.SOURCE,
                referenced_sop_class_uid=source.sop_class_uid,
                referenced_sop_instance_uid=source.sop_instance_uid,
                referenced_frame_numbers=source.frame_numbers,
                relationship_type=RelationshipTypeValues.CONTAINS,
            )
        )
    library = ContainerContentItem(name=codes.IMAGE_LIBRARY, relationship_type=RelationshipTypeValues.CONTAINS)
    library.ContentSequence = ContentSequence([group])
    return library


def _measurements(context: ResultContext, slices: Mapping[Vertebra, KeySlice]) -> ContainerContentItem:
    """Imaging Measurements: one group a level."""
    container = ContainerContentItem(name=codes.IMAGING_MEASUREMENTS, relationship_type=RelationshipTypeValues.CONTAINS)
    container.ContentSequence = ContentSequence()
    for finding in context.findings.vertebrae:
        container.ContentSequence.extend(_group(finding, slices[finding.vertebra], context))
    return container


def _group(
    finding: VertebraFinding, key: KeySlice, context: ResultContext
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    """The planar group (TID 1410) of one level; only a suspected fracture makes Fracture its Finding."""
    vertebra = codes.VERTEBRA[finding.vertebra]
    source = context.source_frame(key.index)
    region = ImageRegion(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=np.asarray(key.outline, np.float64),
        source_image=SourceImageForRegion(source.sop_class_uid, source.sop_instance_uid, source.frame_numbers),
    )
    certainty = Measurement(
        name=codes.CERTAINTY_OF_FINDING, value=round(100 * finding.probability, 1), unit=codes.PERCENT
    )
    fractured = finding.fractured
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=context.tracking_uid(finding.vertebra), identifier=tracking_identifier(finding.vertebra)
        ),
        referenced_region=region,
        finding_type=codes.FRACTURE if fractured else vertebra,
        finding_category=codes.MORPHOLOGICALLY_ABNORMAL_STRUCTURE if fractured else codes.ANATOMICAL_STRUCTURE,
        finding_sites=[FindingSite(anatomic_location=vertebra)] if fractured else None,
        algorithm_id=AlgorithmIdentification(
            name=context.device.model_name,
            version=context.device.software_version,
            parameters=[",".join(f"{name}={value}" for name, value in algorithm_parameters(context).items())],
            family=codes.ARTIFICIAL_INTELLIGENCE,
            manufacturer=context.device.manufacturer,
        ),
        measurements=[certainty] if fractured else None,
        qualitative_evaluations=[QualitativeEvaluation(codes.FRACTURE, codes.PRESENT)] if fractured else None,
    )


def _evaluations(context: ResultContext) -> ContainerContentItem:
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
    texts.append((codes.COMMENT, DISCLAIMER))
    container = ContainerContentItem(name=codes.QUALITATIVE_EVALUATIONS, relationship_type=contains)
    container.ContentSequence = ContentSequence(
        [overall, *(TextContentItem(name=name, value=text, relationship_type=contains) for name, text in texts)]
    )
    return container
