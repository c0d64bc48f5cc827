"""Arrows point at the fracture of suspected levels, in the form that OHIF takes over."""

from dataclasses import replace

import numpy as np
import pytest

from dicom_node.arrows import LENGTH_MM, TRACKING_IDENTIFIER, arrow, build_arrows
from dicom_node.contours import key_slices
from model.findings import Vertebra
from tests.dicom_node.necks import EXPLAINED, NEGATIVE, POSITIVE, content, findings_of
from training.synthesis.phantom_series import Geometry, SeriesForm, SeriesOptions

CONTEXTS = {"where the fracture is known": EXPLAINED.context(), "where it is not": POSITIVE.context()}


def groups_of(context):
    report = build_arrows(context, key_slices(context.labels, context.lesions))
    return content(report, "Imaging Measurements", "Measurement Group")


@pytest.mark.parametrize("name", CONTEXTS)
def test_the_tip_lies_in_the_fracture_and_the_tail_inside_of_the_image(name):
    context = CONTEXTS[name]
    slices = key_slices(context.labels, context.lesions)
    for level in POSITIVE.fractured:
        index = slices[level].index
        (column, row), tail = arrow(context, level, index)
        telling = context.labels if context.lesions is None else context.lesions
        assert telling[index, int(row), int(column)] == level
        assert (column % 1, row % 1) == (0.5, 0.5)
        rows, columns = context.labels.shape[1:]
        assert 0 <= tail[0] <= columns
        assert 0 <= tail[1] <= rows
        millimeters = np.hypot(*((tail - (column, row)) * np.array(context.series.spacing_mm[:0:-1])))
        assert 5 < millimeters <= LENGTH_MM + 1e-6


def test_the_tail_lies_on_the_far_side_of_the_fracture_as_seen_from_the_middle_of_the_level():
    context = CONTEXTS["where the fracture is known"]
    index = key_slices(context.labels, context.lesions)[Vertebra.C5].index
    middle = np.argwhere(context.labels[index] == Vertebra.C5).mean(axis=0)[::-1] + 0.5
    tip, tail = arrow(context, Vertebra.C5, index)
    assert np.dot(tail - tip, tip - middle) > 0


def test_a_group_has_the_identifier_of_the_tool_the_text_of_the_label_and_no_number():
    context = CONTEXTS["where the fracture is known"]
    for level, group in zip(POSITIVE.fractured, groups_of(context), strict=True):
        assert content(group, "Tracking Identifier")[0].TextValue == TRACKING_IDENTIFIER
        assert context.tracking_uid(level) == content(group, "Tracking Unique Identifier")[0].UID
        assert content(group, "Comment")[0].TextValue == f"{level.name}: suspected fracture 90%; AI, not verified"
        (region,) = content(group, "Image Region")
        assert (region.ValueType, region.GraphicType, len(region.GraphicData)) == ("SCOORD", "POLYLINE", 4)
        assert not [item for item in group.ContentSequence if item.ValueType == "NUM"]


def test_the_arrow_of_a_multi_frame_source_names_its_frame():
    case = replace(EXPLAINED, options=SeriesOptions(Geometry(orientation="HPL"), form=SeriesForm.ENHANCED))
    context = case.context()
    slices = key_slices(context.labels, context.lesions)
    for level, group in zip(case.fractured, groups_of(context), strict=True):
        reference = content(group, "Image Region")[0].ContentSequence[0].ReferencedSOPSequence[0]
        assert reference.ReferencedFrameNumber == slices[level].index + 1


def test_where_nothing_is_suspected_there_are_no_arrows():
    context = replace(CONTEXTS["where it is not"], findings=findings_of(tuple(Vertebra)))
    assert build_arrows(context, key_slices(context.labels)) is None
    assert NEGATIVE.fractured == ()
