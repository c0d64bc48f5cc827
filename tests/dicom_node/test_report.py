"""The measurement report says what was found, and never calls a negative level a fracture."""

from dataclasses import replace

import highdicom
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node import codes
from dicom_node.contours import key_slices
from dicom_node.encode import encode
from dicom_node.report import build_report
from dicom_node.report_content import LIBRARY_SIZE
from dicom_node.result_context import ResultKind
from dicom_node.segmentation import build_segmentation
from model.findings import Limitation, Vertebra
from tests.dicom_node.necks import (
    CASES,
    DEVICE,
    LIMITED,
    NEGATIVE,
    NOTHING_FOUND,
    POSITIVE,
    Case,
    coded,
    content,
    findings_of,
    meaning,
    with_headers,
    written,
)
from tests.dicom_node.test_contours import enclosed
from training.synthesis.phantom_series import Geometry, SeriesForm, SeriesOptions

CONTEXTS = {name: case.context() for name, case in CASES.items()}


def report_of(context):
    slices = key_slices(context.labels, context.lesions)
    return build_report(context, slices, build_segmentation(context) if context.levels else None)


def groups_of(report):
    return content(report, "Imaging Measurements", "Measurement Group")


def texts(report):
    return [str(item.TextValue) for item in content(report, "Qualitative Evaluations", "Comment")]


def group_value(group, name):
    return [item for item in group.ContentSequence if meaning(item) == name]


@settings(max_examples=25, deadline=None)
@given(
    fractured=st.sets(st.sampled_from(LIMITED.levels)),
    limitations=st.sets(st.sampled_from(list(Limitation))),
)
def test_fracture_is_the_finding_of_suspected_levels_and_of_no_other(fractured, limitations):
    context = replace(CONTEXTS["limited"], findings=findings_of(LIMITED.levels, tuple(fractured), tuple(limitations)))
    for finding, group in zip(context.findings.vertebrae, groups_of(report_of(context)), strict=True):
        vertebra = codes.VERTEBRA[finding.vertebra].value
        (coded_finding,) = map(coded, group_value(group, "Finding"))
        sites = [coded(item) for item in group_value(group, "Finding Site")]
        everything = {coded(item) for item in group.ContentSequence if item.ValueType == "CODE"}
        names = {meaning(item) for item in group.ContentSequence}
        if finding.vertebra in fractured:
            assert (coded_finding, sites) == (codes.FRACTURE.value, [vertebra])
        else:
            assert (coded_finding, sites) == (vertebra, [vertebra])
            assert codes.FRACTURE.value not in everything
            assert not names & {"Fracture", "Certainty of Finding"}


@pytest.mark.parametrize("name", CASES)
def test_every_group_has_exactly_one_polyline_on_a_referenced_source_slice(name):
    context = CONTEXTS[name]
    report = report_of(context)
    evidence = {str(uid) for _, _, uid, _ in highdicom.sr.Comprehensive3DSR.from_dataset(report).get_evidence()}
    sources = {str(header.SOPInstanceUID): index for index, header in enumerate(context.series.headers)}
    groups = groups_of(report)
    assert len(groups) == len(context.levels)
    for level, group in zip(context.levels, groups, strict=True):
        (region,) = group_value(group, "Image Region")
        assert (region.ValueType, region.GraphicType) == ("SCOORD", "POLYLINE")
        uid = region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        assert uid in evidence
        points = np.array(region.GraphicData, float).reshape(-1, 2)
        assert np.array_equal(points[0], points[-1])
        plane = context.labels[sources[uid]] == level
        telling = context.labels if context.lesions is None or level not in context.lesions else context.lesions
        areas = np.count_nonzero(telling == level, axis=(1, 2))
        assert areas[sources[uid]] == areas.max()
        assert not np.any(enclosed([points], plane.shape) & ~plane)


@pytest.mark.parametrize("orientation", ["LPF", "PFL", "AHR"])
def test_the_key_slice_is_a_source_slice_in_any_orientation(orientation):
    context = replace(POSITIVE, options=SeriesOptions(geometry=Geometry(orientation=orientation))).context()
    header = context.series.headers[0]
    for group in groups_of(report_of(context)):
        (region,) = group_value(group, "Image Region")
        points = np.array(region.GraphicData, float).reshape(-1, 2)
        assert np.all(points >= 0)
        assert np.all(points <= [header.Columns, header.Rows])


def test_the_regions_of_a_multi_frame_source_name_their_frame():
    options = SeriesOptions(Geometry(orientation="HPL"), form=SeriesForm.ENHANCED)
    context = replace(POSITIVE, options=options).context()
    slices = key_slices(context.labels)
    for level, group in zip(context.levels, groups_of(report_of(context)), strict=True):
        (region,) = group_value(group, "Image Region")
        reference = region.ContentSequence[0].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == context.series.headers[0].SOPInstanceUID
        assert reference.ReferencedFrameNumber == slices[level].index + 1


