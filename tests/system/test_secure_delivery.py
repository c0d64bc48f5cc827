"""The whole product sends to two archives at once: one over mutual TLS, one by DICOMweb over https with a token."""

import http.client
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.certificates import Certificates, make_certificates, server_context
from tests.dicom_node.web_service import Reply, Request, web_service
from tests.peers import Orthanc, OrthancOptions, orthanc, storescu
from tests.system.conftest import study_uid
from tests.system.product import running_product
from worker.states import StudyState

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(600)]

TOKEN = "CANARY-token"

DESTINATIONS = """
[[destination]]
name = "archive"
peer = "{peer}"
commitment = "query"
commitment_wait_seconds = 1
tls = {{ trusted = "{authority}", certificate = "{certificate}", key = "{key}" }}

[[destination]]
name = "cloud"
url = "{url}"
profile = "air"
switches = ["pdf"]
commitment = "query"
commitment_wait_seconds = 1
token_file = "token"
tls = {{ trusted = "{authority}" }}
"""


def tls_only(certificates: Certificates) -> OrthancOptions:
    """An archive that takes associations over TLS from those who show a certificate, and from nobody else."""
    options = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(certificates.server.certificate),
        "DicomTlsPrivateKey": str(certificates.server.key),
        "DicomTlsTrustedCertificates": str(certificates.authority),
        "DicomTlsRemoteCertificateRequired": True,
    }
    return OrthancOptions(overrides=tuple(options.items()))


def gate(pacs: Orthanc) -> Callable[[Request, object], Reply]:
    """What stands before a DICOMweb service in a hospital: it ends TLS, asks for the token and passes requests on."""

    def passed_on(request: Request, _: object) -> Reply:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return Reply(401)
        connection = http.client.HTTPConnection("127.0.0.1", pacs.http_port, timeout=60)
        try:
            kept = {name: value for name, value in request.headers.items() if name in {"accept", "content-type"}}
            connection.request(request.method, request.path, body=request.body or None, headers=kept)
            answer = connection.getresponse()
            return Reply(answer.status, answer.read(), {"Content-Type": answer.getheader("Content-Type", "")})
        finally:
            connection.close()

    return passed_on


def test_results_are_confirmed_by_an_archive_over_tls_and_by_a_service_behind_a_token(
    make_neck: Callable[[int], Path], tmp_path: Path
):
    certificates = make_certificates(tmp_path / "certificates")
    folder, data = make_neck(77), tmp_path / "data"
    uid = study_uid(folder)
    (tmp_path / "token").write_text(TOKEN + "\n")
    with (
        orthanc(tmp_path / "archive", tls_only(certificates)) as archive,
        orthanc(tmp_path / "cloud") as cloud,
        web_service(gate(cloud), server_context(certificates.server)) as service,
    ):
        file = tmp_path / "destinations.toml"
        own = certificates.client
        file.write_text(
            DESTINATIONS.format(
                peer=archive.peer,
                url=service.url,
                authority=certificates.authority,
                certificate=own.certificate,
                key=own.key,
            )
        )
        with running_product(data, "", DESTINATIONS_FILE=str(file)) as product:
            sent = storescu(sorted(folder.iterdir()), str(product.peer))
            assert sent.returncode == 0, sent.stdout[-2000:]
            view = product.wait(uid, lambda view: view.state is StudyState.CONFIRMED, "both confirmations")
            doctor = product.cli("doctor")
        assert archive.modalities(uid) == ["OT", "SEG", "SR", "SR"]
        assert cloud.modalities(uid) == ["DOC", "OT", "SEG", "SR"]
        assert {request.method for request in service.requests} == {"GET", "POST"}
        told = "\n".join(view.as_lines()) + doctor.stdout + (data / "product.log").read_text(errors="replace")
        assert TOKEN not in told
        assert doctor.returncode == 0, doctor.stdout
