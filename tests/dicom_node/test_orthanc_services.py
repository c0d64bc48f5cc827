"""The network services against Orthanc, its DICOM side over mutual TLS: one server for all of them."""

import pytest
from pydicom import dcmread
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    SegmentationStorage,
    generate_uid,
)

from dicom_node import qido, queries
from dicom_node.commitment import CommitmentOptions, InstanceRef, request_commitment
from dicom_node.errors import PeerError
from dicom_node.node import Peer
from dicom_node.scu import ScuTimeouts, echo, send
from dicom_node.stow import StowTarget, store
from dicom_node.study_attributes import StudyAttributes
from dicom_node.tls import TlsFiles, client_context
from tests.certificates import make_certificates
from tests.dicom_node.listening import Reports, listening
from tests.dicom_node.tiny_ct import STUDY_UID, make_ct, write_ct
from tests.peers import OrthancOptions, orthanc, wait_until

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
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def pacs(tmp_path_factory, certificates):
    """Orthanc with three CT instances; whoever associates with it shows a certificate."""
    folder = tmp_path_factory.mktemp("services")
    options = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(certificates.server.certificate),
        "DicomTlsPrivateKey": str(certificates.server.key),
        "DicomTlsTrustedCertificates": str(certificates.authority),
        "DicomTlsRemoteCertificateRequired": True,
    }
    with orthanc(folder / "orthanc", OrthancOptions(overrides=tuple(options.items()))) as server:
        server.upload_all([write_ct(ct_of_somebody(number), folder / f"{number}.dcm") for number in range(3)])
        yield server


@pytest.fixture(scope="module")
def tls(certificates):
    return client_context(TlsFiles(certificates.authority, certificates.client.certificate, certificates.client.key))


@pytest.fixture(scope="module")
def peer(pacs):
    return Peer.parse(pacs.peer)


def test_orthanc_commits_itself_to_what_it_has_on_a_new_association(pacs, peer, tls, tmp_path):
    there = [InstanceRef(CTImageStorage, uid) for uid in THERE]
    absent = InstanceRef(CTImageStorage, generate_uid())
    with listening(tmp_path, reports=Reports()) as node:
        pacs.connect(node.port)
        for instances in (there, [*there, absent]):
            transaction = generate_uid()
            options = CommitmentOptions(tls=tls, report_seconds=0.0)
            assert request_commitment(instances, peer, "CSPINE", transaction, options) is None
            wait_until(lambda: node.reports.recorded, 10, "Orthanc's report")
            received = node.reports.recorded.pop()
            assert (received.report.transaction_uid, received.ae_title) == (transaction, "ORTHANC")
            assert received.report.committed == {ref.sop_instance_uid for ref in there}
            expected = {absent.sop_instance_uid: 0x0112} if absent in instances else {}
            assert dict(received.report.failed) == expected


def test_orthanc_is_asked_by_c_find(peer, tls):
    assert queries.study_attributes(STUDY_UID, peer, "CSPINE", tls=tls) == ATTRIBUTES
    assert queries.study_attributes(generate_uid(), peer, "CSPINE", tls=tls) is None
    absent = generate_uid()
    assert queries.instances_there(STUDY_UID, [*THERE[:2], absent], peer, "CSPINE", tls=tls) == set(THERE[:2])
    assert queries.instances_there(generate_uid(), THERE, peer, "CSPINE", tls=tls) == frozenset()


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


def test_orthanc_stores_what_it_is_sent_by_c_store_over_tls(pacs, peer, tls, tmp_path):
    datasets = [make_ct(201), make_ct(202, rows=256, columns=256, sop_class=SegmentationStorage)]
    for dataset in datasets:
        dataset.StudyInstanceUID = generate_uid()
    files = [write_ct(dataset, tmp_path / f"{dataset.InstanceNumber}.dcm") for dataset in datasets]
    echo(peer, "CSPINE", tls=tls)
    assert [outcome.accepted for outcome in send(files, peer, "CSPINE", tls=tls, deflate=True)] == [True, True]
    for dataset, syntax in zip(datasets, (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian), strict=True):
        (instance,) = pacs.instances(dataset.StudyInstanceUID)
        back = dcmread(pacs.download(instance, tmp_path))
        assert back.file_meta.TransferSyntaxUID == syntax
        assert back == dataset


def test_orthanc_lets_nobody_in_without_a_certificate(peer, certificates):
    for tls in (None, client_context(TlsFiles(certificates.authority))):
        with pytest.raises(PeerError) as caught:
            echo(peer, "CSPINE", ScuTimeouts(connection=2.0, acse=2.0, dimse=2.0), tls)
        assert not caught.value.permanent
