"""C-FIND against scripted SCPs: what is asked, and what answers of strangers come to."""

import time
from contextlib import contextmanager
from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind
from pynetdicom.sop_class import Verification

from dicom_node import queries
from dicom_node.association import NoContextAccepted, ScuTimeouts
from dicom_node.errors import PeerError
from dicom_node.queries import STUDY_ROOT_FIND, instances_there, study_attributes
from dicom_node.responses import MAX_ANSWER_BYTES
from dicom_node.study_attributes import STUDY_KEYWORDS, AmbiguousStudy, StudyAttributes
from tests.dicom_node.scripted_scp import scp_of

STUDY = "1.2.826.0.1.3680043.8.498.1"
SHORT = ScuTimeouts(connection=2.0, acse=2.0, dimse=2.0)
KNOWN = {
    "StudyInstanceUID": STUDY,
    "PatientID": "0815",
    "IssuerOfPatientID": "CLINIC",
    "PatientName": "Doe^Jane",
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "AccessionNumber": "A1",
    "StudyID": "S1",
    "StudyDate": "20260102",
    "StudyTime": "101112",
    "ReferringPhysicianName": "Who^Doctor",
}


def data_set(values):
    identifier = Dataset()
    for keyword, value in values.items():
        setattr(identifier, keyword, value)
    return identifier


@contextmanager
def find_scp(on_find, syntax=ExplicitVRLittleEndian):
    """Run an SCP that answers queries as ``on_find(identifier, event)`` yields (status, values)."""
    asked = []

    def handler(event):
        asked.append(event.identifier)
        for status, values in on_find(event.identifier, event):
            yield status, data_set(values) if values is not None else None

    entity = AE(ae_title="PACS")
    entity.add_supported_context(StudyRootFind, syntax)
    with scp_of(entity, (evt.EVT_C_FIND, handler)) as peer:
        yield peer, asked


def answering(*answers):
    """Answer with these values, or with a raw status where it is a number."""
    return lambda *_: ((answer, None) if isinstance(answer, int) else (0xFF00, answer) for answer in answers)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=str)
def test_the_attributes_of_a_study_are_asked_for_and_returned(syntax):
    with find_scp(answering(KNOWN), syntax) as (peer, asked):
        found = study_attributes(STUDY, peer, "CSPINE", SHORT)
    assert found == StudyAttributes(*(KNOWN[keyword] for keyword in STUDY_KEYWORDS))
    (identifier,) = asked
    assert (identifier.QueryRetrieveLevel, identifier.StudyInstanceUID) == ("STUDY", STUDY)
    assert {element.keyword for element in identifier if not element.value} == set(STUDY_KEYWORDS)


def test_a_study_that_the_peer_does_not_know_is_none():
    with find_scp(answering()) as (peer, _):
        assert study_attributes(STUDY, peer, "CSPINE", SHORT) is None


def test_answers_of_other_studies_are_passed_over_and_equal_ones_are_one():
    other = {**KNOWN, "StudyInstanceUID": "1.2.3", "PatientID": "4711"}
    with find_scp(answering(other, KNOWN, {"PatientID": "1"}, KNOWN)) as (peer, _):
        assert study_attributes(STUDY, peer, "CSPINE", SHORT).patient_id == "0815"


def test_different_answers_for_one_study_are_a_conflict():
    with (
        find_scp(answering(KNOWN, {**KNOWN, "PatientID": "4711"})) as (peer, _),
        pytest.raises(AmbiguousStudy) as caught,
    ):
        study_attributes(STUDY, peer, "CSPINE", SHORT)
    assert (caught.value.code, caught.value.permanent) == ("STUDY_AMBIGUOUS", True)


def test_what_is_not_told_is_empty_and_what_is_told_is_sanitized():
    answer = {
        "SpecificCharacterSet": "ISO_IR 100",
        "StudyInstanceUID": STUDY,
        "PatientName": "Müller^<script>\x07\n^^^^too^many",
        "PatientID": "a" * 64,
        "PatientBirthDate": "",
        "AccessionNumber": "A\\B",
    }
    with find_scp(answering(answer)) as (peer, _):
        found = study_attributes(STUDY, peer, "CSPINE", SHORT)
    assert found.patient_name == "Müller^script"
    assert (found.patient_id, found.accession_number, found.study_date) == ("a" * 64, "", "")


@pytest.mark.parametrize(
    ("status", "permanent"), [(0xA700, False), (0xA900, True), (0xC001, False), (0xFE00, False), (0x0122, True)]
)
def test_a_failed_query_is_permanent_or_transient(status, permanent):
    with find_scp(answering(KNOWN, status)) as (peer, _), pytest.raises(PeerError) as caught:
        study_attributes(STUDY, peer, "CSPINE", SHORT)
    assert (caught.value.code, caught.value.permanent) == ("PEER_REFUSED", permanent)
    assert f"0x{status:04X}" in str(caught.value)


