"""A rejection note names every withdrawn object, belongs to its patient, and is the same however often it is made."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO

import highdicom
import pytest
from pydicom import dcmread

from dicom_node import codes
from dicom_node.encode import encode
from dicom_node.node import Device
from dicom_node.retraction import RejectionReason, build_retraction
from tests.dicom_node.necks import DEVICE, POSITIVE, built, copied_headers, with_headers
from tests.peers import dciodvfy

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
CONTEXT = POSITIVE.context()


def stored(context=CONTEXT):
    """The headers of the results as they are read from the store."""
    files = [BytesIO(encode(dataset)) for dataset in built(context).values()]
    return [dcmread(file, stop_before_pixels=True) for file in files]


RESULTS = stored()


def referenced(note):
    return {
        (str(series.SeriesInstanceUID), str(item.ReferencedSOPInstanceUID))
        for study in note.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


@pytest.mark.parametrize("reason", RejectionReason)
def test_it_rejects_every_result_under_the_title_of_its_reason(reason):
    note = build_retraction(RESULTS, DEVICE, NOW, reason)
    read = highdicom.ko.KeyObjectSelectionDocument.from_dataset(dcmread(BytesIO(encode(note))))
    assert referenced(read) == {(str(ds.SeriesInstanceUID), str(ds.SOPInstanceUID)) for ds in RESULTS}
    assert len(read.content.get_references()) == len(RESULTS)
    assert read.ConceptNameCodeSequence[0].CodeValue == reason.document_title.value


def test_the_titles_are_those_of_image_object_change_management():
    assert RejectionReason.QUALITY.document_title is codes.REJECTED_FOR_QUALITY_REASONS
    assert RejectionReason.PATIENT_SAFETY.document_title is codes.REJECTED_FOR_PATIENT_SAFETY_REASONS


def test_images_are_image_items_and_documents_are_composite_items():
    note = build_retraction(RESULTS, DEVICE, NOW)
    kinds = {
        str(item.ReferencedSOPSequence[0].ReferencedSOPClassUID): item.ValueType
        for item in note.ContentSequence
        if item.ValueType in {"IMAGE", "COMPOSITE"}
    }
    assert kinds == {
        "1.2.840.10008.5.1.4.1.1.66.4": "IMAGE",
        "1.2.840.10008.5.1.4.1.1.7": "IMAGE",
        "1.2.840.10008.5.1.4.1.1.88.34": "COMPOSITE",
        "1.2.840.10008.5.1.4.1.1.88.22": "COMPOSITE",
    }


def test_it_belongs_to_the_patient_and_study_of_the_results():
    note = build_retraction(RESULTS, DEVICE, NOW)
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber", "StudyDate"):
        assert note[keyword].value == RESULTS[0][keyword].value
    assert note.SeriesNumber == 9711
    assert note.SeriesDescription == "Retraction - cspine 1.2.3 AI, not verified"
    assert (note.ContentDate, note.ContentTime) == ("20260203", "040506.000000")


def test_its_time_is_in_the_zone_of_the_results():
    headers = copied_headers(CONTEXT)
    headers[0].TimezoneOffsetFromUTC = "+0530"
    note = build_retraction(stored(with_headers(CONTEXT, headers)), DEVICE, NOW)
    assert (note.ContentTime, note.TimezoneOffsetFromUTC) == ("093506.000000", "+0530")


def test_it_is_the_same_object_in_any_order_and_at_any_time_but_not_for_other_results_or_reasons():
    first = build_retraction(RESULTS, DEVICE, NOW)
    assert encode(build_retraction(RESULTS, DEVICE, NOW)) == encode(first)
    later = build_retraction(RESULTS[::-1], Device.create("9", "SITE-1"), NOW + timedelta(days=1))
    assert (later.SOPInstanceUID, later.SeriesInstanceUID) == (first.SOPInstanceUID, first.SeriesInstanceUID)
    fewer = build_retraction(RESULTS[1:], DEVICE, NOW)
    graver = build_retraction(RESULTS, DEVICE, NOW, RejectionReason.PATIENT_SAFETY)
    assert len({first.SOPInstanceUID, fewer.SOPInstanceUID, graver.SOPInstanceUID}) == 3


def test_results_of_no_or_of_two_studies_are_refused():
    other = replace(POSITIVE, options=replace(POSITIVE.options, identity=replace(POSITIVE.options.identity, seed=5)))
    with pytest.raises(ValueError, match="not of 2"):
        build_retraction([*RESULTS, *stored(other.context())], DEVICE, NOW)
    with pytest.raises(ValueError, match="not of 0"):
        build_retraction([], DEVICE, NOW)
    with pytest.raises(ValueError, match="time zone"):
        build_retraction(RESULTS, DEVICE, NOW.replace(tzinfo=None))


@pytest.mark.peer
@pytest.mark.parametrize("reason", RejectionReason)
def test_dciodvfy_has_nothing_against_it(reason, tmp_path):
    path = tmp_path / "note.dcm"
    path.write_bytes(encode(build_retraction(RESULTS, DEVICE, NOW, reason)))
    assert dciodvfy(path).errors == ()
