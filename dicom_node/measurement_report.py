"""A TID 1500 Measurement Report around the groups that a form of report makes of each level (PS3.16 TID 1500, 1501).

Safety rule: Finding = Fracture stands only on levels with a suspected fracture, because viewers list Finding and
Finding Site and may hide whether it is present; on every other level the Finding is the vertebra.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentSequence,
    FindingSite,
    Measurement,
    QualitativeEvaluation,
    RelationshipTypeValues,
    TrackingIdentifier,
)
from pydicom import Dataset

from dicom_node import codes
from dicom_node.contours import KeySlice
from dicom_node.provenance import algorithm_parameters, report_arguments, stamp
from dicom_node.report_content import document, evaluations, evidence, image_library, library_slices, opening
from dicom_node.result_context import ResultContext, tracking_identifier
from dicom_node.result_kind import ResultKind
from dicom_node.sop_classes import LABEL_MAP_SEGMENTATION_STORAGE
from model.findings import Vertebra, VertebraFinding


@dataclass(frozen=True, slots=True)
class ReportForm:
    """What tells one measurement report from another: its kind, its name, and the content items of its groups."""

    kind: ResultKind
    what: str
    groups: Sequence[ContentSequence]


def measurement_report(
    context: ResultContext,
    slices: Mapping[Vertebra, KeySlice],
    form: ReportForm,
    segmentation: Dataset | None = None,
) -> Dataset:
    """The Comprehensive 3D SR (PS3.3 A.35.13) of ``form``; the segmentation is evidence, after the CT."""
    header = context.header
    library = library_slices(context, slices)
    root = ContainerContentItem(name=codes.IMAGING_MEASUREMENT_REPORT, template_id="1500", is_content_continuous=False)
    root.ContentSequence = ContentSequence([*opening(context, header), image_library(context, library)], is_root=False)
    if form.groups:
        root.ContentSequence.append(_measurements(form.groups))
    root.ContentSequence.append(evaluations(context))
    indices = dict.fromkeys((*library, *(key.index for key in slices.values())))
    sources = [*evidence(context, header, tuple(indices)), *([segmentation] if segmentation is not None else [])]
    arguments = report_arguments(context, header, form.kind, form.what, segmentation_kind(segmentation))
    dataset = document(Comprehensive3DSR, root, sources, arguments)
    stamp(dataset, context, header)
    return dataset


def segmentation_kind(segmentation: Dataset | None) -> ResultKind | None:
    """The kind of a segmentation that was built here."""
    if segmentation is None:
        return None
    labelmap = segmentation.SOPClassUID == LABEL_MAP_SEGMENTATION_STORAGE
    return ResultKind.LABELMAP if labelmap else ResultKind.SEGMENTATION


def group_arguments(finding: VertebraFinding, context: ResultContext) -> dict[str, Any]:
    """The keyword arguments of every form of group; only a suspected fracture makes Fracture the Finding.

    Every group names its level as the Finding Site, which viewers show as its label.
    """
    vertebra = codes.VERTEBRA[finding.vertebra]
    arguments = {
        "finding_sites": [FindingSite(anatomic_location=vertebra)],
        "tracking_identifier": TrackingIdentifier(
            uid=context.tracking_uid(finding.vertebra), identifier=tracking_identifier(finding.vertebra)
        ),
        "algorithm_id": AlgorithmIdentification(
            name=context.device.model_name,
            version=context.device.software_version,
            parameters=[",".join(f"{name}={value}" for name, value in algorithm_parameters(context).items())],
            family=codes.ARTIFICIAL_INTELLIGENCE,
            manufacturer=context.device.manufacturer,
        ),
    }
    if not finding.fractured:
        return {**arguments, "finding_type": vertebra, "finding_category": codes.ANATOMICAL_STRUCTURE}
    certainty = Measurement(
        name=codes.CERTAINTY_OF_FINDING, value=round(100 * finding.probability, 1), unit=codes.PERCENT
    )
    return {
        **arguments,
        "finding_type": codes.FRACTURE,
        "finding_category": codes.MORPHOLOGICALLY_ABNORMAL_STRUCTURE,
        "measurements": [certainty],
        "qualitative_evaluations": [QualitativeEvaluation(codes.FRACTURE, codes.PRESENT)],
    }


def _measurements(groups: Sequence[ContentSequence]) -> ContainerContentItem:
    """Imaging Measurements with its groups."""
    container = ContainerContentItem(name=codes.IMAGING_MEASUREMENTS, relationship_type=RelationshipTypeValues.CONTAINS)
    container.ContentSequence = ContentSequence()
    for group in groups:
        container.ContentSequence.extend(group)
    return container
