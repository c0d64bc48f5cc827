"""A trained image network as a folder: ``metadata.json`` and one file of weights with its SHA-256; never code."""

import hashlib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import bundle_files
from model.bundle_files import METADATA_FILE, decoder_channels, settings, text
from model.errors import BundleError
from model.findings import Vertebra
from model.image_config import Approach, ImageNetworkConfig
from model.image_preprocess import IMAGE_PREPROCESS_VERSION, ImageConfig, ImageStatistics
from model.network_config import Encoder

IMAGE_SCHEMA = "cspine-image-bundle/1"
EMBEDDED_IMAGE_BUNDLE = Path(__file__).parent / "bundles" / "cspine-image-synthetic"
WEIGHTS_FILE = "image.npz"

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ImageCalibration:
    """How the network's score becomes the fracture probability, and the threshold in force (``Calibration``)."""

    scale: float = 1.0
    offset: float = 0.0
    threshold: float = 0.5


@dataclass(frozen=True, slots=True)
class ImageBundleMetadata:
    """What an image bundle says of itself.

    ``levels``: those that the network saw examples of. ``seen``: of each statistic of images the span of the training
    images. ``synthetic``: no real image was trained on. ``files`` maps names to SHA-256.
    """

    name: str
    version: str
    network: ImageNetworkConfig
    weights_file: str
    preprocess: ImageConfig
    levels: tuple[Vertebra, ...]
    seen: dict[str, Span]
    synthetic: bool
    calibration: ImageCalibration
    operating_point: str
    operating_points: dict[str, float]
    files: dict[str, str]
    intended_use: str
    limits: str
    provenance: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageBundle:
    """An image bundle whose files were all checked; ``sha256`` is that of ``metadata.json``, which names the others."""

    name: str
    version: str
    sha256: str
    path: Path
    metadata: ImageBundleMetadata

    def weights(self) -> list[NDArray[np.float32]]:
        """The network's weights in its own order; raises ``BundleError`` when they are not what was signed."""
        name = self.metadata.weights_file
        return bundle_files.weights(bundle_files.checked(self.path, name, self.metadata.files[name]), name, self.name)


def load_image_bundle(path: Path | None = None) -> ImageBundle:
    """The image bundle in this folder (None: the embedded one), every file checked; raises ``BundleError``."""
    folder = EMBEDDED_IMAGE_BUNDLE if path is None else path
    content = bundle_files.read_metadata(folder)
    metadata = parse_image_metadata(content)
    for name, digest in metadata.files.items():
        bundle_files.checked(folder, name, digest)
    return ImageBundle(metadata.name, metadata.version, hashlib.sha256(content).hexdigest(), folder, metadata)


def parse_image_metadata(content: bytes) -> ImageBundleMetadata:
    """Read ``metadata.json`` of an image bundle; raises ``BundleError`` that says what is wrong with it."""
    document = bundle_files.metadata_document(content, IMAGE_SCHEMA)
    if document.get("preprocess_version") != IMAGE_PREPROCESS_VERSION:
        raise BundleError(f"the bundle was trained with other preprocessing than {IMAGE_PREPROCESS_VERSION}")
    preprocess = settings(ImageConfig, document.get("preprocess"), "preprocess")
    network, weights_file = _network(document, preprocess)
    metadata = ImageBundleMetadata(
        name=text(document, "name"),
        version=text(document, "version"),
        network=network,
        weights_file=weights_file,
        preprocess=preprocess,
        levels=_levels(document),
        seen=_seen(document),
        synthetic=document.get("synthetic") is not False,
        calibration=settings(ImageCalibration, document.get("calibration"), "calibration"),
        operating_point=text(document, "operating_point"),
        operating_points=bundle_files.operating_points(document),
        files=bundle_files.file_table(document),
        intended_use=text(document, "intended_use"),
        limits=text(document, "limits"),
        provenance=document.get("provenance") or {},
    )
    if weights_file not in metadata.files:
        raise BundleError(f"{METADATA_FILE}: the weights_file is not among files")
    if metadata.operating_points.get(metadata.operating_point) != metadata.calibration.threshold:
        raise BundleError(f"{METADATA_FILE}: operating_point does not name the threshold in force")
    return metadata


def _network(document: dict[str, Any], preprocess: ImageConfig) -> tuple[ImageNetworkConfig, str]:
    """What to build for the standard image's size, and the file of its weights."""
    entry = document.get("network")
    if not isinstance(entry, dict):
        raise BundleError(f"{METADATA_FILE}: network must be described")
    decoder = decoder_channels(entry)
    try:
        approach, encoder = Approach(text(entry, "approach")), Encoder(text(entry, "encoder"))
        config = ImageNetworkConfig(approach, encoder, None, decoder, preprocess.rows, preprocess.columns)
    except (ValueError, TypeError) as error:
        raise BundleError(f"{METADATA_FILE}: network: {error}") from error
    return config, text(entry, "weights_file")


def _levels(document: dict[str, Any]) -> tuple[Vertebra, ...]:
    names = document.get("levels")
    if not isinstance(names, list) or not all(name in Vertebra.__members__ for name in names):
        raise BundleError(f"{METADATA_FILE}: levels must list names of vertebrae")
    return tuple(sorted({Vertebra[name] for name in names}))


def _seen(document: dict[str, Any]) -> dict[str, Span]:
    values = document.get("seen")
    names = {entry.name for entry in fields(ImageStatistics)}
    if not isinstance(values, dict) or set(values) != names:
        raise BundleError(f"{METADATA_FILE}: seen must have exactly the fields {sorted(names)}")
    spans = {}
    for name, span in values.items():
        if not isinstance(span, list) or len(span) != 2 or not all(isinstance(end, int | float) for end in span):
            raise BundleError(f"{METADATA_FILE}: seen: {name} must be two numbers")
        spans[name] = (float(span[0]), float(span[1]))
    return spans
