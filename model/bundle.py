"""A trained network as a folder: ``metadata.json`` and the files that it lists with their SHA-256; never code.

The folder is data only: weights are plain arrays (``numpy.load`` with ``allow_pickle=False``), the network is built by
``model.network`` from the metadata. Every file is read once, checked, and used from memory.
"""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.crops import CropConfig
from model.errors import BundleError
from model.naming import NamingConfig
from model.postprocess import Calibration
from model.preprocess import PREPROCESS_VERSION, PreprocessConfig

SCHEMA = "cspine-bundle/2"
METADATA_FILE = "metadata.json"
EMBEDDED_BUNDLE = Path(__file__).parent / "bundles" / "cspine-synthetic"
MAXIMUM_FILE_BYTES = 512 * 1024 * 1024

Settings = TypeVar("Settings")


@dataclass(frozen=True, slots=True)
class NetworkMetadata:
    """One network of a bundle: its encoder, its decoder's channels, and the file of its weights."""

    encoder: str
    decoder: tuple[int, ...]
    weights_file: str


@dataclass(frozen=True, slots=True)
class BundleMetadata:
    """What a bundle says of itself.

    ``levels`` and ``fractures`` describe the two networks; ``files`` maps names to SHA-256; ``operating_points`` maps
    names to thresholds, of which ``operating_point`` is the one in force; ``provenance`` tells data, seeds and
    measurements.
    """

    name: str
    version: str
    levels: NetworkMetadata
    fractures: NetworkMetadata
    preprocess: PreprocessConfig
    crops: CropConfig
    naming: NamingConfig
    calibration: Calibration
    operating_point: str
    operating_points: dict[str, float]
    files: dict[str, str]
    intended_use: str
    limits: str
    provenance: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files were all checked; ``sha256`` is that of ``metadata.json``, which names all others'."""

    name: str
    version: str
    sha256: str
    path: Path
    metadata: BundleMetadata

    def weights(self, network: NetworkMetadata) -> list[NDArray[np.float32]]:
        """A network's weights in its own order; raises ``BundleError`` when they are not what was signed."""
        name = network.weights_file
        content = _checked(self.path, name, self.metadata.files[name])
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return [arrays[key].astype(np.float32) for key in sorted(arrays.files)]
        except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
            raise BundleError(f"bundle {self.name}: {name} is no array file: {error}") from error


def _checked(folder: Path, name: str, sha256: str) -> bytes:
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


def _settings(kind: type[Settings], values: Any, where: str) -> Settings:
    """A settings dataclass from JSON; every field must be there, nothing else may."""
    expected = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]  # only dataclasses are passed
    if not isinstance(values, dict) or set(values) != expected:
        raise BundleError(f"{METADATA_FILE}: {where} must have exactly the fields {sorted(expected)}")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values.values()):
        raise BundleError(f"{METADATA_FILE}: {where} must hold numbers")
    return kind(**values)


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value:
        raise BundleError(f"{METADATA_FILE}: {key} must be a text")
    return value


def _files(document: dict[str, Any]) -> dict[str, str]:
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


def _network(document: dict[str, Any], name: str) -> NetworkMetadata:
    """One entry of ``networks``."""
    networks = document.get("networks")
    entry = networks.get(name) if isinstance(networks, dict) else None
    if not isinstance(entry, dict):
        raise BundleError(f"{METADATA_FILE}: networks must describe {name}")
    decoder = entry.get("decoder")
    if not isinstance(decoder, list) or not all(isinstance(c, int) and 0 < c <= 2048 for c in decoder):
        raise BundleError(f"{METADATA_FILE}: decoder must list channel numbers")
    return NetworkMetadata(_text(entry, "encoder"), tuple(decoder), _text(entry, "weights_file"))


def parse_metadata(content: bytes) -> BundleMetadata:
    """Read ``metadata.json``; raises ``BundleError`` that says what is wrong with it."""
    try:
        document = json.loads(content)
    except ValueError as error:
        raise BundleError(f"{METADATA_FILE} is no JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise BundleError(f"{METADATA_FILE} is not of schema {SCHEMA}")
    if document.get("preprocess_version") != PREPROCESS_VERSION:
        raise BundleError(f"the bundle was trained with other preprocessing than {PREPROCESS_VERSION}")
    points = document.get("operating_points")
    if not isinstance(points, dict) or not all(isinstance(p, float) and 0 < p < 1 for p in points.values()):
        raise BundleError(f"{METADATA_FILE}: operating_points must map names to thresholds within 0..1")
    metadata = BundleMetadata(
        name=_text(document, "name"),
        version=_text(document, "version"),
        levels=_network(document, "levels"),
        fractures=_network(document, "fractures"),
        preprocess=_settings(PreprocessConfig, document.get("preprocess"), "preprocess"),
        crops=_settings(CropConfig, document.get("crops"), "crops"),
        naming=_settings(NamingConfig, document.get("naming"), "naming"),
        calibration=_settings(Calibration, document.get("calibration"), "calibration"),
        operating_point=_text(document, "operating_point"),
        operating_points=points,
        files=_files(document),
        intended_use=_text(document, "intended_use"),
        limits=_text(document, "limits"),
        provenance=document.get("provenance") or {},
    )
    if not {metadata.levels.weights_file, metadata.fractures.weights_file} <= metadata.files.keys():
        raise BundleError(f"{METADATA_FILE}: a weights_file is not among files")
    if metadata.operating_points.get(metadata.operating_point) != metadata.calibration.threshold:
        raise BundleError(f"{METADATA_FILE}: operating_point does not name the threshold in force")
    return metadata


def load_bundle(path: Path | None = None) -> Bundle:
    """The bundle in this folder (None: the embedded one), every file checked; raises ``BundleError`` (permanent)."""
    folder = EMBEDDED_BUNDLE if path is None else path
    try:
        content = (folder / METADATA_FILE).read_bytes()
    except OSError as error:
        raise BundleError(f"no bundle in {folder}: {METADATA_FILE} cannot be read: {error.strerror}") from error
    metadata = parse_metadata(content)
    for name, digest in metadata.files.items():
        _checked(folder, name, digest)
    return Bundle(metadata.name, metadata.version, hashlib.sha256(content).hexdigest(), folder, metadata)
