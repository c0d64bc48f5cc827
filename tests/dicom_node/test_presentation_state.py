"""The presentation state shows the key slices in the bone window with the outlines of report and fracture."""

import subprocess
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dicom_node.contours import key_slices, outlines
from dicom_node.encode import encode
from dicom_node.presentation_state import build_presentation_state
from dicom_node.views import BONE_WINDOW
from model.findings import Vertebra
from tests.dicom_node.necks import (
    EXPLAINED,
    POSITIVE,
    SPACING_MM,
    Case,
    copied_headers,
    findings_of,
    labels_of,
    with_headers,
)
from tests.peers import require
from training.synthesis.phantom_series import Geometry, SeriesForm, SeriesOptions, write_series

CONTEXT = EXPLAINED.context()


def state_of(context=CONTEXT):
    return build_presentation_state(context, key_slices(context.labels, context.lesions))


def points(item):
    return np.array(item.GraphicData, np.float32).reshape(-1, 2)


def test_suspected_levels_are_outlined_as_in_the_report_and_labeled():
    slices = key_slices(CONTEXT.labels, CONTEXT.lesions)
    items = [item for item in state_of().GraphicAnnotationSequence if item.GraphicLayer == "LEVELS"]
    for level, item in zip(EXPLAINED.fractured, items, strict=True):
        reference = item.ReferencedImageSequence[0]
        assert reference.ReferencedSOPInstanceUID == CONTEXT.source_frame(slices[level].index).sop_instance_uid
        (outline,) = item.GraphicObjectSequence
        assert np.array_equal(points(outline), slices[level].outline)
        assert outline.TrackingUID == CONTEXT.tracking_uid(level)
        assert item.TextObjectSequence[0].UnformattedTextValue == f"{level.name} 90% AI"


def test_fractures_are_outlined_in_a_layer_of_their_own_where_they_are_known():
    slices = key_slices(CONTEXT.labels, CONTEXT.lesions)
    items = [item for item in state_of().GraphicAnnotationSequence if item.GraphicLayer == "FRACTURES"]
    for level, item in zip(EXPLAINED.fractured, items, strict=True):
        lines = outlines(CONTEXT.lesions[slices[level].index] == level)
        assert [points(one).tolist() for one in item.GraphicObjectSequence] == [line.tolist() for line in lines]
    layers = {item.GraphicLayer for item in state_of(POSITIVE.context()).GraphicAnnotationSequence}
    assert layers == {"LEVELS"}


def test_it_shows_bone_in_true_proportions():
    state = state_of()
    window = state.SoftcopyVOILUTSequence[0]
    assert (float(window.WindowCenter), float(window.WindowWidth)) == BONE_WINDOW
    header = CONTEXT.series.headers[0]
    assert (state.RescaleIntercept, state.RescaleSlope) == (header.RescaleIntercept, header.RescaleSlope)
    (area,) = state.DisplayedAreaSelectionSequence
    assert [float(value) for value in area.PresentationPixelSpacing] == [1.25, 1.0]
    assert "PresentationPixelAspectRatio" not in area


def test_labels_stay_inside_of_the_image():
    rows, columns = CONTEXT.labels.shape[1:]
    for item in state_of().GraphicAnnotationSequence:
        for label in item.get("TextObjectSequence", []):
            left, top = label.BoundingBoxTopLeftHandCorner
            right, bottom = label.BoundingBoxBottomRightHandCorner
            assert 0 <= left < right <= columns
            assert 0 <= top < bottom <= rows


def changed(keyword, value, which=slice(None)):
    headers = copied_headers(CONTEXT)
    for header in headers[which]:
        setattr(header, keyword, value)
    return with_headers(CONTEXT, headers)


def test_there_is_none_where_nothing_is_suspected_or_the_stored_values_are_not_known():
    assert state_of(replace(CONTEXT, findings=findings_of(tuple(Vertebra)))) is None
    assert state_of(changed("RescaleSlope", None)) is None
    index = key_slices(CONTEXT.labels, CONTEXT.lesions)[Vertebra.C5].index
    assert state_of(changed("RescaleIntercept", -1000, slice(index, index + 1))) is None
    options = SeriesOptions(Geometry(orientation="HPL"), form=SeriesForm.ENHANCED)
    assert state_of(replace(POSITIVE, options=options).context()) is None


@pytest.mark.peer
def test_dcmtk_applies_it_to_the_source(tmp_path):
    case = Case(fractured=(Vertebra.C4,))
    context = case.context()
    hu = np.where(labels_of(case.levels) > 0, 500, 40).astype(np.int16)
    paths = write_series(hu, SPACING_MM, tmp_path / "source", case.options)
    state = tmp_path / "state.dcm"
    state.write_bytes(encode(state_of(context)))
    index = key_slices(context.labels)[Vertebra.C4].index
    uid = context.source_frame(index).sop_instance_uid.encode()
    (source,) = (path for path in paths if uid in path.read_bytes())
    shown = tmp_path / "shown.pgm"
    subprocess.run([require("dcmp2pgm"), "-p", state, source, shown], check=True, capture_output=True, timeout=60)
    center, width = BONE_WINDOW
    expected = [round((value - center + width / 2) / width * 255) for value in (40, 500)]
    grays = np.unique(np.asarray(Image.open(shown)))
    assert np.abs(grays - np.array(expected)).max() <= 1
