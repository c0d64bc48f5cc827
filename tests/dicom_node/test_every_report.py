"""Every report of every profile: fracture is the finding of suspected levels alone, and of nothing else in any form."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from dicom_node import codes
from dicom_node.air_report import build_air_report
from dicom_node.arrows import build_arrows
from dicom_node.contours import key_slices
from dicom_node.encode import encode
from dicom_node.narrative import build_narrative
from dicom_node.report import build_report
from dicom_node.result_context import ResultContext, SupersededResult
from dicom_node.result_kind import ResultKind
from dicom_node.segmentation import build_segmentation
from dicom_node.sentences import SUPERSEDES, answer
from model.findings import Limitation, StudyFindings, VertebraFinding
from tests.dicom_node.necks import LIMITED, NOTHING_FOUND, coded, content, meaning

LIMITED_CONTEXT = LIMITED.context()
SLICES = key_slices(LIMITED_CONTEXT.labels)
SEGMENTATIONS = {
    kind: build_segmentation(LIMITED_CONTEXT, kind) for kind in (ResultKind.SEGMENTATION, ResultKind.LABELMAP)
}
BINARY = SEGMENTATIONS[ResultKind.SEGMENTATION]


def reports_of(context: ResultContext, segmentation: Dataset | None = BINARY) -> dict[ResultKind, Dataset]:
    """All reports of a neck with the levels of LIMITED."""
    arrows = build_arrows(context, SLICES)
    return {
        ResultKind.REPORT: build_report(context, SLICES, segmentation),
        ResultKind.AIR_REPORT: build_air_report(context, SLICES, segmentation),
        ResultKind.NARRATIVE: build_narrative(context),
        **({ResultKind.ARROWS: arrows} if arrows is not None else {}),
    }


def groups_of(report: Dataset) -> list[Dataset]:
    return content(report, "Imaging Measurements", "Measurement Group")


def items_below(item: Dataset) -> list[Dataset]:
    """An item and every content item below it."""
    return [item, *(one for child in item.get("ContentSequence", []) for one in items_below(child))]


def fractures_in(item: Dataset) -> list[Dataset]:
    """The items below that have fracture as their concept name or their value."""
    return [
        one
        for one in items_below(item)
        if meaning(one) == codes.FRACTURE.meaning
        or (one.get("ValueType") == "CODE" and coded(one) == codes.FRACTURE.value)
    ]


@st.composite
def any_findings(draw) -> StudyFindings:
    """Findings of the levels of LIMITED with any probabilities, suspicions and limitations."""
    probability = st.floats(0, 1)
    levels = tuple(
        VertebraFinding(level, draw(probability), draw(st.booleans()), draw(st.floats(0, 1e5)))
        for level in LIMITED.levels
    )
    limitations = draw(st.sets(st.sampled_from(list(Limitation))))
    return StudyFindings(levels, draw(probability), draw(probability), tuple(limitations))


@settings(max_examples=25, deadline=None)
@given(findings=any_findings(), kind=st.sampled_from(list(SEGMENTATIONS)))
def test_fracture_is_said_of_suspected_levels_and_of_no_other_in_any_report(findings, kind):
    context = replace(LIMITED_CONTEXT, findings=findings)
    by_uid = {str(context.tracking_uid(finding.vertebra)): finding for finding in findings.vertebrae}
    reports = reports_of(context, SEGMENTATIONS[kind])
    assert (ResultKind.ARROWS in reports) == bool(findings.fractured)
    arrows = groups_of(reports[ResultKind.ARROWS]) if findings.fractured else []
    assert len(arrows) == len(findings.fractured)
    for report in reports.values():
        in_groups = []
        for group in groups_of(report):
            (tracking,) = content(group, "Tracking Unique Identifier")
            finding = by_uid[tracking.UID]
            said, vertebra = fractures_in(group), codes.VERTEBRA[finding.vertebra].value
            in_groups += said
            if finding.fractured:
                assert [coded(item) for item in content(group, "Finding")] == [codes.FRACTURE.value]
                assert [coded(item) for item in content(group, "Finding Site")] == [vertebra]
            else:
                assert [coded(item) for item in content(group, "Finding")] == [vertebra]
                assert said == []
        overall = [item for item in fractures_in(report) if not any(item is one for one in in_groups)]
        assert [coded(item) for item in overall] in ([], [answer(findings).code.value])


@settings(max_examples=25, deadline=None)
@given(findings=any_findings())
def test_no_sentence_of_any_report_calls_a_level_suspected_that_is_not(findings):
    context = replace(LIMITED_CONTEXT, findings=findings)
    calm = [finding.vertebra.name for finding in findings.vertebrae if not finding.fractured]
    for report in reports_of(context).values():
        for text in (str(item.TextValue) for item in items_below(report) if item.get("ValueType") == "TEXT"):
            suspected = text.split("uspected fracture")[1] if text.startswith("Suspected fracture") else ""
            assert not any(name in suspected for name in calm)
            assert not any(text.startswith(f"{name}: suspected") for name in calm)


def test_every_measurement_report_has_the_tracking_uids_of_the_segments():
    for report in (ResultKind.REPORT, ResultKind.AIR_REPORT):
        for segmentation in SEGMENTATIONS.values():
            groups = groups_of(reports_of(LIMITED_CONTEXT, segmentation)[report])
            uids = [item.UID for group in groups for item in content(group, "Tracking Unique Identifier")]
            segments = [segment for segment in segmentation.SegmentSequence if segment.SegmentNumber > 0]
            assert uids == [segment.TrackingUID for segment in segments]


def test_the_air_report_names_the_segment_of_each_level_and_its_source_series():
    for segmentation in SEGMENTATIONS.values():
        report = build_air_report(LIMITED_CONTEXT, SLICES, segmentation)
        for number, group in enumerate(groups_of(report), start=1):
            assert group.ContentTemplateSequence[0].TemplateIdentifier == "1411"
            (segment,) = content(group, "Referenced Segment")
            reference = segment.ReferencedSOPSequence[0]
            assert reference.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
            assert reference.ReferencedSOPClassUID == segmentation.SOPClassUID
            assert reference.ReferencedSegmentNumber == number
            (series,) = content(group, "Source Series for Segmentation")
            assert LIMITED_CONTEXT.series.series_instance_uid == series.UID


def test_the_air_report_has_the_key_images_of_its_levels():
    images = content(
        build_air_report(LIMITED_CONTEXT, SLICES, BINARY), "Image Library", "Image Library Group", "Source"
    )
    assert len(images) == len(LIMITED.levels)


def test_a_report_of_segments_without_the_segmentation_is_refused():
    with pytest.raises(ValueError, match="needs the segmentation"):
        build_air_report(LIMITED_CONTEXT, SLICES, None)


def test_without_levels_every_report_says_undetermined_and_there_are_no_arrows():
    context = NOTHING_FOUND.context()
    assert build_arrows(context, {}) is None
    for report in (build_report(context, {}), build_air_report(context, {}, None)):
        (overall,) = content(report, "Qualitative Evaluations", "Fracture")
        assert coded(overall) == codes.UNDETERMINED.value
        assert not content(report, "Imaging Measurements")


def test_reports_of_a_labelmap_are_other_objects_of_other_series():
    pairs = [reports_of(LIMITED_CONTEXT, segmentation) for segmentation in SEGMENTATIONS.values()]
    for kind in (ResultKind.REPORT, ResultKind.AIR_REPORT):
        first, second = (reports[kind] for reports in pairs)
        assert first.SOPInstanceUID != second.SOPInstanceUID
        assert first.SeriesInstanceUID != second.SeriesInstanceUID
    for kind in (ResultKind.NARRATIVE, ResultKind.ARROWS):
        first, second = (reports[kind] for reports in pairs)
        assert encode(first) == encode(second)


def test_a_new_version_lists_what_it_replaces_and_says_so_under_the_same_uids():
    earlier = (
        SupersededResult("1.2.840.10008.5.1.4.1.1.88.34", "1.2.3.4", "1.2.3"),
        SupersededResult("1.2.840.10008.5.1.4.1.1.88.22", "1.2.3.6", "1.2.3.5"),
    )
    plain = reports_of(LIMITED_CONTEXT)
    for kind, report in reports_of(replace(LIMITED_CONTEXT, supersedes=earlier)).items():
        assert report.SOPInstanceUID == plain[kind].SOPInstanceUID
        (study,) = report.PredecessorDocumentsSequence
        assert study.StudyInstanceUID == LIMITED_CONTEXT.study_instance_uid
        listed = {
            (series.SeriesInstanceUID, item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
            for series in study.ReferencedSeriesSequence
            for item in series.ReferencedSOPSequence
        }
        assert listed == {(one.series_instance_uid, one.sop_class_uid, one.sop_instance_uid) for one in earlier}
        assert SUPERSEDES in [item.get("TextValue") for item in items_below(report)]
        assert "PredecessorDocumentsSequence" not in plain[kind]
        assert SUPERSEDES not in [item.get("TextValue") for item in items_below(plain[kind])]


def test_every_instance_that_a_report_refers_to_is_in_its_evidence():
    """Highdicom would look at this, but it does not see the content, which is put in last."""
    for report in reports_of(LIMITED_CONTEXT).values():
        evidence = {
            item.ReferencedSOPInstanceUID
            for study in report.CurrentRequestedProcedureEvidenceSequence
            for series in study.ReferencedSeriesSequence
            for item in series.ReferencedSOPSequence
        }
        referred = {
            reference.ReferencedSOPInstanceUID
            for item in items_below(report)
            for reference in item.get("ReferencedSOPSequence", [])
        }
        assert referred <= evidence


def test_every_report_is_complete_unverified_and_preliminary():
    for report in reports_of(LIMITED_CONTEXT).values():
        flags = (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag)
        assert flags == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
