"""The summary picture: right form for every outcome, right side up in every orientation, no identity in it."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pydicom import dcmread

from dicom_node.planes import Volume, overview
from dicom_node.rendering import detail_rows, render_overlay
from dicom_node.result_context import ResultKind
from dicom_node.segmentation import LEVEL_RGB
from dicom_node.sentences import Answer, conclusion, limitation_sentences
from dicom_node.summary import (
    BANNER_RGB,
    REMARK_SIZES,
    REMARKS_HEIGHT,
    REMARKS_WIDTH,
    SIZE,
    build_summary,
    render_summary,
    wrapped,
)
from dicom_node.views import HEAT_SWATCH_RGB, LESION_RGB, SCALE, SUSPECTED_RGB, Box, Plane, draw_plane
from model.findings import Limitation, Vertebra
from tests.dicom_node.necks import (
    CASES,
    EXPLAINED,
    LIMITED,
    NEGATIVE,
    NOTHING_FOUND,
    POSITIVE,
    SPACING_MM,
    Case,
    explanation_of,
    findings_of,
    labels_of,
    with_headers,
    written,
)
from training.synthesis.phantom_series import Geometry, SeriesOptions

BANNER_AT = (1015, 5)


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


@pytest.mark.parametrize("case", [LIMITED, EXPLAINED], ids=["limited", "explained"])
@pytest.mark.parametrize("orientation", ["FPL", "LPF", "AHR"])
def test_the_picture_is_the_same_in_any_orientation(orientation, case):
    upright = render_summary(replace(case, options=SeriesOptions(Geometry(orientation="HPL"))).context())
    turned = render_summary(replace(case, options=SeriesOptions(Geometry(orientation=orientation))).context())
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
    image = np.asarray(render_overlay(Volume(hu, labels, SPACING_MM), findings_of(tuple(Vertebra))))
    assert image.shape == (640, 1024, 3)
    middles = {}
    for level in (Vertebra.C1, Vertebra.C7):
        rows, columns = np.nonzero((np.abs(image[:, :420].astype(int) - LEVEL_RGB[level]) < 40).all(axis=2))
        middles[level] = (rows.mean(), columns.mean())
    assert middles[Vertebra.C1][0] < middles[Vertebra.C7][0]
    bright = np.nonzero((image[:, :420] > 150).all(axis=2))
    assert bright[0].size


def explained(fractured):
    """A neck as the renderer takes it, in which these levels are broken."""
    labels = labels_of(tuple(Vertebra))
    hu = np.where(labels > 0, 500, 40).astype(np.int16)
    return Volume(hu, labels, SPACING_MM, *explanation_of(fractured))


@pytest.mark.parametrize("count", range(8))
def test_every_number_of_suspected_levels_has_its_picture(count):
    levels = tuple(Vertebra)
    for volume in (explained(levels[:count]), replace(explained(levels[:count]), lesions=None, activation=None)):
        image = render_overlay(volume, findings_of(levels, levels[:count]))
        assert image.size == (1024, 640)


def test_a_fracture_is_outlined_and_what_the_network_looked_at_is_shaded_and_both_are_explained():
    plain, told = (np.asarray(render_summary(case.context())) for case in (POSITIVE, EXPLAINED))
    views, legend = np.s_[104:676], np.s_[680:700]
    assert pixel_count(told[views], LESION_RGB) > 50
    assert pixel_count(plain[views], LESION_RGB) == 0
    assert pixel_count(told[legend], LESION_RGB) > 10
    assert pixel_count(told[legend], HEAT_SWATCH_RGB) > 10
    assert pixel_count(plain[legend], LESION_RGB) == pixel_count(plain[legend], HEAT_SWATCH_RGB) == 0
    negative = np.asarray(render_summary(NEGATIVE.context()))
    assert pixel_count(negative, LESION_RGB) == 0


def test_each_suspected_level_is_seen_from_two_sides_through_its_fracture_however_many_there_are():
    lesions = explanation_of(tuple(Vertebra))[0]
    for count in (1, 2, 3, 4, 7):
        fractured = tuple(Vertebra)[:count]
        details = detail_rows(explained(fractured), findings_of(tuple(Vertebra), fractured))
        planes = [plane for row in details for plane in row]
        assert all(plane.lesion is not None and plane.lesion.any() for plane in planes)
        for sides, axes in ((("R", "L"), (1, 2)), (("A", "P"), (0, 1))):
            seen = [plane for plane in planes if plane.sides == sides]
            assert [plane.caption[:2] for plane in seen] == [level.name for level in fractured]
            for level, plane in zip(fractured, seen, strict=True):
                assert np.count_nonzero(plane.lesion) == np.count_nonzero(lesions == level, axis=axes).max()


def test_the_overview_is_marked_where_the_axial_views_cut_it():
    volume = explained((Vertebra.C2, Vertebra.C5))
    findings = findings_of(tuple(Vertebra), (Vertebra.C2, Vertebra.C5))
    assert overview(volume, findings).marks == (13, 34)
    assert overview(volume, findings_of(tuple(Vertebra))).marks == ()


def shaded(hu, heat):
    """The mean color of a plane of one HU under one heat."""
    image = Image.new("RGB", (100 * SCALE, 100 * SCALE))
    plane = Plane(
        np.full((80, 80), hu, np.int16),
        np.zeros((80, 80), np.uint8),
        (1.0, 1.0),
        "",
        ("R", "L"),
        heat=np.full((80, 80), heat, np.float32),
    )
    draw_plane(image, Box(0, 0, 100, 100), plane, frozenset(), 10.0)
    return np.asarray(image)[60:80, 60:80].reshape(-1, 3).mean(axis=0)


def test_shading_is_warm_and_leaves_bone_apart_from_what_is_around_it():
    bone, muscle = (shaded(hu, 1.0) for hu in (500, 40))
    assert bone[0] > bone[1] > bone[2]
    plain = shaded(500, 0.0) - shaded(40, 0.0)
    assert np.all(bone - muscle >= 0.58 * plain)


@pytest.mark.parametrize("heat", [0.0, 0.2, 0.34])
def test_faint_activation_is_not_shaded(heat):
    red, green, blue = shaded(300, heat)
    assert red == green == blue


def test_each_level_is_shaded_by_its_own_maximum():
    volume = explained((Vertebra.C2, Vertebra.C5))
    activation = volume.activation.copy()
    activation[:20] //= 8
    findings = findings_of(tuple(Vertebra), (Vertebra.C2, Vertebra.C5))
    for plane in (plane for row in detail_rows(replace(volume, activation=activation), findings) for plane in row):
        assert plane.heat.max() > 0.9


def test_all_limitations_fit_beside_the_table():
    draw = ImageDraw.Draw(Image.new("RGB", (8, 8)))
    told = tuple(item for item in Limitation if item is not Limitation.NO_LEVELS)
    worst = replace(findings_of((Vertebra.C1, Vertebra.C3, Vertebra.C4, Vertebra.C6), (), told), probability=0.6)
    size, gap = REMARK_SIZES[-1]
    lines = [wrapped(draw, text, size, REMARKS_WIDTH) for text in limitation_sentences(worst)]
    assert sum(len(part) * (size + 3) + gap for part in lines) <= REMARKS_HEIGHT


def test_the_longest_conclusion_fits_the_banner():
    draw = ImageDraw.Draw(Image.new("RGB", (8, 8)))
    lines = wrapped(draw, conclusion(findings_of(tuple(Vertebra), tuple(Vertebra))), 19, SIZE - 24)
    assert len(lines) <= 3
    assert all(draw.textlength(line) <= SIZE * SCALE for line in lines)
