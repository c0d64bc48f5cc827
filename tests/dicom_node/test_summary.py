"""The summary picture: right form for every outcome, right side up in every orientation, no identity in it."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pydicom import dcmread

from dicom_node.result_context import ResultKind
from dicom_node.segmentation import LEVEL_RGB
from dicom_node.sentences import Answer, conclusion
from dicom_node.summary import BANNER_RGB, SIZE, build_summary, render_overlay, render_summary, wrapped
from dicom_node.views import SCALE, SUSPECTED_RGB
from model.findings import Limitation, Vertebra
from tests.dicom_node.necks import (
    CASES,
    LIMITED,
    NEGATIVE,
    NOTHING_FOUND,
    POSITIVE,
    SPACING_MM,
    Case,
    findings_of,
    labels_of,
    with_headers,
    written,
)
from training.phantom_series import Geometry, SeriesOptions

BANNER_AT = (SIZE - 4, 71)


def pixel_count(image, rgb):
    return int(np.count_nonzero((np.asarray(image) == rgb).all(axis=2)))


@pytest.mark.parametrize("name", CASES)
def test_it_is_an_rgb_secondary_capture_of_1024_pixels(name, tmp_path):
    dataset = dcmread(written(CASES[name].context(), tmp_path)[ResultKind.SUMMARY])
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert dataset.PhotometricInterpretation == "RGB"
    assert dataset.pixel_array.shape == (SIZE, SIZE, 3)
    assert np.array_equal(dataset.pixel_array, np.asarray(render_summary(CASES[name].context())))
    assert dataset.BurnedInAnnotation == "NO"
    assert dataset.BodyPartExamined == "CSPINE"
    assert not dataset.PatientOrientation
    assert dataset.Modality == "OT"


def test_a_source_without_body_part_gets_the_cervical_spine():
    context = NEGATIVE.context()
    headers = [header.copy() for header in context.series.headers]
    del headers[0].BodyPartExamined
    assert build_summary(with_headers(context, headers)).BodyPartExamined == "CSPINE"


@pytest.mark.parametrize(
    ("case", "outcome"),
    [
        (POSITIVE, Answer.PRESENT),
        (NEGATIVE, Answer.ABSENT),
        (NOTHING_FOUND, Answer.UNDETERMINED),
        (Case(limitations=(Limitation.CUT_LEVEL,)), Answer.UNDETERMINED),
    ],
)
def test_the_banner_has_the_color_of_the_answer(case, outcome):
    assert render_summary(case.context()).getpixel(BANNER_AT) == BANNER_RGB[outcome]


def test_red_marks_suspected_levels_alone():
    assert pixel_count(render_summary(POSITIVE.context()), SUSPECTED_RGB) > 500
    assert pixel_count(render_summary(NEGATIVE.context()), SUSPECTED_RGB) == 0


@pytest.mark.parametrize("orientation", ["FPL", "LPF", "AHR"])
def test_the_picture_is_the_same_in_any_orientation(orientation):
    upright = render_summary(replace(LIMITED, options=SeriesOptions(Geometry(orientation="HPL"))).context())
    turned = render_summary(replace(LIMITED, options=SeriesOptions(Geometry(orientation=orientation))).context())
    assert np.array_equal(np.asarray(upright), np.asarray(turned))


def test_patient_and_study_do_not_change_a_pixel():
    context = POSITIVE.context()
    headers = [header.copy() for header in context.series.headers]
    for header in headers:
        header.PatientName, header.PatientID, header.AccessionNumber = "Other^Person", "4711", "X9"
        header.StudyDate, header.StudyDescription = "19990101", "Something else"
    other = with_headers(context, headers)
    assert np.array_equal(np.asarray(render_summary(context)), np.asarray(render_summary(other)))


def test_the_overlay_shows_head_on_top_and_anterior_at_the_left():
    labels = labels_of(tuple(Vertebra))
    hu = np.where(labels > 0, 500, -1000).astype(np.int16)
    image = np.asarray(render_overlay(hu, labels, findings_of(tuple(Vertebra)), SPACING_MM))
    assert image.shape == (640, 1024, 3)
    middles = {}
    for level in (Vertebra.C1, Vertebra.C7):
        rows, columns = np.nonzero((np.abs(image[:, :420].astype(int) - LEVEL_RGB[level]) < 40).all(axis=2))
        middles[level] = (rows.mean(), columns.mean())
    assert middles[Vertebra.C1][0] < middles[Vertebra.C7][0]
    bright = np.nonzero((image[:, :420] > 150).all(axis=2))
    assert bright[0].size


@pytest.mark.parametrize("count", range(8))
def test_every_number_of_suspected_levels_has_its_picture(count):
    levels = tuple(Vertebra)
    labels = labels_of(levels)
    image = render_overlay(labels.astype(np.int16) * 100, labels, findings_of(levels, levels[:count]), SPACING_MM)
    assert image.size == (1024, 640)


def test_the_longest_conclusion_fits_the_banner():
    draw = ImageDraw.Draw(Image.new("RGB", (8, 8)))
    lines = wrapped(draw, conclusion(findings_of(tuple(Vertebra), tuple(Vertebra))), 19, SIZE - 24)
    assert len(lines) <= 3
    assert all(draw.textlength(line) <= SIZE * SCALE for line in lines)
