"""Arrows at suspected fractures in the form that OHIF takes over as measurements of its own (PS3.16 TID 1410).

Only suspected levels have one. The tracking identifier is the one by which that viewer knows its arrows, the comment is
the text that it writes beside them. There is no number in a group: the viewer would take it for a length or an area.
"""

from collections.abc import Mapping

import numpy as np
from highdicom.sr import (
    GraphicTypeValues,
    ImageRegion,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    RelationshipTypeValues,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_node import codes
from dicom_node.contours import KeySlice
from dicom_node.measurement_report import ReportForm, group_arguments, measurement_report
from dicom_node.result_context import ResultContext
from dicom_node.result_kind import ResultKind
from dicom_node.sentences import percent
from model.findings import Vertebra, VertebraFinding

TRACKING_IDENTIFIER = "Cornerstone3DTools@^0.1.0:ArrowAnnotate"
LENGTH_MM = 20.0


def build_arrows(context: ResultContext, slices: Mapping[Vertebra, KeySlice]) -> Dataset | None:
    """The report with one arrow a suspected level; None where nothing is suspected."""
    suspected = context.findings.fractured
    if not suspected:
        return None
    groups = [_group(finding, slices[finding.vertebra].index, context) for finding in suspected]
    return measurement_report(context, slices, ReportForm(ResultKind.ARROWS, "Arrows", groups))


def arrow(context: ResultContext, vertebra: Vertebra, index: int) -> NDArray[np.float64]:
    """Tip and tail (column, row) of the arrow at a level's fracture in a native slice.

    The tip is the pixel of the fracture, or of the level where none is known, that is nearest to its middle; the tail
    lies away from the middle of the level, inside of the image.
    """
    level = context.labels[index] == vertebra
    broken = context.broken(index, vertebra)
    tip = _nearest_to_middle(level if broken is None else broken)
    away = tip - _points(level).mean(axis=0)
    if np.hypot(*away) < 1.0:
        away = np.array([1.0, -1.0])
    _, row_mm, column_mm = context.series.spacing_mm
    scale = np.array([column_mm, row_mm])
    tail = tip + away / np.hypot(*(away * scale)) * LENGTH_MM
    rows, columns = level.shape
    return np.stack([tip, np.clip(tail, 0.0, [columns, rows])])


def _group(
    finding: VertebraFinding, index: int, context: ResultContext
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    """The planar group of one suspected level."""
    source = context.source_frame(index)
    region = ImageRegion(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=arrow(context, finding.vertebra, index),
        source_image=SourceImageForRegion(source.sop_class_uid, source.sop_instance_uid, source.frame_numbers),
    )
    arguments = group_arguments(finding, context)
    del arguments["measurements"]
    arguments["tracking_identifier"] = TrackingIdentifier(
        uid=context.tracking_uid(finding.vertebra), identifier=TRACKING_IDENTIFIER
    )
    group = PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **arguments)
    text = f"{finding.vertebra.name}: suspected fracture {percent(finding.probability)}; AI, not verified"
    comment = TextContentItem(name=codes.COMMENT, value=text, relationship_type=RelationshipTypeValues.CONTAINS)
    group[0].ContentSequence.append(comment)
    return group


def _points(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The middles (column, row) of the pixels of a mask in image coordinates (PS3.3 C.18.6.1.2)."""
    return np.argwhere(mask)[:, ::-1].astype(np.float64) + 0.5


def _nearest_to_middle(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The pixel of a mask that is nearest to its middle."""
    points = _points(mask)
    distances = np.hypot(*(points - points.mean(axis=0)).T)
    nearest: NDArray[np.float64] = points[np.argmin(distances)]
    return nearest
