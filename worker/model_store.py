"""The installed bundles: ``models/<SHA-256 of metadata.json>/`` in the data folder, whole from the moment they appear.

What is installed is copied file by file into a temporary folder, checked, made durable and renamed: a process that is
killed at any moment leaves either nothing that counts or the whole bundle.
"""

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model.bundle import METADATA_FILE, Bundle, load_bundle, parse_metadata
from model.bundle_files import MAXIMUM_FILE_BYTES
from model.errors import BundleError
from worker import signatures
from worker.bundle_limits import check_limits, check_weights
from worker.bundle_source import BundleSource, bundle_source, chunks
from worker.errors import StartupError
from worker.settings import Settings
from worker.signatures import SIGNATURE_FILE, PublicKeys, read_public_keys

MAX_METADATA_BYTES = 4 * 1024 * 1024
MAX_SIGNATURE_BYTES = 4096
MAX_BUNDLE_BYTES = 2 * 1024 * 1024 * 1024
MAX_FILES = 32
SHORTEST_PREFIX = 6
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TEMPORARY = ".part-"
_LEFT_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One installed bundle as a list shows it; ``problem`` says why its description cannot be read."""

    sha256: str
    name: str
    version: str
    signed: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Installed:
    """What an installation ended with; not ``new``: the same bundle was there already."""

    bundle: Bundle
    new: bool


class ModelStore:
    """The bundles below ``root``. With ``keys``, only bundles signed by one of them are installed or opened."""

    def __init__(self, root: Path, keys: PublicKeys | None = None) -> None:
        self.root = root
        self._keys = keys

    @classmethod
    def of(cls, settings: Settings) -> "ModelStore":
        """The store of these settings; raises ``StartupError`` when the file of public keys cannot be used."""
        path = settings.model_public_keys_file
        return cls(settings.models_dir, None if path is None else read_public_keys(path))

    def install(self, path: Path) -> Installed:
        """Copy the bundle at ``path``, a folder or a zip file, into the store.

        Raises ``BundleError`` for a bundle that is not whole, not understood, beyond the bounds or not signed, and
        ``StartupError`` when the store cannot be written.
        """
        with bundle_source(path) as source, _explained(self.root):
            metadata = b"".join(chunks(source, METADATA_FILE, MAX_METADATA_BYTES))
            signature = None
            if SIGNATURE_FILE in source:
                signature = b"".join(chunks(source, SIGNATURE_FILE, MAX_SIGNATURE_BYTES))
            files = _understood(metadata)
            self._check_signature(metadata, signature)
            sha256 = hashlib.sha256(metadata).hexdigest()
            new = not self._is_whole(sha256)
            if new:
                self._copy(source, sha256, files, metadata)
            if signature is not None:
                self._put_signature(sha256, signature)
        return Installed(self.open(sha256), new)

    def open(self, sha256: str) -> Bundle:
        """The bundle with this SHA-256, every file checked; raises ``BundleError``."""
        folder = self._folder(sha256)
        if not folder.is_dir():
            raise BundleError(f"model {sha256[:12]} is not installed here: run `cspine model install` with its bundle")
        bundle = self.open_folder(folder)
        if bundle.sha256 != sha256:
            raise BundleError(f"{METADATA_FILE} of model {sha256[:12]} was changed: install its bundle again")
        return bundle

    def open_folder(self, folder: Path) -> Bundle:
        """A bundle that lies anywhere (CSPINE_BUNDLE_PATH), checked in the same way."""
        bundle = load_bundle(folder)
        check_weights(bundle)
        content = (folder / METADATA_FILE).read_bytes()
        if hashlib.sha256(content).hexdigest() != bundle.sha256:
            raise BundleError(f"{METADATA_FILE} of {bundle.name} changes while it is read")
        self._check_signature(content, _signature_in(folder))
        return bundle

    def is_there(self, sha256: str) -> bool:
        """Whether a bundle with this SHA-256 is installed, whole or not."""
        return self._folder(sha256).is_dir()

    def entries(self) -> list[Entry]:
        """Every installed bundle as it describes itself, by name and version; its files are not checked."""
        folders = [path for path in self.root.glob("*") if _SHA256.fullmatch(path.name) and path.is_dir()]
        return sorted((_entry(folder) for folder in folders), key=lambda entry: (entry.name, entry.version))

    def find(self, prefix: str) -> str:
        """The SHA-256 of the one installed bundle that begins with ``prefix``; raises ``StartupError``."""
        wanted = prefix.lower()
        if not re.fullmatch(r"[0-9a-f]+", wanted) or not SHORTEST_PREFIX <= len(wanted) <= 64:
            raise StartupError(f"name a model by its SHA-256, at least its first {SHORTEST_PREFIX} digits")
        found = [entry.sha256 for entry in self.entries() if entry.sha256.startswith(wanted)]
        if len(found) != 1:
            count = "no model is" if not found else f"{len(found)} models are"
            raise StartupError(f"{count} installed with a SHA-256 that begins with {wanted}: see `cspine model list`")
        return found[0]

    def remove(self, sha256: str) -> None:
        """Take a bundle out; it disappears as a whole. Raises ``StartupError`` when the store cannot be written."""
        with _explained(self.root):
            shutil.rmtree(self._set_aside(self._folder(sha256)), ignore_errors=True)

    def _folder(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise BundleError("a model is named by the 64 digits of its SHA-256")
        return self.root / sha256

    def _check_signature(self, metadata: bytes, signature: bytes | None) -> None:
        if self._keys is not None:
            signatures.check(metadata, signature, self._keys)

    def _is_whole(self, sha256: str) -> bool:
        try:
            return load_bundle(self._folder(sha256)).sha256 == sha256
        except BundleError:
            return False

    def _put_signature(self, sha256: str, signature: bytes) -> None:
        """Give an installed bundle this signature, in one step."""
        temporary = Path(tempfile.mkdtemp(dir=self.root, prefix=_TEMPORARY))
        try:
            _write(temporary / SIGNATURE_FILE, iter([signature]))
            (temporary / SIGNATURE_FILE).replace(self._folder(sha256) / SIGNATURE_FILE)
            _fsync_folder(self._folder(sha256))
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _copy(self, source: BundleSource, sha256: str, files: dict[str, str], metadata: bytes) -> None:
        """Copy everything into a temporary folder and rename that; an earlier, broken copy is set aside before."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sweep()
        temporary = Path(tempfile.mkdtemp(dir=self.root, prefix=_TEMPORARY))
        try:
            left = MAX_BUNDLE_BYTES
            for name, digest in files.items():
                left -= _write(temporary / name, chunks(source, name, min(left, MAXIMUM_FILE_BYTES)), digest)
            _write(temporary / METADATA_FILE, iter([metadata]), sha256)
            check_weights(load_bundle(temporary))
            _fsync_folder(temporary)
            final = self._folder(sha256)
            if final.exists():
                shutil.rmtree(self._set_aside(final), ignore_errors=True)
            temporary.rename(final)
            for folder in (self.root, self.root.parent):
                _fsync_folder(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _set_aside(self, folder: Path) -> Path:
        """Move a folder into a temporary one, where it no longer counts, and return that."""
        target = Path(tempfile.mkdtemp(dir=self.root, prefix=_TEMPORARY))
        folder.rename(target / folder.name)
        _fsync_folder(self.root)
        return target

    def _sweep(self) -> None:
        """Delete what killed processes left, once it is so old that it belongs to nobody."""
        oldest = time.time() - _LEFT_SECONDS
        for path in self.root.glob(f"{_TEMPORARY}*"):
            if path.stat().st_mtime <= oldest:
                shutil.rmtree(path, ignore_errors=True)


def _understood(metadata: bytes) -> dict[str, str]:
    """The table of files of a description that this program understands; raises ``BundleError``."""
    try:
        parsed = parse_metadata(metadata)
    except RecursionError as error:
        raise BundleError(f"{METADATA_FILE} is nested too deeply") from error
    check_limits(parsed)
    names = list(parsed.files)
    if len(names) > MAX_FILES:
        raise BundleError(f"{METADATA_FILE} lists more than {MAX_FILES} files")
    for name in names:
        if not _PLAIN_NAME.fullmatch(name) or name in {METADATA_FILE, SIGNATURE_FILE}:
            raise BundleError(f"{METADATA_FILE} lists a file whose name is not plain: letters, digits, . _ - only")
    return parsed.files


def _write(path: Path, pieces: Iterator[bytes], sha256: str | None = None) -> int:
    """Write a new file durably, return its size; ``BundleError`` when its content has another SHA-256."""
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for piece in pieces:
            digest.update(piece)
            size += file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    if sha256 is not None and digest.hexdigest() != sha256:
        raise BundleError(f"bundle file {path.name} was changed: its SHA-256 is not the one in {METADATA_FILE}")
    return size


def _entry(folder: Path) -> Entry:
    """What a list shows of an installed bundle."""
    signed = _signature_in(folder) is not None
    try:
        metadata = parse_metadata((folder / METADATA_FILE).read_bytes())
    except (BundleError, OSError, RecursionError):
        return Entry(folder.name, "?", "?", signed, "its metadata.json cannot be read: install it again")
    return Entry(folder.name, metadata.name, metadata.version, signed)


def _signature_in(folder: Path) -> bytes | None:
    """The content of the signature's file of a folder, None where there is none."""
    try:
        with (folder / SIGNATURE_FILE).open("rb") as file:
            return file.read(MAX_SIGNATURE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BundleError(f"{SIGNATURE_FILE} cannot be read: {error.strerror}") from error


@contextmanager
def _explained(root: Path) -> Iterator[None]:
    """What the disk says becomes an error for the operator."""
    try:
        yield
    except OSError as error:
        raise StartupError(f"the models in {root} cannot be written ({error.filename}: {error.strerror})") from error


def _fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
