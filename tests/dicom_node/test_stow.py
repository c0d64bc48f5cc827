"""STOW-RS against scripted services over real HTTP and TLS: outcomes of each instance, secrets, hostile answers."""

import gzip
import logging
import socket
import threading
import time

import pytest
from pydicom.uid import CTImageStorage

from dicom_node.dicomweb import HttpTimeouts
from dicom_node.errors import PeerError
from dicom_node.http_session import MAX_ANSWER_BYTES
from dicom_node.stow import StowTarget, store
from tests.certificates import make_certificates, server_context
from tests.dicom_node.tiny_ct import make_ct, write_ct
from tests.dicom_node.web_service import Reply, web_service

UIDS = [str(make_ct(number).SOPInstanceUID) for number in range(3)]
TOKEN = "CANARY-TOKEN.abc~123=="
SHORT = HttpTimeouts(connection=1.0, silence=1.0, total=2.0)


@pytest.fixture
def files(tmp_path):
    return [write_ct(make_ct(number), tmp_path / f"{number}.dcm") for number in range(3)]


def reference(uid):
    return {"00081150": {"vr": "UI", "Value": [CTImageStorage]}, "00081155": {"vr": "UI", "Value": [uid]}}


def response(stored=(), failed=()):
    return {
        "00081199": {"vr": "SQ", "Value": [reference(uid) for uid in stored]},
        "00081198": {
            "vr": "SQ",
            "Value": [reference(uid) | {"00081197": {"vr": "US", "Value": [reason]}} for uid, reason in failed],
        },
    }


def always(reply):
    return lambda *_: reply


def stored_all(request, _):
    (uid,) = [uid for uid in UIDS if uid.encode() in request.body]
    return Reply(200, response([uid]))


def test_files_are_sent_as_they_are_each_in_a_request_of_its_own(files):
    with web_service(stored_all) as service:
        outcomes = store(files, StowTarget(service.url + "/", token=TOKEN))
    assert [(outcome.path, outcome.sop_instance_uid) for outcome in outcomes] == list(zip(files, UIDS, strict=True))
    assert all(outcome.accepted and outcome.permanent for outcome in outcomes)
    assert len(service.requests) == 3
    for request, file in zip(service.requests, files, strict=True):
        assert (request.method, request.path) == ("POST", "/dicom-web/studies")
        assert file.read_bytes() in request.body
        assert len(request.body) - file.stat().st_size < 200
        assert request.headers["content-type"].startswith('multipart/related; type="application/dicom"')
        assert request.headers["accept"] == "application/dicom+json"
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert service.url.startswith(f"http://{request.headers['host']}/")
        assert request.headers["content-length"] == str(len(request.body))


@pytest.mark.parametrize(
    ("reply", "accepted", "permanent", "status"),
    [
        (Reply(200, response(UIDS[:1])), True, True, None),
        (Reply(202, response(UIDS[:1])), True, True, None),
        (Reply(200, [response(UIDS[:1])]), True, True, None),
        (Reply(200), True, True, None),
        (Reply(200, {"00081190": {"vr": "UR", "Value": ["x"]}}), True, True, None),
        (Reply(202, response(failed=[(UIDS[0], 0xA700)])), False, False, 0xA700),
        (Reply(409, response(failed=[(UIDS[0], 0xA900)])), False, True, 0xA900),
        (Reply(409, response(failed=[(UIDS[0], 0xC122)])), False, True, 0xC122),
        (Reply(200, response(failed=[(UIDS[0], 0x0110)])), False, False, 0x0110),
        (Reply(409, response(failed=[(UIDS[0], "0xA900")])), False, False, 0x0110),
        (Reply(202), False, False, None),
        (Reply(200, response(UIDS[1:])), False, False, None),
        (Reply(202, response(failed=[(UIDS[1], 0xA900)])), False, False, None),
        (Reply(200, b'<NativeDicomModel><DicomAttribute tag="00081198"/></NativeDicomModel>'), False, False, None),
    ],
)
def test_the_answer_says_what_became_of_the_instance(files, reply, accepted, permanent, status):
    with web_service(always(reply)) as service:
        (outcome,) = store(files[:1], StowTarget(service.url))
    assert (outcome.accepted, outcome.permanent, outcome.status) == (accepted, permanent, status)
    assert f"HTTP {reply.status}" in outcome.comment


