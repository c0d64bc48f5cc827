"""A program or library of the npm registry that tests need: one version, fetched once, checked, kept in ``.cache``."""

import base64
import fcntl
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import PROJECT
from tests.processes import missing, unavailable

CACHE = PROJECT / ".cache"
DOWNLOAD_SECONDS = 200


@dataclass(frozen=True)
class NpmPackage:
    """A package as it was tried: its name, version, and the digest of its archive as npm writes it.

    ``place`` says where a file of the archive (its path without ``package/``) is kept; None leaves it out.
    """

    name: str
    version: str
    integrity: str
    place: Callable[[str], str | None]

    @property
    def specifier(self) -> str:
        """Name and version as npm takes them."""
        return f"{self.name}@{self.version}"

    @property
    def short_name(self) -> str:
        """Its name as that of a folder."""
        return self.name.strip("@").replace("/", "-")

    def fetched(self) -> Path:
        """The folder with its files, fetched the first time; no network or no npm ends the test."""
        folder = CACHE / f"{self.short_name}-{self.version}"
        CACHE.mkdir(exist_ok=True)
        with (CACHE / f"{self.short_name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two test processes at once: the second finds the work done
            if not folder.is_dir():
                with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{self.short_name}-") as name:
                    archive = self.download(Path(name))
                    self.verify(archive)
                    self.unpack(archive, Path(name) / "files")
                    (Path(name) / "files").rename(folder)
        return folder

    def download(self, folder: Path) -> Path:
        """The archive, from the registry that npm is set up for, without the packages that it was built from."""
        npm = shutil.which("npm") or missing("npm")
        options = ["--ignore-scripts", "--silent", "--fetch-retries=1", "--fetch-retry-mintimeout=2000"]
        command = [npm, "pack", self.specifier, *options]
        try:
            subprocess.run(command, check=True, cwd=folder, capture_output=True, timeout=DOWNLOAD_SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            unavailable(f"npm could not fetch {self.specifier}: is there a network?")
        [archive] = folder.glob("*.tgz")
        return archive

    def verify(self, archive: Path) -> None:
        """Raise ``ValueError`` unless the archive is the one that was tried and written down."""
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if f"sha512-{digest}" != self.integrity:
            raise ValueError(f"this is not the {self.specifier} that was tried: sha512-{digest}")

    def unpack(self, archive: Path, folder: Path) -> None:
        """Write the files that are wanted into ``folder``."""
        with tarfile.open(archive) as opened:
            for member in opened:
                name = self.place(member.name.removeprefix("package/")) if member.isfile() else None
                content = None if name is None else opened.extractfile(member)
                if name is None or content is None:
                    continue
                target = folder / name
                assert target.resolve().is_relative_to(folder.resolve())
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())
