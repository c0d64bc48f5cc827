"""The tables of CONFORMANCE.md say what the code does."""

import re
import ssl
from dataclasses import fields
from pathlib import Path

import pytest
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.sop_class import Verification

import dicom_node.scp
from dicom_node.commitment_report import MAX_REPORT_BYTES, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, ReportStatus
from dicom_node.elements import MAX_DEPTH, MAX_ELEMENTS
from dicom_node.hardening import WireLimits
from dicom_node.http_session import MAX_ANSWER_BYTES as MAX_HTTP_ANSWER_BYTES
from dicom_node.http_statuses import is_success, is_transient
from dicom_node.node import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.policy import Rejection, ScpConfig
from dicom_node.queries import MAX_ANSWERS, QUERY_SECONDS, STUDY_ROOT_FIND
from dicom_node.responses import MAX_ANSWER_BYTES
from dicom_node.scp import StoreStatus
from dicom_node.sop_classes import LABEL_MAP_SEGMENTATION_STORAGE
from dicom_node.statuses import verdict
from dicom_node.study_attributes import STUDY_KEYWORDS
from dicom_node.tls import TlsFiles, client_context
from dicom_node.transfer_syntaxes import (
    DEFLATED_SYNTAX,
    DOCUMENT_CLASSES,
    LOSSY_SYNTAXES,
    NATIVE_SYNTAXES,
    RETURNED_CLASSES,
    REVIEW_CLASSES,
    SEGMENTATION_CLASSES,
    STORAGE_CLASSES,
    STORAGE_SYNTAXES,
    max_bytes_of,
    syntaxes_of,
)
from tests.dicom_node.listening import listening

STATEMENT = (Path(dicom_node.scp.__file__).parent / "CONFORMANCE.md").read_text(encoding="utf-8")


def table(heading: str, number: int = 0) -> list[list[str]]:
    """Return the rows of a table below a heading, without its head."""
    section = STATEMENT.split(f"{heading}\n", 1)[1]
    section = re.split(r"\n#+ ", section)[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables[number].splitlines()]
    return rows[2:]


def test_the_requested_sop_classes_are_those_of_results_and_services():
    requested = {uid for _, uid, scu, _ in table("## 1 Overview") if scu == "Yes"}
    built = {uid for _, _, uid, _ in table("#### Objects of Results")}  # compared with what is built in test_validation
    assert requested == built | {Verification, STORAGE_COMMITMENT, STUDY_ROOT_FIND}


def test_the_received_sop_classes_are_the_negotiated_ones():
    received = {uid for _, uid, _, scp in table("## 1 Overview") if scp == "Yes"}
    assert received == {*STORAGE_CLASSES, *REVIEW_CLASSES, *RETURNED_CLASSES, Verification}
    names = {LABEL_MAP_SEGMENTATION_STORAGE: "Label Map Segmentation Storage"}  # not in pydicom's dictionary yet
    assert all(names.get(uid, UID(uid).name) == name for name, uid, _, _ in table("## 1 Overview"))


def test_the_transfer_syntaxes_are_the_negotiated_ones():
    rows = table("#### Transfer Syntaxes of the Storage Service")
    assert [uid for _, uid, _, _ in rows] == list(STORAGE_SYNTAXES)
    assert all(UID(uid).name == name for name, uid, _, _ in rows)
    assert {uid for _, uid, form, _ in rows if form == "Native"} == set(NATIVE_SYNTAXES)
    assert {uid for _, uid, _, lossy in rows if lossy == "Yes"} == set(LOSSY_SYNTAXES)


def test_the_statuses_are_those_of_the_code():
    rows = table("#### Status Codes of the Storage Service")
    assert {name: int(status, 16) for status, name, *_ in rows} == {status.name: status for status in StoreStatus}


def test_the_statuses_of_reports_are_those_of_the_code():
    rows = table("#### Status Codes of Reports of Storage Commitment")
    assert {name: int(status, 16) for status, name, _ in rows} == {status.name: status for status in ReportStatus}
    assert f"Reports are {MAX_REPORT_BYTES} bytes long at most" in STATEMENT
    assert STORAGE_COMMITMENT_INSTANCE in STATEMENT


def test_storage_commitment_is_stated_as_scu_alone():
    roles = {uid: (scu, scp) for _, uid, scu, scp in table("## 1 Overview")}
    assert roles[STORAGE_COMMITMENT] == ("Yes", "No")


def test_queries_are_stated_with_what_they_ask_for_and_their_bounds():
    roles = {uid: (scu, scp) for _, uid, scu, scp in table("## 1 Overview")}
    assert roles[STUDY_ROOT_FIND] == ("Yes", "No")
    (asked,) = [keys for level, _, keys in table("### 5.5 Query Service as SCU") if level == "STUDY"]
    assert asked == ", ".join(STUDY_KEYWORDS)
    assert f"{MAX_ANSWERS} answers of\n{MAX_ANSWER_BYTES} bytes each, within {QUERY_SECONDS:g} s" in STATEMENT


def test_the_rejections_are_those_of_the_code():
    rows = table("### 6.2 Association Rejection")
    codes = {name: int(result) << 16 | int(source) << 8 | int(reason) for name, result, source, reason, _ in rows}
    assert codes == {rejection.name: rejection for rejection in Rejection}