@pytest.mark.parametrize(
    ("status", "permanent", "goes_on"),
    [
        (400, True, True),
        (409, True, True),
        (413, True, True),
        (415, True, True),
        (401, True, False),
        (403, True, False),
        (404, True, False),
        (302, True, False),
        (408, False, True),
        (500, False, True),
        (502, False, True),
        (429, False, False),
        (503, False, False),
        (599, False, True),
    ],
)
def test_http_statuses_are_permanent_or_transient(files, status, permanent, goes_on):
    with web_service(always(Reply(status, b"CANARY^PATIENT could not be stored"))) as service:
        outcomes = store(files, StowTarget(service.url))
    assert [(outcome.accepted, outcome.permanent, outcome.status) for outcome in outcomes] == [
        (False, permanent, None)
    ] * 3
    assert all(f"HTTP {status}" in outcome.comment for outcome in outcomes)
    assert not any("CANARY" in outcome.comment for outcome in outcomes)
    assert len(service.requests) == (3 if goes_on else 1)


def test_a_redirect_is_not_followed_with_what_it_would_carry(files):
    with web_service(stored_all) as other:
        for status in (301, 302, 307, 308):
            with web_service(always(Reply(status, headers={"Location": f"{other.url}/studies"}))) as service:
                (outcome,) = store(files[:1], StowTarget(service.url, token=TOKEN))
            assert not outcome.accepted
            assert outcome.permanent
        assert other.requests == []


