"""The network services against Orthanc: one server for all of them."""

import pytest
from pydicom.uid import CTImageStorage, generate_uid

from dicom_node.commitment import CommitmentOptions, InstanceRef, request_commitment
from dicom_node.node import Peer
from tests.dicom_node.listening import Reports, listening
from tests.dicom_node.tiny_ct import make_ct, write_ct
from tests.peers import orthanc, wait_until

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    """Orthanc with three CT instances."""
    folder = tmp_path_factory.mktemp("services")
    with orthanc(folder / "orthanc") as server:
        server.upload_all([write_ct(make_ct(number), folder / f"{number}.dcm") for number in range(3)])
        yield server


@pytest.fixture(scope="module")
def peer(pacs):
    return Peer.parse(pacs.peer)


def test_orthanc_commits_itself_to_what_it_has_on_a_new_association(pacs, peer, tmp_path):
    there = [InstanceRef(CTImageStorage, make_ct(number).SOPInstanceUID) for number in range(3)]
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