def test_the_limits_are_those_of_the_code():
    values = dict(table("### 6.1 Association Policies"))
    limits = WireLimits()
    defaults = {field.name: field.default for field in fields(ScpConfig)}
    assert values["Maximum PDU length received"] == f"{limits.max_pdu_bytes} bytes"
    assert values["Maximum length of an association request"] == f"{limits.max_request_pdu_bytes} bytes"
    assert values["Open connections, in all"] == str(limits.max_sockets)
    assert values["Open connections, of one address"] == str(limits.max_sockets_per_address)
    for what, classes in (
        ("a CT instance", STORAGE_CLASSES),
        ("a segmentation, Secondary Capture, PDF or Presentation State", SEGMENTATION_CLASSES + RETURNED_CLASSES),
        ("a document", DOCUMENT_CLASSES),
    ):
        stated = values[f"Largest data set of {what}"]
        assert {f"{max_bytes_of(sop_class)} bytes" for sop_class in classes} == {stated}
    assert values["Time for one PDU"] == f"{limits.pdu_seconds:g} s"
    assert values["Life of an association"] == f"{limits.association_seconds:g} s"
    assert values["Associations at a time, as SCP"] == str(defaults["max_associations"])
    assert values["Time for the association request"] == f"{defaults['acse_seconds']:g} s"
    assert values["Time without any PDU"] == f"{defaults['idle_seconds']:g} s"
    assert values["Implementation Class UID"] == IMPLEMENTATION_CLASS_UID
    assert values["Implementation Version Name"] == IMPLEMENTATION_VERSION_NAME
    assert f"nested {MAX_DEPTH} deep" in STATEMENT
    assert f"{MAX_ELEMENTS:,} elements" in STATEMENT


def test_the_statuses_of_peers_are_taken_as_stated():
    stated = {}
    for statuses, taken in table("### 5.2 Storage Service as SCU"):
        for low, high in re.findall(r"0x([0-9A-F]{4})(?:–0x([0-9A-F]{4}))?", statuses):
            for status in range(int(low, 16), int(high or low, 16) + 1):
                stated[status] = taken.split(":")[0]
    for status in range(0x10000):
        accepted, permanent = verdict(status)
        taken = "Accepted" if accepted else "Permanent" if permanent else "Transient"
        assert stated.get(status, "Permanent") == taken, f"0x{status:04X}"


def test_the_statuses_of_services_are_taken_as_stated():
    stated = {}
    for statuses, taken in table("#### HTTP Statuses of a Service"):
        for low, high in re.findall(r"([0-9]{3})(?:–([0-9]{3}))?", statuses):
            stated.update(dict.fromkeys(range(int(low), int(high or low) + 1), taken.split(":")[0]))
    for status in range(100, 600):
        taken = "Accepted" if is_success(status) else "Transient" if is_transient(status) else "Permanent"
        assert stated.get(status, "Permanent") == taken, status
    assert f"is {MAX_HTTP_ANSWER_BYTES} bytes long at most" in STATEMENT


def test_tls_is_stated_as_it_is_set_up():
    context = client_context(TlsFiles())
    stated = dict(table("## 7 Security"))
    versions = [version for version in ssl.TLSVersion if version >= context.minimum_version and version > 0]
    names = [version.name.replace("TLSv1_", "TLS 1.") for version in versions if version <= ssl.TLSVersion.TLSv1_3]
    assert stated["Versions"] == ", ".join(names)
    for name in (cipher["name"] for cipher in context.get_ciphers()):
        assert re.fullmatch(r"(TLS_|(EC)?DHE-).*(GCM|CHACHA20).*", name)


def test_segmentations_are_stated_as_sent_deflated():
    assert f"({DEFLATED_SYNTAX})" in STATEMENT
    roles = {uid: scu for _, uid, scu, _ in table("## 1 Overview")}
    assert {roles[uid] for uid in SEGMENTATION_CLASSES} == {"Yes"}


def test_of_the_proposed_syntaxes_the_first_of_the_table_is_accepted(tmp_path):
    with listening(tmp_path) as node:
        entity = AE()
        entity.add_requested_context(STORAGE_CLASSES[0], list(reversed(STORAGE_SYNTAXES[1:])))
        association = entity.associate("127.0.0.1", node.port, ae_title="CSPINE")
        assert association.accepted_contexts[0].transfer_syntax == [STORAGE_SYNTAXES[1]]
        association.release()


@pytest.mark.parametrize("sop_class", [Verification, *STORAGE_CLASSES, *REVIEW_CLASSES, *RETURNED_CLASSES], ids=str)
def test_what_is_stated_is_what_is_negotiated_over_the_wire(tmp_path, sop_class):
    proposed = [*STORAGE_SYNTAXES, "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"]
    with listening(tmp_path) as node:
        entity = AE()
        for syntax in proposed:
            entity.requested_contexts = []
            entity.add_requested_context(sop_class, syntax)
            association = entity.associate("127.0.0.1", node.port, ae_title="CSPINE")
            allowed = NATIVE_SYNTAXES if sop_class == Verification else syntaxes_of(sop_class)
            assert bool(association.accepted_contexts) == (syntax in allowed)
            answer = association.acceptor.primitive
            assert answer.implementation_class_uid == IMPLEMENTATION_CLASS_UID
            assert answer.maximum_length_received == WireLimits().max_pdu_bytes
            if association.is_established:
                association.release()
