"""Links are made from files that may be gone or wrong by then: told without what they hold, and tried again."""

from pathlib import Path

import pytest

from dicom_node.errors import PeerError
from dicom_node.node import Peer
from dicom_node.tls import TlsFiles
from worker.destinations import Destination
from worker.links import DimseLink, LinkMaker, WebLink

MAKE = LinkMaker("CSPINE")


def test_a_peer_is_reached_by_dimse_and_a_url_by_dicomweb(tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("abc.DEF\n")
    web = MAKE(Destination("w", url="https://pacs.example/dicom-web", token_file=token))
    assert isinstance(web, WebLink)
    assert (web.target.url, web.target.token) == ("https://pacs.example/dicom-web", "abc.DEF")
    assert isinstance(MAKE(Destination("p", peer=Peer.parse("A@h:104"))), DimseLink)


@pytest.mark.parametrize("content", [None, b"two words: hunter2", b"hunter2\xff"])
def test_a_token_that_cannot_be_used_is_transient_and_not_repeated(tmp_path: Path, content: bytes | None):
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)
    with pytest.raises(PeerError) as caught:
        MAKE(Destination("w", url="https://pacs.example/dicom-web", token_file=token))
    assert (caught.value.code, caught.value.permanent) == ("TLS_FILES", False)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_certificates_that_are_gone_are_transient(tmp_path: Path):
    tls = TlsFiles(tmp_path / "gone.pem")
    for destination in (
        Destination("p", peer=Peer.parse("A@h:104"), tls=tls),
        Destination("w", url="https://pacs.example/dicom-web", tls=tls),
    ):
        with pytest.raises(PeerError, match="gone") as caught:
            MAKE(destination)
        assert not caught.value.permanent


def test_a_dicomweb_service_has_no_storage_commitment():
    link = MAKE(Destination("w", url="https://pacs.example/dicom-web"))
    link.collect_reports()
    with pytest.raises(PeerError, match="no storage commitment"):
        link.request_commitment([], "1.2")
