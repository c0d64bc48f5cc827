"""The files of single images: kept under random names until they are judged or too old; they may show a patient's name.

Their names stand in the records alone: nothing of an upload's own names gets here.
"""

import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

_NAME = re.compile(r"[0-9a-f]{32}")


class ImageFiles:
    """The files below ``root``, which is made when it is needed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def keep(self, content: Iterable[bytes]) -> str:
        """Store a file durably and return its name; raises OSError, and what ``content`` does, with nothing kept."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = secrets.token_hex(16)
        path = self.root / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with ExitStack() as undone:
            undone.callback(path.unlink, missing_ok=True)
            with os.fdopen(descriptor, "wb") as file:
                for chunk in content:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            undone.pop_all()
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return name

    def path(self, name: str) -> Path:
        """The file of this name, which the records hold."""
        if not _NAME.fullmatch(name):
            raise ValueError("not a name of this store")
        return self.root / name

    def remove(self, name: str | None) -> None:
        """Delete a file; None, and one that is gone, are fine."""
        if name is not None:
            self.path(name).unlink(missing_ok=True)

    def older(self, timestamp: float) -> Iterator[str]:
        """The names of the files that were written before this time."""
        for path in self.root.glob("*"):
            if _NAME.fullmatch(path.name) and path.stat().st_mtime < timestamp:
                yield path.name
