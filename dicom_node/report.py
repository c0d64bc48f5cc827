"""The report of the default profile: a planar group of every level (PS3.16 TID 1410).

Each group has one SCOORD POLYLINE on its key slice: a common viewer fails on a group without coordinates.
"""

from collections.abc import Mapping

import numpy as np
from highdicom.sr import (
    GraphicTypeValues,
    ImageRegion,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    SourceImageForRegion,
)
from pydicom import Dataset

from dicom_node.contours import KeySlice
from dicom_node.measurement_report import ReportForm, group_arguments, measurement_report
from dicom_node.result_context import ResultContext
from dicom_node.result_kind import ResultKind
from model.findings import Vertebra, VertebraFinding


def build_report(
    context: ResultContext, slices: Mapping[Vertebra, KeySlice], segmentation: Dataset | None = None
) -> Dataset:
    """The report of every level found, or one that says Undetermined and why; the segmentation is evidence."""
    groups = [_group(finding, slices[finding.vertebra], context) for finding in context.findings.vertebrae]
    return measurement_report(context, slices, ReportForm(ResultKind.REPORT, "Report", groups), segmentation)


def _group(
    finding: VertebraFinding, key: KeySlice, context: ResultContext
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    """The planar group of one level, with its outline."""
    source = context.source_frame(key.index)
    region = ImageRegion(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=np.asarray(key.outline, np.float64),
        source_image=SourceImageForRegion(source.sop_class_uid, source.sop_instance_uid, source.frame_numbers),
    )
    return PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **group_arguments(finding, context))
