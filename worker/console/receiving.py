"""Uploads on the wire: whoever may not upload is not listened to, and what is sent goes to the disk of the data folder.

The server would take every body to its end before anybody is asked who sends it; here that is decided by the head of
the request. A body lies in one unnamed file, the files in it in another, both gone when the request is answered.
"""

import copy
import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from flask import Flask, Request
from waitress.buffers import FileBasedBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.receiver import FixedStreamReceiver
from waitress.utilities import Error, RequestEntityTooLarge

from worker.console.access import could_call
from worker.image_uploads import MAX_IMAGES
from worker.settings import Settings
from worker.uploads import MAX_FILES

ENDPOINTS = {"/uploads/study": "uploads.take_study", "/uploads/images": "uploads.take_images"}
"""The paths of uploads, and the views behind them."""
_PARTS = {"/uploads/study": MAX_FILES + 10, "/uploads/images": MAX_IMAGES + 10}
_MEMORY_BYTES = 1 << 20
"""Of a field that is no file, and of what the parser holds at once: several of the pieces that it reads."""
_COPIES = 2
"""The body, and the files in it."""


class InsufficientStorage(Error):  # type: ignore[misc]  # waitress has no types
    """The disk is too full for the body (RFC 4918 11.5)."""

    code = 507
    reason = "Insufficient Storage"


class PackedFiles:
    """The files of one request in one unnamed file: a folder may hold more files than a process may have open."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed with the request)

    def add(self) -> IO[bytes]:
        """A new file at the end; it must be written before the next one is added."""
        return _Part(self.file)  # type: ignore[return-value]  # it reads and writes bytes


class _Part(io.RawIOBase):
    """A file that is a part of another one."""

    def __init__(self, whole: IO[bytes]) -> None:
        super().__init__()
        self._whole = whole
        self._start = whole.seek(0, os.SEEK_END)
        self._size = self._at = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._whole.seek(self._start + self._at)
        count = self._whole.write(data)
        self._at += count
        self._size = max(self._size, self._at)
        return count

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        self._whole.seek(self._start + self._at)
        data = self._whole.read(min(len(view), max(self._size - self._at, 0)))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(origin + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at


def request_class(settings: Settings) -> type[Request]:
    """Requests of which uploads have bounds of their own."""

    class ConsoleRequest(Request):
        """A request to the console."""

        def __init__(self, environ: Any, *arguments: Any, **values: Any) -> None:
            super().__init__(environ, *arguments, **values)
            self._packed: PackedFiles | None = None
            if self.method == "POST" and self.path in ENDPOINTS:
                self.max_content_length = settings.upload_bytes
                self.max_form_parts = _PARTS[self.path]
                self.max_form_memory_size = _MEMORY_BYTES

        def _get_file_stream(self, *arguments: Any, **values: Any) -> IO[bytes]:
            if self.path not in ENDPOINTS:
                return super()._get_file_stream(*arguments, **values)
            if self._packed is None:
                self._packed = PackedFiles(settings.scratch_dir)
            return self._packed.add()

        def close(self) -> None:
            super().close()
            if self._packed is not None:
                self._packed.file.close()

    return ConsoleRequest


class _ScratchBuffer(FileBasedBuffer):  # type: ignore[misc]  # waitress has no types
    """A body on the disk of the data folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115  (waitress closes it with the request)


def channel_class(app: Flask, settings: Settings) -> type[HTTPChannel]:
    """Connections that take large bodies from those who may upload alone."""

    class Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
        """Decides by the head of a request how much of its body is taken."""

        adj: Any
        content_length: int
        body_rcv: Any

        def parse_header(self, header_plus: bytes) -> None:
            """Parse the head; raises what the server's own parser does."""
            super().parse_header(header_plus)
            if self.content_length < self.adj.max_request_body_size or self.path not in ENDPOINTS:
                return
            refusal = self._refusal()
            if refusal is not None:  # answered at once, with nothing of the body taken
                self.error, self.content_length, self.body_rcv = refusal, 0, None
                return
            self.adj = copy.copy(self.adj)
            self.adj.max_request_body_size = settings.upload_bytes + 1
            self.body_rcv = FixedStreamReceiver(self.content_length, _ScratchBuffer(settings.scratch_dir))

        def _refusal(self) -> Error | None:
            if self.command != "POST" or not may_call(app, ENDPOINTS[self.path], self.headers):
                return RequestEntityTooLarge("Sign in as an operator to upload.")
            if self.content_length > settings.upload_bytes:
                return RequestEntityTooLarge(f"At most {settings.upload_bytes} bytes are taken in one upload.")
            if not has_room(settings, self.content_length):
                return InsufficientStorage("The disk is too full to take the upload. Free some space first.")
            return None

    class Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
        """A connection; when it is cut, what was received of a body is gone at once."""

        parser_class = Parser
        request: Any

        def handle_close(self) -> None:
            """Close the connection."""
            cut_off, self.request = self.request, None
            if cut_off is not None:
                cut_off.close()
            super().handle_close()

    return Channel


def may_call(app: Flask, endpoint: str, headers: Mapping[str, str]) -> bool:
    """Whether who sends these headers (as waitress names them) may call a view."""
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "0",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "HTTP_COOKIE": headers.get("COOKIE", ""),
        "HTTP_AUTHORIZATION": headers.get("AUTHORIZATION", ""),
    }
    with app.request_context(environ):
        return could_call(endpoint)


def has_room(settings: Settings, count: int) -> bool:
    """Whether the disk of the data folder takes an upload of so many bytes and stays above the watermark."""
    status = os.statvfs(settings.data_dir)
    return status.f_bavail * status.f_frsize - _COPIES * count >= 2 * settings.min_free_bytes
