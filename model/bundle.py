"""A trained network as a folder: ``metadata.json`` and the files that it lists with their SHA-256; never code.

The folder is data only: weights are plain arrays (``numpy.load`` with ``allow_pickle=False``), the network is built by
``model.network`` from the metadata. Every file is read once, checked, and used from memory.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import bundle_files
from model.bundle_files import decoder_channels, settings, text
from model.crops import CropConfig
from model.errors import BundleError
from model.naming import NamingConfig
from model.postprocess import Calibration
from model.preprocess import PREPROCESS_VERSION, PreprocessConfig

SCHEMA = "cspine-bundle/2"
METADATA_FILE = bundle_files.METADATA_FILE
EMBEDDED_BUNDLE = Path(__file__).parent / "bundles" / "cspine-synthetic"


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
        content = bundle_files.checked(self.path, name, self.metadata.files[name])
        return bundle_files.weights(content, name, self.name)


def _network(document: dict[str, Any], name: str) -> NetworkMetadata:
    """One entry of ``networks``."""
    networks = document.get("networks")
    entry = networks.get(name) if isinstance(networks, dict) else None
    if not isinstance(entry, dict):
        raise BundleError(f"{METADATA_FILE}: networks must describe {name}")
    return NetworkMetadata(text(entry, "encoder"), decoder_channels(entry), text(entry, "weights_file"))


def parse_metadata(content: bytes) -> BundleMetadata:
    """Read ``metadata.json``; raises ``BundleError`` that says what is wrong with it."""
    document = bundle_files.metadata_document(content, SCHEMA)
    if document.get("preprocess_version") != PREPROCESS_VERSION:
        raise BundleError(f"the bundle was trained with other preprocessing than {PREPROCESS_VERSION}")
    metadata = BundleMetadata(
        name=text(document, "name"),
        version=text(document, "version"),
        levels=_network(document, "levels"),
        fractures=_network(document, "fractures"),
        preprocess=settings(PreprocessConfig, document.get("preprocess"), "preprocess"),
        crops=settings(CropConfig, document.get("crops"), "crops"),
        naming=settings(NamingConfig, document.get("naming"), "naming"),
        calibration=settings(Calibration, document.get("calibration"), "calibration"),
        operating_point=text(document, "operating_point"),
        operating_points=bundle_files.operating_points(document),
        files=bundle_files.file_table(document),
        intended_use=text(document, "intended_use"),
        limits=text(document, "limits"),
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
    content = bundle_files.read_metadata(folder)
    metadata = parse_metadata(content)
    for name, digest in metadata.files.items():
        bundle_files.checked(folder, name, digest)
    return Bundle(metadata.name, metadata.version, hashlib.sha256(content).hexdigest(), folder, metadata)