def test_nothing_is_taken_from_the_environment(files, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    replies = Reply(200, headers={"Set-Cookie": "session=CANARY"})
    with web_service(always(replies)) as service:
        store(files[:2], StowTarget(service.url, token=TOKEN))
    assert [request.headers["authorization"] for request in service.requests] == [f"Bearer {TOKEN}"] * 2
    assert not any("cookie" in request.headers for request in service.requests)


def test_neither_the_token_nor_what_the_service_says_is_logged(files, caplog):
    caplog.set_level(logging.DEBUG)
    target = StowTarget("http://127.0.0.1:1", token=TOKEN)
    with pytest.raises(PeerError) as caught:
        store(files, target, SHORT)
    reply = Reply(401, b"CANARY^PATIENT", {"Warning": "299 CANARY", "Link": "CANARY"})
    with web_service(always(reply)) as service:
        outcomes = store(files, StowTarget(service.url, token=TOKEN))
    text = caplog.text + repr(target) + str(target) + str(caught.value) + repr(outcomes)
    assert "CANARY" not in text


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.peer
def test_a_service_that_wants_a_certificate_gets_ours(files, certificates):
    context = server_context(certificates.server, certificates.authority)
    client = certificates.client
    with web_service(stored_all, context) as service:
        target = StowTarget(service.url, TOKEN, certificates.authority, client.certificate, client.key)
        assert all(outcome.accepted for outcome in store(files, target))
        assert len(service.requests) == 3
        for without in (
            StowTarget(service.url, TOKEN, certificates.authority),
            StowTarget(service.url, TOKEN, None, client.certificate, client.key),
            StowTarget(service.url, TOKEN, certificates.stranger.certificate, client.certificate, client.key),
        ):
            with pytest.raises(PeerError) as caught:
                store(files, without, SHORT)
            assert not caught.value.permanent
        assert caught.value.code == "PEER_TLS"
        assert "certificate" in str(caught.value)
        assert len(service.requests) == 3


# services that misbehave


def piecewise(data, head=b""):
    def script(_, handler):
        handler.connection.sendall(head)
        for byte in data:
            handler.connection.sendall(bytes([byte]))
            time.sleep(0.1)

    return script


def raw(data):
    def script(_, handler):
        handler.connection.sendall(data)

    return script


def endless(_, handler):
    handler.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
    while True:
        handler.connection.sendall(bytes(1 << 16))


def silent(_, __):
    time.sleep(2)


BODY = b'{"a": "%s"}' % bytes(MAX_ANSWER_BYTES)
BOMB = gzip.compress(bytes(64 << 20))
BOMB_REPLY = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (silent, "PEER_UNREACHABLE"),
        (piecewise(b"HTTP/1.1 200 OK\r\nA: " + b"a" * 1000), "PEER_UNREACHABLE"),
        (piecewise(b"a" * 1000, head=b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"), "PEER_UNREACHABLE"),
        (raw(b""), "PEER_UNREACHABLE"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Le"), "PEER_UNREACHABLE"),
        (raw(b"\x02\x00\x00\x00CANARY"), "PEER_UNREACHABLE"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nCANARY"), "PEER_UNREACHABLE"),
        (raw(b"HTTP/1.1 200 OK\r\n" + b"A: CANARY\r\n" * 1000), "PEER_UNREACHABLE"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nCANARY\r\n"), "PEER_UNREACHABLE"),
        (always(Reply(200, BODY)), "PEER_ANSWER"),
        (endless, "PEER_ANSWER"),
        (raw(BOMB_REPLY), "PEER_ANSWER"),
    ],
    ids=["silent", "header", "body", "nothing", "half", "binary", "cut", "headers", "chunk", "long", "endless", "bomb"],
)
def test_answers_that_are_none_end_in_time_and_cost_no_memory(files, script, code, caplog):
    caplog.set_level(logging.DEBUG)
    started = time.monotonic()
    with web_service(script) as service, pytest.raises(PeerError) as caught:
        store(files[:1], StowTarget(service.url), SHORT)
    assert caught.value.code == code
    assert caught.value.permanent is (code == "PEER_ANSWER")
    assert time.monotonic() - started < 10
    assert "CANARY" not in caplog.text + str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"null",
        b"[[]]",
        b'{"00081199": [1]}',
        b'{"00081199": {"Value": [{"00081155": {"Value": {"a": 1}}}]}}',
        b'{"00081199": {"Value": "1.2.3"}}',
        b"9" * 10_000,
        b'{"00081199": {"Value": [null, 1, "a", {"00081155": null}]}}',
        b"\xff\xfe\x00",
    ],
)
def test_a_body_that_is_no_answer_is_none(files, body):
    with web_service(always(Reply(202, body))) as service:
        (outcome,) = store(files[:1], StowTarget(service.url))
    assert (outcome.accepted, outcome.permanent, outcome.status) == (False, False, None)


def test_a_service_that_takes_nothing_in_ends_in_time(files, tmp_path):
    dataset = make_ct()
    dataset.PixelData = bytes(16 << 20)
    large = write_ct(dataset, tmp_path / "large.dcm")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        with pytest.raises(PeerError) as caught:
            store([large], StowTarget(f"http://127.0.0.1:{listener.getsockname()[1]}"), SHORT)
        assert (caught.value.code, caught.value.permanent) == ("PEER_UNREACHABLE", False)
        assert time.monotonic() - started < 10


def test_a_service_that_goes_away_leaves_transient_outcomes(files):
    gone = threading.Event()

    def script(request, handler):
        if gone.is_set():
            return None
        gone.set()
        return stored_all(request, handler)

    with web_service(script) as service:
        outcomes = store(files, StowTarget(service.url))
    assert [(outcome.accepted, outcome.permanent) for outcome in outcomes] == [
        (True, True),
        (False, False),
        (False, False),
    ]
    assert len(service.requests) == 2


def test_files_that_are_no_dicom_files_are_named_and_the_others_are_sent(files, tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("no DICOM file")
    with web_service(stored_all) as service:
        outcomes = store([other, files[0], tmp_path / "missing"], StowTarget(service.url))
        assert store([], StowTarget(service.url)) == ()
    assert [outcome.accepted for outcome in outcomes] == [False, True, False]
    assert [outcome.permanent for outcome in outcomes] == [True, True, True]
    assert len(service.requests) == 1


# the target


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "pacs.example"}, "such as"),
        ({"url": "ftp://pacs.example"}, "such as"),
        ({"url": "https://pacs.example/dicom-web?token=1"}, "such as"),
        ({"url": "https://me:CANARY@pacs.example"}, "user name"),
        ({"url": "http://pacs.example", "token": TOKEN}, "https only"),
        ({"url": "https://pacs.example", "token": "CANARY\r\nX: y"}, "letters"),
        ({"url": "https://pacs.example", "token": ""}, "letters"),
        ({"url": "http://pacs.example", "trusted": "ca.pem"}, "for https"),
        ({"url": "https://pacs.example", "certificate": "a.pem"}, "its key"),
    ],
)
def test_a_target_that_cannot_be_used_is_refused_without_repeating_a_secret(options, words):
    with pytest.raises(ValueError, match=words) as caught:
        StowTarget(**options)
    assert "CANARY" not in str(caught.value)


def test_a_token_may_go_to_this_machine_in_plain_http():
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert StowTarget(f"http://{host}:8042", token=TOKEN).token == TOKEN
