"""Whose a result is: the same, renamed or merged, or another person; and results written under another identity."""

from dataclasses import replace
from io import BytesIO

import highdicom
import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.encode import encode
from dicom_node.identity import Relation, identity_of, relation, under_identity
from dicom_node.profiles import Switch, profile_of
from dicom_node.results import build_results
from dicom_node.study_attributes import StudyAttributes
from tests.dicom_node.necks import POSITIVE
from tests.peers import dciodvfy

OURS = StudyAttributes(
    patient_id="0815",
    issuer_of_patient_id="",
    patient_name="Doe^Jane",
    patient_birth_date="19700101",
    patient_sex="F",
    accession_number="A1",
    study_id="1",
    study_date="20260101",
    study_time="101500",
    referring_physician_name="",
)
RENAMED = replace(OURS, patient_name="Roe^Jane=\u540d\u524d", patient_id="4711", accession_number="B2")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, Relation.SAME),
        ({"patient_name": "Doe^Jane^^^", "study_time": "101500.000000"}, Relation.SAME),
        ({"study_time": "1015"}, Relation.SAME),
        ({"accession_number": "", "patient_birth_date": "", "patient_sex": "", "study_id": ""}, Relation.SAME),
        ({"patient_name": "Roe^Jane"}, Relation.CHANGED),
        ({"patient_name": "doe^jane"}, Relation.CHANGED),
        ({"patient_id": "4711"}, Relation.CHANGED),
        ({"patient_id": "4711", "patient_name": "Roe^Jane"}, Relation.CHANGED),
        ({"issuer_of_patient_id": "CITY"}, Relation.CHANGED),
        ({"accession_number": "A2"}, Relation.CHANGED),
        ({"patient_birth_date": "19700102"}, Relation.CHANGED),
        ({"patient_sex": "M"}, Relation.CHANGED),
        ({"patient_birth_date": "19700102", "patient_sex": "M"}, Relation.CONTRADICTORY),
        ({"patient_id": "4711", "patient_birth_date": "19700102"}, Relation.CONTRADICTORY),
        ({"patient_id": "4711", "patient_sex": "M"}, Relation.CONTRADICTORY),
        ({"patient_id": "4711", "patient_sex": "", "patient_birth_date": ""}, Relation.CHANGED),
    ],
)
def test_a_patient_is_the_same_renamed_or_another(told, expected):
    assert relation(OURS, replace(OURS, **told)) is expected


def test_a_number_of_another_issuer_is_another_number():
    ours = replace(OURS, issuer_of_patient_id="CITY")
    assert relation(ours, replace(ours, patient_sex="M")) is Relation.CHANGED
    assert relation(ours, replace(ours, issuer_of_patient_id="COUNTY", patient_sex="M")) is Relation.CONTRADICTORY


def test_what_we_do_not_know_contradicts_nothing():
    unknown = StudyAttributes(*[""] * 10)
    assert relation(unknown, OURS) is Relation.CHANGED
    assert relation(OURS, unknown) is Relation.SAME


@pytest.fixture(scope="module")
def results():
    """Every object that refers to another one, as it lies in the store."""
    profiles = [profile_of("default", [Switch.KO]), profile_of("air", [Switch.LABELMAP])]
    built = build_results(POSITIVE.context(), profiles)
    return [dcmread(BytesIO(encode(result.dataset))) for result in built]


@pytest.fixture(scope="module")
def rewritten(results):
    copies = [dcmread(BytesIO(encode(result))) for result in results]
    under_identity(copies, RENAMED, 1)
    return copies


def uids_in(dataset):
    return {str(element.value) for element in dataset.iterall() if element.VR == "UI"}


def test_the_same_results_stand_under_the_new_identity(results, rewritten):
    for old, new in zip(results, rewritten, strict=True):
        told = identity_of(new)
        assert relation(told, RENAMED) is Relation.SAME
        assert told == replace(RENAMED, study_time=told.study_time)
        assert (new.StudyInstanceUID, new.SOPClassUID) == (old.StudyInstanceUID, old.SOPClassUID)
        assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID
        if "PixelData" in old:
            assert new.PixelData == old.PixelData


def test_nothing_refers_to_an_object_of_the_old_identity(results, rewritten):
    old = {str(uid) for result in results for uid in (result.SOPInstanceUID, result.SeriesInstanceUID)}
    new = {str(uid) for result in rewritten for uid in (result.SOPInstanceUID, result.SeriesInstanceUID)}
    assert len(old) == len(new) == 2 * len(results)
    for before, after in zip(results, rewritten, strict=True):
        assert uids_in(after).isdisjoint(old)
        assert len(uids_in(after) & new) == len(uids_in(before) & old)
        assert uids_in(after) - new == uids_in(before) - old


def test_what_depends_on_a_changed_attribute_is_left_out(results):
    result = dcmread(BytesIO(encode(results[-1])))
    result.IssuerOfPatientID, result.PatientAge, result.PatientID = "CITY", "056Y", "0815"
    under_identity([result], StudyAttributes("4711", "", "", "19690101", *[""] * 6), 1)
    assert (result.PatientID, result.PatientBirthDate) == ("4711", "19690101")
    assert "IssuerOfPatientID" not in result
    assert "PatientAge" not in result


def test_the_same_identity_gives_the_same_bytes_and_another_number_other_uids(results, rewritten):
    again = [dcmread(BytesIO(encode(result))) for result in results]
    under_identity(again, RENAMED, 1)
    assert [encode(result) for result in again] == [encode(result) for result in rewritten]
    under_identity(again, RENAMED, 2)
    assert {result.SOPInstanceUID for result in again}.isdisjoint({result.SOPInstanceUID for result in rewritten})


def test_highdicom_reads_the_segmentation_of_the_new_identity(results, rewritten):
    before, after = (
        highdicom.seg.Segmentation.from_dataset(next(ds for ds in many if ds.Modality == "SEG"))
        for many in (results, rewritten)
    )
    assert np.array_equal(before.pixel_array, after.pixel_array)
    assert before.get_tracking_ids() == after.get_tracking_ids()


@pytest.mark.peer
def test_dciodvfy_has_nothing_against_them_that_it_has_not_against_the_originals(results, rewritten, tmp_path):
    verdicts = []
    for name, many in (("before", results), ("after", rewritten)):
        for number, dataset in enumerate(many):
            (tmp_path / f"{name}{number}.dcm").write_bytes(encode(dataset))
        verdicts.append([dciodvfy(tmp_path / f"{name}{number}.dcm").errors for number in range(len(many))])
    assert verdicts[0] == verdicts[1]
