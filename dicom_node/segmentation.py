"""The mask as a BINARY or LABELMAP Segmentation on the source grid, one segment a level (PS3.3 A.51, C.8.20.2)."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import highdicom
import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node import codes
from dicom_node.provenance import algorithm_identification, common_arguments, stamp
from dicom_node.result_context import ResultContext, tracking_identifier
from dicom_node.result_kind import ResultKind
from dicom_node.segmentation_frames import marked_slices, with_frames
from dicom_node.sentences import percent
from dicom_node.source_headers import nameless, usable_header, with_values
from model.findings import Vertebra, VertebraFinding

LEVEL_RGB: Mapping[Vertebra, tuple[int, int, int]] = MappingProxyType(
    {
        Vertebra.C1: (86, 180, 233),
        Vertebra.C2: (240, 228, 66),
        Vertebra.C3: (0, 200, 140),
        Vertebra.C4: (230, 159, 0),
        Vertebra.C5: (204, 121, 220),
        Vertebra.C6: (70, 130, 255),
        Vertebra.C7: (150, 220, 80),
    }
)
"""The color of each level in segmentation and pictures; none is red, which marks a suspected fracture."""


_TYPES = {
    ResultKind.SEGMENTATION: SegmentationTypeValues.BINARY,
    ResultKind.LABELMAP: SegmentationTypeValues.LABELMAP,
}


def build_segmentation(context: ResultContext, kind: ResultKind = ResultKind.SEGMENTATION) -> Dataset:
    """The Segmentation of every level found; ``ValueError`` if there is none, for an empty one would hold every frame.

    ``kind`` is SEGMENTATION (BINARY, 66.4) or LABELMAP (66.7). Native Explicit VR Little Endian: some servers inflate
    compressed segmentations on their way to a viewer.
    """
    if not context.levels:
        raise ValueError("no level was found: there is nothing to segment")
    if len(context.series.headers) != context.labels.shape[0]:  # a multi-frame source
        return made_by_highdicom(context, kind, range(context.labels.shape[0]))
    slices = marked_slices(context)
    if kind is ResultKind.SEGMENTATION and len(context.levels) > 1:
        return with_frames(made_by_highdicom(context, kind, slices[:1]), context)
    return made_by_highdicom(context, kind, slices)


def made_by_highdicom(context: ResultContext, kind: ResultKind, slices: Sequence[int]) -> Dataset:
    """The segmentation of some native slices, all of them if the source is multi-frame; every segment is described."""
    header = context.header
    thickness = float(header.get("SliceThickness") or context.series.spacing_mm[0])
    headers = context.series.headers
    first, *others = headers if len(headers) == 1 else [headers[index] for index in slices]
    dataset = Segmentation(
        source_images=[with_values(nameless(usable_header(first)), {"SliceThickness": thickness}), *others],
        pixel_array=_numbers(context)[context.labels[slices]],
        segmentation_type=_TYPES[kind],
        segment_descriptions=[
            _description(number, finding, context) for number, finding in enumerate(context.findings.vertebrae, start=1)
        ],
        pixel_measures=_pixel_measures(context, thickness),
        content_label="CERVICAL_SPINE",
        content_description="Cervical vertebrae; AI, not verified",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=True,
        specific_character_set=header.get("SpecificCharacterSet"),
        **common_arguments(context, kind, "Segmentation" if kind is ResultKind.SEGMENTATION else "Label map"),
    )
    dataset.ContentCreatorName = ""  # type 2
    groups = dataset.SharedFunctionalGroupsSequence[0]
    groups.PixelMeasuresSequence = _pixel_measures(context, thickness)  # highdicom's are those of the slices it saw
    stamp(dataset, context, header)
    return dataset


def segment_numbers(context: ResultContext) -> NDArray[np.uint8]:
    """The mask with segment numbers 1..n without gaps in place of labels, a label map in frame order of the source."""
    return _numbers(context)[context.labels]


def _numbers(context: ResultContext) -> NDArray[np.uint8]:
    """The segment number of every label."""
    numbers = np.zeros(256, np.uint8)
    for number, level in enumerate(context.levels, start=1):
        numbers[level] = number
    return numbers


def _pixel_measures(context: ResultContext, thickness_mm: float) -> highdicom.PixelMeasuresSequence:
    """Pixel Measures from the spacing of the volume: Slice Thickness may differ from the increment."""
    slice_mm, row_mm, column_mm = context.series.spacing_mm
    return highdicom.PixelMeasuresSequence(
        pixel_spacing=(row_mm, column_mm),
        slice_thickness=thickness_mm,
        spacing_between_slices=slice_mm,
    )


def _description(number: int, finding: VertebraFinding, context: ResultContext) -> SegmentDescription:
    """The Segment Sequence item of one level."""
    description = SegmentDescription(
        segment_number=number,
        segment_label=finding.vertebra.name,
        segmented_property_category=codes.ANATOMICAL_STRUCTURE,
        segmented_property_type=codes.VERTEBRA[finding.vertebra],
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm_identification(context),
        tracking_uid=context.tracking_uid(finding.vertebra),
        tracking_id=tracking_identifier(finding.vertebra),
        display_color=CIELabColor.from_rgb(*LEVEL_RGB[finding.vertebra]),
    )
    if finding.fractured:
        description.SegmentDescription = f"Suspected fracture, certainty {percent(finding.probability)}; not verified"
    return description
