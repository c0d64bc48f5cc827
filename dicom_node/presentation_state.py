"""A Grayscale Softcopy Presentation State of the key slices: bone window, suspected levels and fractures outlined.

PS3.3 A.33.1. Coordinates are the image's, as in the reports (PS3.3 C.10.5.1.2, PIXEL).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from highdicom import ModalityLUTTransformation
from highdicom.color import CIELabColor
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    GrayscaleSoftcopyPresentationState,
    SoftcopyVOILUTTransformation,
    TextObject,
)
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.valuerep import DS

from dicom_node.contours import KeySlice, outlines
from dicom_node.provenance import common_arguments, stamp
from dicom_node.report_content import evidence
from dicom_node.result_context import ResultContext, tracking_identifier
from dicom_node.result_kind import ResultKind
from dicom_node.sentences import percent
from dicom_node.views import BONE_WINDOW, LESION_RGB, SUSPECTED_RGB
from model.findings import Vertebra, VertebraFinding

LABEL_WIDTH, LABEL_HEIGHT = 0.3, 0.05
"""Size of a label as a share of the image."""


def build_presentation_state(context: ResultContext, slices: Mapping[Vertebra, KeySlice]) -> Dataset | None:
    """The state of the key slices of suspected levels; None where nothing is suspected.

    None as well where the headers do not say, with one slope and intercept for all key slices, what the stored values
    are (multi-frame sources say it elsewhere): the window would then mean something else than HU.
    """
    suspected = context.findings.fractured
    indices = tuple(dict.fromkeys(slices[finding.vertebra].index for finding in suspected))
    modality_lut = _modality_lut(context, indices)
    if modality_lut is None:
        return None
    header = context.header
    images = dict(zip(indices, evidence(context, header, indices), strict=True))
    center, width = BONE_WINDOW
    layers = _layers()
    dataset = GrayscaleSoftcopyPresentationState(
        referenced_images=list(images.values()),
        content_label="CERVICAL_SPINE",
        content_description="Suspected fractures; AI, not verified",
        graphic_layers=layers,
        graphic_annotations=[
            annotation
            for finding in suspected
            for annotation in _annotations(context, finding, slices[finding.vertebra], images, layers)
        ],
        modality_lut_transformation=modality_lut,
        voi_lut_transformations=[SoftcopyVOILUTTransformation(window_center=center, window_width=width)],
        specific_character_set=header.get("SpecificCharacterSet"),
        **common_arguments(context, ResultKind.PRESENTATION_STATE, "Presentation state"),
    )
    dataset.ContentCreatorName = ""  # type 2
    dataset.BodyPartExamined = header.get("BodyPartExamined") or "CSPINE"
    _, row_mm, column_mm = context.series.spacing_mm
    for area in dataset.DisplayedAreaSelectionSequence:
        del area.PresentationPixelAspectRatio
        area.PresentationPixelSpacing = [DS(row_mm, auto_format=True), DS(column_mm, auto_format=True)]
    stamp(dataset, context, header)
    return dataset


def _layers() -> list[GraphicLayer]:
    """The layers of suspected levels and of fractures."""
    return [
        GraphicLayer(name, order, "AI, not verified", CIELabColor.from_rgb(*rgb))
        for order, (name, rgb) in enumerate((("LEVELS", SUSPECTED_RGB), ("FRACTURES", LESION_RGB)), start=1)
    ]


def _modality_lut(context: ResultContext, indices: Sequence[int]) -> ModalityLUTTransformation | None:
    """How stored values become HU in some native slices, if all of them have the same rescale in their headers."""
    if len(context.series.headers) != len(context.labels):
        return None
    found = {
        (header.get("RescaleIntercept"), header.get("RescaleSlope"))
        for header in (context.series.headers[index] for index in indices)
    }
    if len(found) != 1:
        return None
    ((intercept, slope),) = found
    if intercept is None or slope is None:
        return None
    return ModalityLUTTransformation(rescale_intercept=intercept, rescale_slope=slope, rescale_type="HU")


def _annotations(
    context: ResultContext,
    finding: VertebraFinding,
    key: KeySlice,
    images: Mapping[int, Dataset],
    layers: Sequence[GraphicLayer],
) -> list[GraphicAnnotation]:
    """The outline of a suspected level with its label, and the outlines of its fracture, each in its layer."""
    level, image = finding.vertebra, [images[key.index]]
    label = TextObject(
        text_value=f"{level.name} {percent(finding.probability)} AI",
        units=AnnotationUnitsValues.PIXEL,
        bounding_box=_label_box(key.outline, context.labels.shape[1:]),
    )
    outline = _outline(key.outline, context, level)
    annotations = [GraphicAnnotation(image, layers[0], graphic_objects=[outline], text_objects=[label])]
    broken = context.broken(key.index, level)
    if broken is not None:
        lines = [_outline(line, context, level) for line in outlines(broken)]
        annotations.append(GraphicAnnotation(image, layers[1], graphic_objects=lines))
    return annotations


def _outline(line: NDArray[np.float32], context: ResultContext, level: Vertebra) -> GraphicObject:
    """A closed line (column, row) as a graphic object."""
    return GraphicObject(
        GraphicTypeValues.POLYLINE,
        graphic_data=line,
        units=AnnotationUnitsValues.PIXEL,
        tracking_id=tracking_identifier(level),
        tracking_uid=context.tracking_uid(level),
    )


def _label_box(outline: NDArray[np.float32], shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a label above an outline, inside of the image (rows, columns)."""
    rows, columns = shape
    width, height = LABEL_WIDTH * columns, LABEL_HEIGHT * rows
    left = min(max(float(outline[:, 0].mean()) - width / 2, 0.0), columns - width)
    top = max(float(outline[:, 1].min()) - height, 0.0)
    return left, top, left + width, top + height
