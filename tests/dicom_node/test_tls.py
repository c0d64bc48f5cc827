"""TLS towards peers: certificates that are checked on both sides, and handshakes that fail, hang or drip."""

import select
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from dicom_node.errors import PeerError
from dicom_node.hardening import WireLimits
from dicom_node.node import Peer
from dicom_node.requestor_socket import RequestorSocket
from dicom_node.scu import ScuTimeouts, echo, send
from dicom_node.tls import TlsFiles, UnusableTlsFiles, client_context
from tests.certificates import make_certificates, server_context
from tests.dicom_node.scripted_scp import scp_of
from tests.dicom_node.tiny_ct import encode_data_set, make_ct, write_ct
from tests.processes import require

pytestmark = pytest.mark.peer

SHORT = ScuTimeouts(connection=2.0, acse=2.0, dimse=5.0)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def mutual(certificates):
    """How to connect to a server that wants to see our certificate."""
    return client_context(TlsFiles(certificates.authority, certificates.client.certificate, certificates.client.key))


@contextmanager
def tls_scp(context, received=None):
    """Run a pynetdicom SCP over TLS on a free port."""
    entity = AE(ae_title="PACS")
    entity.add_supported_context(Verification)
    entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)

    def on_store(event):
        received.append(event.request.DataSet.getvalue())
        return 0x0000

    with scp_of(entity, (evt.EVT_C_STORE, on_store), ssl_context=context) as peer:
        yield peer


@contextmanager
def raw_server(serve):
    """Run ``serve(connection)`` for one connection on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def run():
            connection, _ = listener.accept()
            with connection:
                serve(connection, over)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield Peer("PACS", "127.0.0.1", listener.getsockname()[1])
        finally:
            over.set()
            thread.join(10)


def test_the_profile_is_that_of_bcp_195(mutual):
    assert mutual.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (mutual.verify_mode, mutual.check_hostname) == (ssl.CERT_REQUIRED, True)
    names = [cipher["name"] for cipher in mutual.get_ciphers()]
    assert all(name.startswith(("TLS_", "ECDHE-", "DHE-")) for name in names)
    assert all("GCM" in name or "CHACHA20" in name for name in names)


def test_every_byte_arrives_over_mutual_tls(certificates, mutual, tmp_path):
    datasets = [make_ct(number, rows=700, columns=700) for number in range(4)]
    files = [write_ct(dataset, tmp_path / f"{number}.dcm") for number, dataset in enumerate(datasets)]
    received = []
    with tls_scp(server_context(certificates.server, certificates.authority), received) as peer:
        echo(peer, "CSPINE", SHORT, mutual)
        outcomes = send(files, peer, "CSPINE", SHORT, mutual)
    assert [outcome.accepted for outcome in outcomes] == [True] * 4
    assert received == [encode_data_set(dataset) for dataset in datasets]


def test_a_server_of_strangers_is_not_trusted(certificates, mutual):
    with tls_scp(server_context(certificates.stranger)) as peer, pytest.raises(PeerError) as caught:
        echo(peer, "CSPINE", SHORT, mutual)
    assert (caught.value.code, caught.value.permanent) == ("PEER_TLS", False)
    assert "self-signed certificate" in str(caught.value)


def test_a_certificate_for_another_name_is_not_trusted(certificates, mutual):
    with tls_scp(server_context(certificates.client)) as peer, pytest.raises(PeerError) as caught:
        echo(peer, "CSPINE", SHORT, mutual)
    assert caught.value.code == "PEER_TLS"
    assert "IP address mismatch" in str(caught.value)


def test_a_server_that_wants_our_certificate_gets_none_and_says_no(certificates):
    context = client_context(TlsFiles(certificates.authority))
    wants = server_context(certificates.server, certificates.authority)
    with tls_scp(wants) as peer, pytest.raises(PeerError) as caught:
        echo(peer, "CSPINE", SHORT, context)
    assert not caught.value.permanent


def test_a_peer_without_tls_says_what_is_wrong(mutual):
    def serve(connection, over):
        connection.recv(1000)
        connection.sendall(b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x01")  # A-ABORT
        over.wait(5)

    with raw_server(serve) as peer, pytest.raises(PeerError) as caught:
        echo(peer, "CSPINE", SHORT, mutual)
    assert (caught.value.code, caught.value.permanent) == ("PEER_TLS", False)
    assert "WRONG_VERSION_NUMBER" in str(caught.value)


@pytest.mark.parametrize("drips", [False, True])
def test_a_handshake_that_hangs_or_drips_ends_in_time(mutual, drips):
    def serve(connection, over):
        record = b"\x16\x03\x03\x40\x00" + bytes(0x4000)
        for byte in record if drips else b"":
            if over.wait(0.2):
                return
            try:
                connection.send(bytes([byte]))
            except OSError:
                return
        over.wait(20)

    started = time.monotonic()
    with raw_server(serve) as peer, pytest.raises(PeerError) as caught:
        echo(peer, "CSPINE", SHORT, mutual)
    assert time.monotonic() - started < 10
    assert not caught.value.permanent


def test_a_record_without_data_does_not_keep_us_from_sending(certificates, mutual):
    """Session tickets (RFC 8446 4.6.1) make the socket readable although no PDU is there."""
    ours, theirs = socket.socketpair()
    secured = []
    context = server_context(certificates.server)
    server = threading.Thread(target=lambda: secured.append(context.wrap_socket(theirs, server_side=True)))
    server.start()
    client = mutual.wrap_socket(ours, server_hostname="127.0.0.1")
    server.join(10)
    association = Association(AE(), "requestor")
    connection = RequestorSocket(association, client_socket=client)
    connection.arm(WireLimits(pdu_seconds=5.0))
    with client, secured[0]:
        assert client.version() == "TLSv1.3"
        assert select.select([client], [], [], 5)[0], "the session tickets have not come"
        assert not connection.ready
        connection.send(b"request")
        assert secured[0].recv(100) == b"request"
        assert not connection.ready
        secured[0].sendall(b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00")
        assert select.select([client], [], [], 5)[0]
        assert connection.ready
        assert connection.ready
        assert connection.recv(6) == b"\x05\x00\x00\x00\x00\x04"
        assert connection.recv(4) == bytes(4)
        assert not connection.ready


def test_files_that_cannot_be_used_are_named(certificates, tmp_path):
    garbage, encrypted = tmp_path / "garbage.pem", tmp_path / "encrypted.key"
    garbage.write_text("no PEM")
    command = [str(require("openssl")), "pkey", "-in", certificates.client.key, "-aes256", "-passout", "pass:secret"]
    subprocess.run([*command, "-out", encrypted], check=True, timeout=60, capture_output=True)
    certificate = certificates.client.certificate
    for files in (
        TlsFiles(garbage),
        TlsFiles(tmp_path / "missing.pem"),
        TlsFiles(certificates.authority, certificate, certificates.server.key),
        TlsFiles(certificates.authority, certificate, garbage),
        TlsFiles(certificates.authority, certificate, encrypted),
    ):
        with pytest.raises(UnusableTlsFiles, match=str(files.certificate or files.trusted)) as caught:
            client_context(files)
        assert caught.value.permanent
    with pytest.raises(ValueError, match="needs its key"):
        TlsFiles(certificates.authority, certificate)