def test_a_suspected_level_has_its_certainty_and_is_present():
    report = report_of(CONTEXTS["positive"])
    by_level = dict(zip(Vertebra, groups_of(report), strict=True))
    (certainty,) = group_value(by_level[Vertebra.C5], "Certainty of Finding")
    measured = certainty.MeasuredValueSequence[0]
    assert float(measured.NumericValue) == 90.0
    assert measured.MeasurementUnitsCodeSequence[0].CodeValue == "%"
    (present,) = group_value(by_level[Vertebra.C5], "Fracture")
    assert coded(present) == codes.PRESENT.value


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (POSITIVE, codes.PRESENT),
        (NEGATIVE, codes.ABSENT),
        (LIMITED, codes.PRESENT),
        (NOTHING_FOUND, codes.UNDETERMINED),
        (Case(limitations=(Limitation.GANTRY_TILT,)), codes.UNDETERMINED),
        (Case(limitations=(Limitation.HU_SCALE,)), codes.UNDETERMINED),
        (Case(levels=(Vertebra.C1, Vertebra.C2)), codes.UNDETERMINED),
    ],
)
def test_the_cervical_spine_is_called_negative_only_where_all_of_it_was_seen_without_limitation(case, expected):
    (overall,) = content(report_of(case.context()), "Qualitative Evaluations", "Fracture")
    assert coded(overall) == expected.value
    assert coded(overall.ContentSequence[0]) == codes.CERVICAL_SPINE.value


def test_negative_levels_are_summed_up_in_words_with_their_probabilities():
    (summary,) = (text for text in texts(report_of(CONTEXTS["negative"])) if text.startswith("Levels without"))
    for level in Vertebra:
        assert f"{level.name} ({2 * level}%)" in summary


@pytest.mark.parametrize("name", CASES)
def test_every_limitation_and_the_disclaimer_are_text_of_the_report(name):
    context = CONTEXTS[name]
    said = texts(report_of(context))
    for limitation in context.findings.limitations:
        assert f"Limitation: {limitation.value}" in said
    assert any("Not a medical device" in text for text in said)


def test_a_study_without_levels_says_undetermined_and_why_and_still_names_the_series():
    report = report_of(CONTEXTS["nothing found"])
    (conclusion,) = content(report, "Qualitative Evaluations", "Conclusion")
    assert conclusion.TextValue.startswith("Undetermined: no cervical vertebra was found")
    assert not content(report, "Imaging Measurements")
    assert len(content(report, "Image Library", "Image Library Group", "Source")) == 1


@pytest.mark.parametrize("name", CASES)
def test_the_image_library_holds_one_to_three_key_slices(name):
    images = content(report_of(CONTEXTS[name]), "Image Library", "Image Library Group", "Source")
    assert 1 <= len(images) <= LIBRARY_SIZE


def test_evidence_starts_with_the_ct_and_ends_with_the_segmentation():
    report = report_of(CONTEXTS["positive"])
    series = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    classes = [item.ReferencedSOPSequence[0].ReferencedSOPClassUID for item in series]
    assert classes == ["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.66.4"]


def test_device_and_algorithm_in_the_tree_equal_the_contributing_equipment():
    report = report_of(CONTEXTS["positive"])
    (equipment,) = (
        item
        for item in report.ContributingEquipmentSequence
        if item.PurposeOfReferenceCodeSequence[0].CodeValue == codes.PROCESSING_EQUIPMENT.value
    )
    assert equipment.DeviceUID == DEVICE.device_uid == content(report, "Device Observer UID")[0].UID
    assert equipment.Manufacturer == content(report, "Device Observer Manufacturer")[0].TextValue
    assert equipment.ManufacturerModelName == content(report, "Device Observer Model Name")[0].TextValue
    for group in groups_of(report):
        assert group_value(group, "Algorithm Name")[0].TextValue == equipment.ManufacturerModelName
        assert group_value(group, "Algorithm Version")[0].TextValue == equipment.SoftwareVersions
        assert group_value(group, "Algorithm Manufacturer")[0].TextValue == equipment.Manufacturer


def test_it_is_complete_unverified_and_preliminary():
    report = report_of(CONTEXTS["positive"])
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert report.SeriesDescription == "Report - cspine 1.2.3 AI, not verified"


def test_the_procedure_of_the_source_is_reported_where_it_is_coded():
    context = NEGATIVE.context()
    (default,) = content(report_of(context), "Procedure Reported")
    assert coded(default) == codes.COMPUTED_TOMOGRAPHY_OF_SPINE.value
    item = highdicom.sr.CodedConcept("RPID29", "RADLEX", "CT C-Spine")
    headers = [header.copy() for header in context.series.headers]
    headers[0].ProcedureCodeSequence = [item]
    (reported,) = content(report_of(with_headers(context, headers)), "Procedure Reported")
    assert coded(reported) == "RPID29"


@pytest.mark.parametrize("name", CASES)
def test_it_stays_below_100_kilobytes(name):
    assert len(encode(report_of(CONTEXTS[name]))) < 100_000


def test_highdicom_reads_the_groups_as_planar_ones(tmp_path):
    path = written(CONTEXTS["positive"], tmp_path)[ResultKind.REPORT]
    groups = highdicom.sr.srread(path).content.get_planar_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [f"cspine {level.name}" for level in Vertebra]
    assert all(group.roi.GraphicType == "POLYLINE" for group in groups)
