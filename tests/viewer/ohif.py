"""OHIF as the reader's viewer: the built release from its npm package, served with the test PACS behind it.

The viewer and the PACS's DICOMweb interface have one address, as behind a hospital's reverse proxy; every path that is
no file is the viewer's own page, which reads the path itself.
"""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.npm_package import NpmPackage
from tests.orthanc import Orthanc

UNUSED = ("ort/", "dicom-microscopy-viewer/")
"""Parts of the release for other work (networks in the browser, microscopy): three quarters of its size."""


def place(path: str) -> str | None:
    """Where a file of the package is kept: the built viewer alone."""
    name = path.removeprefix("dist/")
    return None if name == path or name.startswith(UNUSED) else name


OHIF = NpmPackage(
    "@ohif/app",
    "3.13.2",
    "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA==",
    place,
)
CONFIGURATION = Path(__file__).parent / "ohif-config.js"
MEDIA_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
}


class ViewerServer(ThreadingHTTPServer):
    """A web server on loopback: the viewer's files, and the PACS under ``/dicom-web``.

    ``frames`` are the pictures that the PACS gave, ``refused`` what it did not answer as asked.
    """

    daemon_threads = True

    def __init__(self, release: Path, pacs: Orthanc) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pacs = pacs
        self.files = {f"/{path.relative_to(release)}": path for path in release.rglob("*") if path.is_file()}
        self.files["/app-config.js"] = CONFIGURATION
        self.frames: set[str] = set()
        self.refused: list[str] = []

    @property
    def url(self) -> str:
        """Where the viewer is."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    server: ViewerServer

    def do_GET(self) -> None:
        """Answer with a file, the PACS's answer, or the viewer's page."""
        path = urlsplit(self.path).path
        if path.startswith("/dicom-web/"):
            self._ask_pacs()
            return
        file = self.server.files.get(path, self.server.files["/index.html"])
        media_type = MEDIA_TYPES.get(file.suffix, "application/octet-stream")
        self._answer(200, media_type, file.read_bytes())

    def _ask_pacs(self) -> None:
        """Pass the request on; the PACS writes its own addresses into answers, so it is told ours (RFC 7239)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.pacs.http_port, timeout=60)
        try:
            forwarded = f"host=127.0.0.1:{self.server.server_port};proto=http"
            headers = {"Accept": self.headers.get("Accept", "*/*"), "Forwarded": forwarded}
            connection.request("GET", self.path, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            self.server.refused.append(f"{answer.status} {self.path}")
        elif "/frames/" in self.path:
            self.server.frames.add(self.path)
        self._answer(answer.status, answer.getheader("Content-Type", "application/octet-stream"), content)

    def _answer(self, status: int, media_type: str, content: bytes) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": media_type,
            "Content-Length": str(len(content)),
            "Cross-Origin-Opener-Policy": "same-origin",  # both: the viewer shares memory with its workers
            "Cross-Origin-Embedder-Policy": "require-corp",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        """Stay silent."""


@contextmanager
def viewer_server(release: Path, pacs: Orthanc) -> Iterator[ViewerServer]:
    """Serve OHIF on loopback with ``pacs`` behind it, on a thread of this process."""
    server = ViewerServer(release, pacs)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
