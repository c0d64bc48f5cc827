"""The files of any bundle: read once, checked against their SHA-256, weights as plain arrays, metadata that is JSON."""

import hashlib
import io
import json
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.errors import BundleError

METADATA_FILE = "metadata.json"
MAXIMUM_FILE_BYTES = 512 * 1024 * 1024

Settings = TypeVar("Settings")


def read_metadata(folder: Path) -> bytes:
    """The bytes of ``metadata.json``; raises ``BundleError`` where there is none."""
    try:
        return (folder / METADATA_FILE).read_bytes()
    except OSError as error:
        raise BundleError(f"no bundle in {folder}: {METADATA_FILE} cannot be read: {error.strerror}") from error


def metadata_document(content: bytes, schema: str) -> dict[str, Any]:
    """The JSON object in ``metadata.json``, which must be of this schema."""
    try:
        document = json.loads(content)
    except ValueError as error:
        raise BundleError(f"{METADATA_FILE} is no JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != schema:
        raise BundleError(f"{METADATA_FILE} is not of schema {schema}")
    return document


def checked(folder: Path, name: str, sha256: str) -> bytes:
    """The bytes of one file of the folder, if they have this SHA-256."""
    path = folder / name
    try:
        if path.stat().st_size > MAXIMUM_FILE_BYTES:
            raise BundleError(f"bundle file {name} is larger than {MAXIMUM_FILE_BYTES} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"bundle file {name} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BundleError(f"bundle file {name} was changed: its SHA-256 is not the one in {METADATA_FILE}")
    return content


def weights(content: bytes, name: str, bundle: str) -> list[NDArray[np.float32]]:
    """The arrays of a weights file in their order; raises ``BundleError`` when it is none."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return [arrays[key].astype(np.float32) for key in sorted(arrays.files)]
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise BundleError(f"bundle {bundle}: {name} is no array file: {error}") from error


def settings(kind: type[Settings], values: Any, where: str) -> Settings:
    """A settings dataclass from JSON; every field must be there, nothing else may."""
    expected = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]  # only dataclasses are passed
    if not isinstance(values, dict) or set(values) != expected:
        raise BundleError(f"{METADATA_FILE}: {where} must have exactly the fields {sorted(expected)}")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values.values()):
        raise BundleError(f"{METADATA_FILE}: {where} must hold numbers")
    return kind(**values)


def text(document: dict[str, Any], key: str) -> str:
    """A text of the metadata that must be there."""
    value = document.get(key)
    if not isinstance(value, str) or not value:
        raise BundleError(f"{METADATA_FILE}: {key} must be a text")
    return value


def file_table(document: dict[str, Any]) -> dict[str, str]:
    """The table of files: plain names inside the folder, each with a SHA-256."""
    files = document.get("files")
    if not isinstance(files, dict) or not files:
        raise BundleError(f"{METADATA_FILE}: files must map names to SHA-256")
    for name, digest in files.items():
        if Path(name).name != name or name in {"", ".", "..", METADATA_FILE} or "\\" in name:
            raise BundleError(f"{METADATA_FILE}: {name!r} is no plain file name")
        if not isinstance(digest, str) or len(digest) != 64:
            raise BundleError(f"{METADATA_FILE}: {name} has no SHA-256")
    return files


def decoder_channels(entry: dict[str, Any]) -> tuple[int, ...]:
    """The decoder's channels of a network's entry."""
    decoder = entry.get("decoder")
    if not isinstance(decoder, list) or not all(isinstance(c, int) and 0 < c <= 2048 for c in decoder):
        raise BundleError(f"{METADATA_FILE}: decoder must list channel numbers")
    return tuple(decoder)


def operating_points(document: dict[str, Any]) -> dict[str, float]:
    """The thresholds by name."""
    points = document.get("operating_points")
    if not isinstance(points, dict) or not all(isinstance(p, float) and 0 < p < 1 for p in points.values()):
        raise BundleError(f"{METADATA_FILE}: operating_points must map names to thresholds within 0..1")
    return points
