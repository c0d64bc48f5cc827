"""The network services against Orthanc: one server for all of them."""

import pytest
from pydicom.uid import CTImageStorage, generate_uid

from dicom_node import qido, queries
from dicom_node.commitment import CommitmentOptions, InstanceRef, request_commitment
from dicom_node.node import Peer
from dicom_node.stow import StowTarget, store
from dicom_node.study_attributes import StudyAttributes
from tests.dicom_node.listening import Reports, listening
from tests.dicom_node.tiny_ct import STUDY_UID, make_ct, write_ct
from tests.peers import orthanc, wait_until

pytestmark = pytest.mark.peer

ATTRIBUTES = StudyAttributes(
    patient_id="CANARY-0815",
    issuer_of_patient_id="CLINIC",
    patient_name="Müller^Ursel",
    patient_birth_date="19500102",
    patient_sex="F",
    accession_number="A1",
    study_id="S1",
    study_date="20260102",
    study_time="101112",
    referring_physician_name="Who^Doctor",
)
THERE = [make_ct(number).SOPInstanceUID for number in range(3)]


def ct_of_somebody(number):
    dataset = make_ct(number)
    dataset.PatientID, dataset.IssuerOfPatientID = ATTRIBUTES.patient_id, ATTRIBUTES.issuer_of_patient_id
    dataset.PatientName, dataset.PatientBirthDate = ATTRIBUTES.patient_name, ATTRIBUTES.patient_birth_date
    dataset.PatientSex, dataset.AccessionNumber = ATTRIBUTES.patient_sex, ATTRIBUTES.accession_number
    dataset.StudyID, dataset.StudyDate = ATTRIBUTES.study_id, ATTRIBUTES.study_date
    dataset.StudyTime, dataset.ReferringPhysicianName = ATTRIBUTES.study_time, ATTRIBUTES.referring_physician_name
    return dataset


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    """Orthanc with three CT instances."""
    folder = tmp_path_factory.mktemp("services")
    with orthanc(folder / "orthanc") as server:
        server.upload_all([write_ct(ct_of_somebody(number), folder / f"{number}.dcm") for number in range(3)])
        yield server


@pytest.fixture(scope="module")
def peer(pacs):
    return Peer.parse(pacs.peer)


def test_orthanc_commits_itself_to_what_it_has_on_a_new_association(pacs, peer, tmp_path):
    there = [InstanceRef(CTImageStorage, uid) for uid in THERE]
    absent = InstanceRef(CTImageStorage, generate_uid())
    with listening(tmp_path, reports=Reports()) as node:
        pacs.connect(node.port)
        for instances in (there, [*there, absent]):
            transaction = generate_uid()
            options = CommitmentOptions(report_seconds=0.0)
            assert request_commitment(instances, peer, "CSPINE", transaction, options) is None
            wait_until(lambda: node.reports.recorded, 10, "Orthanc's report")
            received = node.reports.recorded.pop()
            assert (received.report.transaction_uid, received.ae_title) == (transaction, "ORTHANC")
            assert received.report.committed == {ref.sop_instance_uid for ref in there}
            expected = {absent.sop_instance_uid: 0x0112} if absent in instances else {}
            assert dict(received.report.failed) == expected


def test_orthanc_is_asked_by_c_find(peer):
    assert queries.study_attributes(STUDY_UID, peer, "CSPINE") == ATTRIBUTES
    assert queries.study_attributes(generate_uid(), peer, "CSPINE") is None
    absent = generate_uid()
    assert queries.instances_there(STUDY_UID, [*THERE[:2], absent], peer, "CSPINE") == set(THERE[:2])
    assert queries.instances_there(generate_uid(), THERE, peer, "CSPINE") == frozenset()


def test_orthanc_is_asked_by_qido(pacs):
    target = StowTarget(f"http://127.0.0.1:{pacs.http_port}/dicom-web")
    assert qido.study_attributes(STUDY_UID, target) == ATTRIBUTES
    assert qido.study_attributes(generate_uid(), target) is None
    absent = generate_uid()
    assert qido.instances_there(STUDY_UID, [*THERE[:2], absent], target) == set(THERE[:2])
    assert qido.instances_there(generate_uid(), THERE, target) == frozenset()


def test_orthanc_stores_what_it_is_sent_by_stow_byte_for_byte(pacs, tmp_path):
    datasets = [make_ct(number) for number in (101, 102)]
    for dataset in datasets:
        dataset.StudyInstanceUID = generate_uid()
    bad = make_ct(103)
    del bad.StudyInstanceUID
    files = [write_ct(dataset, tmp_path / f"{dataset.InstanceNumber}.dcm") for dataset in (*datasets, bad)]
    target = StowTarget(f"http://127.0.0.1:{pacs.http_port}/dicom-web", token="not.looked.at")
    outcomes = store(files, target)
    assert [outcome.accepted for outcome in outcomes] == [True, True, False]
    assert outcomes[2].permanent
    assert [outcome.accepted for outcome in store(files[:2], target)] == [True, True]
    for dataset, file in zip(datasets, files, strict=False):
        (instance,) = pacs.instances(dataset.StudyInstanceUID)
        assert pacs.request("GET", f"/instances/{instance}/file") == file.read_bytes()
