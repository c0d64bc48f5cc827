"""HTTP within bounds (RFC 9112): the transport under requests, with a deadline for all and a largest answer."""

import socket
import ssl
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from dicom_node.deadlines import Deadline

MAX_ANSWER_BYTES = 1024 * 1024
"""The body of an answer; one to a query about a study takes about 2 kB."""

_PIECE_BYTES = 64 * 1024
_NO_CONTENT = 204


class UnusableAnswer(requests.RequestException):
    """The body of an answer is longer than the bound, or is compressed although that was not asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The HTTP status of an answer and its body."""

    status: int
    body: bytes


class BoundedAdapter(HTTPAdapter):
    """Sends requests over connections that ``deadline`` ends; the last ``answer`` is kept here, not in the response."""

    def __init__(self, context: ssl.SSLContext | None, deadline: Deadline) -> None:
        self._context = context
        self._deadline = deadline
        self.answer: Answer | None = None
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Make the pools of connections, with our TLS and watched by the deadline."""
        super().init_poolmanager(*arguments, **options, ssl_context=self._context)
        self.poolmanager.pool_classes_by_scheme = _watched_pools(self._deadline)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave certificates to our TLS context: requests would trust a list of its own besides."""

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        """Send and read the whole answer; raises ``requests.RequestException``."""
        request.headers.pop("Host", None)  # dicomweb-client's lacks the port
        if isinstance(request.body, bytes):
            request.body = BytesIO(request.body)  # sent in pieces, each within the timeout
        response = super().send(request, **{**_named(arguments), **options, "stream": True})
        with response:
            self.answer = Answer(response.status_code, self._read(response))
        response.headers.pop("Warning", None)  # dicomweb-client would log it
        response._content = b""  # noqa: SLF001  (requests has no other way to say that it is read)
        return response

    def _read(self, response: requests.Response) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise UnusableAnswer("compressed")
        if response.status_code != _NO_CONTENT and not {"Content-Length", "Transfer-Encoding"} & {*response.headers}:
            raise requests.ConnectionError("the headers may have been cut: http.client takes their end for complete")
        body = bytearray()
        try:
            while piece := response.raw.read(_PIECE_BYTES, decode_content=False):
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    raise UnusableAnswer("too long")
        except (HTTPError, OSError) as error:
            if isinstance(error, requests.RequestException):
                raise
            raise requests.ConnectionError("the answer was cut") from error
        return bytes(body)


def _named(arguments: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(("stream", "timeout", "verify", "cert", "proxies"), arguments, strict=False))


def _watched_pools(deadline: Deadline) -> dict[str, type[HTTPConnectionPool]]:
    """Return the pools by scheme; each connection is watched from before its handshake on."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            connection = super()._new_conn()
            deadline.watch(connection)
            return connection

    class Secured(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            connection = super()._new_conn()
            deadline.watch(connection)
            return connection

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecuredPool(HTTPSConnectionPool):
        ConnectionCls = Secured

    return {"http": PlainPool, "https": SecuredPool}
