"""QIDO-RS against scripted services: what is asked, and what answers of strangers come to."""

import urllib.parse

import pytest

from dicom_node.dicomweb_target import StowTarget
from dicom_node.errors import PeerError
from dicom_node.qido import instances_there, study_attributes
from dicom_node.study_attributes import STUDY_KEYWORDS, AmbiguousStudy, StudyAttributes
from tests.dicom_node.web_service import Reply, web_service

STUDY = "1.2.826.0.1.3680043.8.498.1"
KNOWN = {
    "0020000D": {"vr": "UI", "Value": [STUDY]},
    "00100020": {"vr": "LO", "Value": ["0815"]},
    "00100021": {"vr": "LO", "Value": ["CLINIC"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]},
    "00100030": {"vr": "DA", "Value": ["19500102"]},
    "00100040": {"vr": "CS", "Value": ["M"]},
    "00080050": {"vr": "SH", "Value": ["A1"]},
    "00200010": {"vr": "SH", "Value": ["S1"]},
    "00080020": {"vr": "DA", "Value": ["20260102"]},
    "00080030": {"vr": "TM", "Value": ["101112"]},
    "00080090": {"vr": "PN", "Value": [{"Alphabetic": "Who^Doctor"}]},
}


def ask(reply):
    with web_service(lambda *_: reply) as service:
        return study_attributes(STUDY, StowTarget(service.url)), service.requests


def text(value, vr="LO"):
    return {"vr": vr, "Value": [value]}


def test_the_attributes_of_a_study_are_asked_for_and_returned():
    found, (request,) = ask(Reply(200, [KNOWN]))
    assert found == StudyAttributes(
        patient_id="0815",
        issuer_of_patient_id="CLINIC",
        patient_name="Yamada^Tarou=山田^太郎",
        patient_birth_date="19500102",
        patient_sex="M",
        accession_number="A1",
        study_id="S1",
        study_date="20260102",
        study_time="101112",
        referring_physician_name="Who^Doctor",
    )
    path, _, query = request.path.partition("?")
    asked = urllib.parse.parse_qs(query)
    assert (request.method, path, asked["StudyInstanceUID"]) == ("GET", "/dicom-web/studies", [STUDY])
    assert set(asked["includefield"]) == set(STUDY_KEYWORDS)


@pytest.mark.parametrize(
    "reply", [Reply(200, []), Reply(204), Reply(200, [{**KNOWN, "0020000D": text("1.2.3", "UI")}])]
)
def test_a_study_that_the_service_does_not_know_is_none(reply):
    assert ask(reply)[0] is None


def test_different_answers_for_one_study_are_a_conflict():
    assert ask(Reply(200, [KNOWN, KNOWN]))[0].patient_id == "0815"
    with pytest.raises(AmbiguousStudy):
        ask(Reply(200, [KNOWN, {**KNOWN, "00100020": text("4711")}]))


def test_what_is_told_is_sanitized_and_what_is_no_value_is_empty():
    answer = {
        **KNOWN,
        "00100020": text("08\x0015"),
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "<Doe>\n^Jane", "Ideographic": ["x"], "Phonetic": None}]},
        "00100030": text("yesterday"),
        "00100040": text(["M"]),
        "00080050": {"vr": "SH", "Value": "A1"},
        "00200010": [],
        "00080020": {"vr": "DA"},
        "00080030": {"vr": "TM", "InlineBinary": "AAAA"},
        "00080090": text({"Alphabetic": {"a": 1}}, "PN"),
        "00100021": text("x" * 10_000),
    }
    found, _ = ask(Reply(200, [answer]))
    assert found == StudyAttributes("", "", "Doe^Jane", "", "", "", "", "", "", "")


@pytest.mark.parametrize(
    ("reply", "code", "permanent"),
    [
        (Reply(401), "PEER_REFUSED", True),
        (Reply(404), "PEER_REFUSED", True),
        (Reply(302, headers={"Location": "http://127.0.0.1:1/"}), "PEER_REFUSED", True),
        (Reply(429), "PEER_REFUSED", False),
        (Reply(503), "PEER_REFUSED", False),
        (Reply(200, b"CANARY^PATIENT"), "PEER_ANSWER", True),
        (Reply(200, {"00100010": "CANARY^PATIENT"}), "PEER_ANSWER", True),
        (Reply(200, b"[" * 100_000), "PEER_ANSWER", True),
        (Reply(200, b"[" + b" " * (2 << 20) + b"]"), "PEER_ANSWER", True),
    ],
)
def test_an_answer_that_is_none_is_permanent_or_transient(reply, code, permanent, caplog):
    with pytest.raises(PeerError) as caught:
        ask(reply)
    assert (caught.value.code, caught.value.permanent) == (code, permanent)
    assert "CANARY" not in caplog.text + str(caught.value)


@pytest.mark.parametrize("body", [[None], [[]], ["x"], [1], [{"0020000D": None}]])
def test_items_that_are_no_data_sets_are_passed_over(body):
    assert ask(Reply(200, body))[0] is None


def test_instances_are_asked_for_one_by_one():
    there = {"1.3.1", "1.3.3"}

    def script(request, _):
        path, _, query = request.path.partition("?")
        assert path == f"/dicom-web/studies/{STUDY}/instances"
        (uid,) = urllib.parse.parse_qs(query)["SOPInstanceUID"]
        found = [{"00080018": text(uid, "UI")}] if uid in there else []
        return Reply(200, [*found, {"00080018": text("1.9.9", "UI")}, None])

    with web_service(script) as service:
        target = StowTarget(service.url)
        assert instances_there(STUDY, ["1.3.1", "1.3.2", "1.3.3"], target) == there
        assert len(service.requests) == 3


@pytest.mark.parametrize("status", [204, 404])
def test_nothing_is_there_where_the_study_is_unknown(status):
    with web_service(lambda *_: Reply(status)) as service:
        assert instances_there(STUDY, ["1.3.1"], StowTarget(service.url)) == frozenset()
