"""The report of the IHE AI Results profile: a volumetric group of every level, by its segment (PS3.16 TID 1411).

Not in the default profile: a common viewer fails on groups without coordinates, valid as they are.
"""

from collections.abc import Mapping

from highdicom.sr import (
    ReferencedSegment,
    SourceSeriesForSegmentation,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom import Dataset

from dicom_node.contours import KeySlice
from dicom_node.measurement_report import ReportForm, group_arguments, measurement_report
from dicom_node.result_context import ResultContext
from dicom_node.result_kind import ResultKind
from model.findings import Vertebra, VertebraFinding


def build_air_report(
    context: ResultContext, slices: Mapping[Vertebra, KeySlice], segmentation: Dataset | None
) -> Dataset:
    """The report of every level found by its segment; ``ValueError`` if there are levels but no segmentation."""
    groups = []
    if context.levels:
        if segmentation is None:
            raise ValueError("a report that refers to segments needs the segmentation")
        groups = [
            _group(number, finding, context, segmentation)
            for number, finding in enumerate(context.findings.vertebrae, start=1)
        ]
    return measurement_report(context, slices, ReportForm(ResultKind.AIR_REPORT, "AIR report", groups), segmentation)


def _group(
    number: int, finding: VertebraFinding, context: ResultContext, segmentation: Dataset
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    """The volumetric group of the level with this segment number."""
    segment = ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=number,
        source_series=SourceSeriesForSegmentation(context.series.series_instance_uid),
    )
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=segment, **group_arguments(finding, context)
    )
