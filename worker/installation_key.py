"""The secret of one installation: a file of 32 random bytes in its data folder, from which keys are derived."""

import hashlib
import hmac
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from worker.errors import StartupError
from worker.settings import Settings

SIZE = 32
FILE_NAME = "installation.key"


@dataclass(frozen=True, slots=True)
class InstallationKey:
    """The secret; ``of`` reads it, and makes it where there is none yet."""

    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The key of this data folder; processes that start at once get the same. Raises ``StartupError``."""
        path = settings.data_dir / FILE_NAME
        try:
            if not path.exists():
                _make(path)
            secret = path.read_bytes()
        except OSError as error:
            raise StartupError(f"{path} cannot be read or made ({error.strerror}): check its folder") from error
        if len(secret) != SIZE:
            raise StartupError(f"{path} has not {SIZE} bytes: restore it, or remove it (everybody signs in again)")
        return cls(secret)

    def derived(self, purpose: str) -> bytes:
        """A key for one purpose."""
        return hmac.digest(self.secret, b"cspine " + purpose.encode(), "sha256")

    def digest(self, purpose: str, text: str) -> str:
        """A keyed hash of a text, in hexadecimal: only who has the key can find out of what."""
        return hmac.new(self.derived(purpose), text.encode(), hashlib.sha256).hexdigest()


def _make(path: Path) -> None:
    """Write a new key under its name unless another process was first; never half-written."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".key-")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SIZE))
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        Path(name).unlink()
