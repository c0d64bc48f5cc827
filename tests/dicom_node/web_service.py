"""A scripted DICOMweb service on loopback: real HTTP, over TLS where asked for, that answers what a test tells it."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Request:
    """What the service was asked: method, path with query, headers by lower-case name, body."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """An answer; its body is bytes, or a value that is sent as DICOM JSON."""

    status: int = 200
    body: object = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class WebService:
    """The running service: its base URL and what it was asked."""

    url: str
    requests: list[Request] = field(default_factory=list)


Script = Callable[[Request, BaseHTTPRequestHandler], Reply | None]
"""Returns the answer, or None after it wrote to the handler's connection by itself."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Stay silent: peers that hang up are what is tested."""


@contextmanager
def web_service(script: Script, context: ssl.SSLContext | None = None) -> Iterator[WebService]:
    """Run a service that answers as ``script`` says."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            self.request.settimeout(10)
            if context is not None:
                self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def finish(self):
            super().finish()
            self.request.close()  # over TLS it is not the one that the server knows

        def answer(self):
            length = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, self.rfile.read(length))
            service.requests.append(request)
            reply = script(request, self)
            if reply is None:
                self.close_connection = True
                return
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/dicom+json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815  (the names that http.server looks for)

        def log_message(self, *_):
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    scheme = "http" if context is None else "https"
    service = WebService(f"{scheme}://127.0.0.1:{server.server_address[1]}/dicom-web")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