def test_a_peer_without_queries_says_so():
    entity = AE(ae_title="PACS")
    entity.add_supported_context(Verification)
    with scp_of(entity) as peer, pytest.raises(NoContextAccepted):
        study_attributes(STUDY, peer, "CSPINE", SHORT)


def sends_raw(*identifiers):
    """Answer with these bytes, whatever they are, and then with success."""

    def on_find(_, event):
        for identifier in identifiers:
            response = C_FIND()
            response.MessageIDBeingRespondedTo = event.request.MessageID
            response.AffectedSOPClassUID = STUDY_ROOT_FIND
            response.Status = 0xFF00
            response.Identifier = BytesIO(identifier)
            event.assoc.dimse.send_msg(response, event.context.context_id)
        return iter(())

    return on_find


def hangs(*_):
    time.sleep(4)
    return iter(())


@pytest.mark.parametrize(
    ("on_find", "code", "permanent"),
    [
        (sends_raw(b"CANARY^PATIENT, no data set"), "PEER_ANSWER", True),
        (sends_raw(bytes(MAX_ANSWER_BYTES + 1)), "PEER_SILENT", False),
        (answering(*[KNOWN] * 7), "PEER_ANSWER", True),
        (hangs, "PEER_SILENT", False),
    ],
    ids=["garbage", "too long", "too many", "too late"],
)
def test_answers_that_are_none_end_the_query_in_time(on_find, code, permanent, monkeypatch, caplog):
    monkeypatch.setattr(queries, "MAX_ANSWERS", 6)
    started = time.monotonic()
    with find_scp(on_find) as (peer, _), pytest.raises(PeerError) as caught:
        study_attributes(STUDY, peer, "CSPINE", SHORT)
    assert (caught.value.code, caught.value.permanent) == (code, permanent)
    assert time.monotonic() - started < 15
    assert "CANARY" not in caplog.text + str(caught.value)


class Archive:
    """Answers SERIES and IMAGE queries of the hierarchical model from a table of series; counts what it is asked."""

    def __init__(self, series, *, matches_lists=True):
        self.series = series
        self.matches_lists = matches_lists
        self.visited = []

    def __call__(self, identifier, _):
        assert identifier.StudyInstanceUID == STUDY
        if identifier.QueryRetrieveLevel == "SERIES":
            for uid, (modality, _) in self.series.items():
                yield 0xFF00, {"SeriesInstanceUID": uid, "Modality": modality}
            return
        assert identifier["SeriesInstanceUID"].VM == 1, "a hierarchical query names one series"
        self.visited.append(identifier.SeriesInstanceUID)
        value = identifier.SOPInstanceUID
        wanted = [value] if isinstance(value, str) else list(value)
        for uid in self.series[identifier.SeriesInstanceUID][1]:
            if uid in wanted or not self.matches_lists:
                yield 0xFF00, {"SOPInstanceUID": uid}


@pytest.mark.parametrize("matches_lists", [True, False])
def test_instances_are_looked_for_in_every_series_and_in_the_source_last(matches_lists):
    series = {
        "1.2.1": ("CT", [f"1.9.{number}" for number in range(20)]),
        "1.2.2": ("SR", ["1.3.1", "1.3.2"]),
        "1.2.3": ("SEG", ["1.3.3"]),
    }
    archive = Archive(series, matches_lists=matches_lists)
    with find_scp(archive) as (peer, _):
        assert instances_there(STUDY, {"1.3.1", "1.3.3"}, peer, "CSPINE", SHORT) == {"1.3.1", "1.3.3"}
        assert archive.visited == ["1.2.2", "1.2.3"]
        assert instances_there(STUDY, ["1.3.2", "1.3.9", "1.9.7"], peer, "CSPINE", SHORT) == {"1.3.2", "1.9.7"}
        assert archive.visited[2:] == ["1.2.2", "1.2.3", "1.2.1"]


def test_many_instances_are_asked_for_in_several_queries():
    uids = [f"1.3.{number}" for number in range(250)]
    archive = Archive({"1.2.2": ("SR", uids[:-1])})
    with find_scp(archive) as (peer, _):
        assert instances_there(STUDY, uids, peer, "CSPINE", SHORT) == set(uids[:-1])
    assert len(archive.visited) == 3


def test_nothing_is_there_where_the_study_is_unknown():
    with find_scp(answering()) as (peer, _):
        assert instances_there(STUDY, ["1.3.1"], peer, "CSPINE", SHORT) == frozenset()
