"""What a bundle may say of itself: numbers within which an analysis keeps its time and memory, texts that fit a row."""

import math
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from model.bundle import METADATA_FILE, Bundle, BundleMetadata
from model.errors import BundleError
from model.network_config import Encoder

NAME_CHARACTERS, VERSION_CHARACTERS = 64, 32
"""As the table of runs has them."""
MAX_STAGES = 8
MAX_UNPACKED_BYTES = 2 * 1024**3

HU = (-5000.0, 20000.0)
LIMITS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "preprocess": {
        "spacing_mm": (0.5, 8.0),
        "band_mm": (5.0, 400.0),
        "neighbor": (0, 32),
        "multiple": (1, 256),
        "low_hu": HU,
        "high_hu": HU,
    },
    "crops": {
        "pixel_mm": (0.3, 8.0),
        "slice_mm": (0.3, 8.0),
        "rows": (16, 512),
        "columns": (16, 512),
        "slices": (1, 128),
        "low_hu": HU,
        "high_hu": HU,
    },
}
"""From and to of what decides on the size of arrays; int bounds ask for a whole number."""


def check_limits(metadata: BundleMetadata) -> None:
    """Raise ``BundleError`` when a number or a text of the description is beyond what is accepted."""
    for text, most in ((metadata.name, NAME_CHARACTERS), (metadata.version, VERSION_CHARACTERS)):
        if len(text) > most or not text.isprintable() or not text.isascii():
            raise BundleError(f"{METADATA_FILE}: name and version must be short and printable ASCII")
    for network in (metadata.levels, metadata.fractures):
        if network.encoder not in set(Encoder) or len(network.decoder) > MAX_STAGES:
            raise BundleError(f"{METADATA_FILE}: a network is of a kind that this version does not know")
    sections = {
        "preprocess": asdict(metadata.preprocess),
        "crops": asdict(metadata.crops),
        "naming": asdict(metadata.naming),
        "calibration": asdict(metadata.calibration),
    }
    for section, values in sections.items():
        for name, value in values.items():
            _check(f"{section}.{name}", value, LIMITS.get(section, {}).get(name, (-1e6, 1e6)))


def check_weights(bundle: Bundle) -> None:
    """Raise ``BundleError`` when arrays would take more memory than is sensible: they are compressed on disk."""
    for network in (bundle.metadata.levels, bundle.metadata.fractures):
        path: Path = bundle.path / network.weights_file
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(info.file_size for info in archive.infolist())
        except (zipfile.BadZipFile, OSError) as error:
            raise BundleError(f"{network.weights_file} of bundle {bundle.name} is no array file") from error
        if size > MAX_UNPACKED_BYTES:
            raise BundleError(f"{network.weights_file} of bundle {bundle.name} unpacks to {size} bytes: not loaded")


def _check(name: str, value: float, limits: tuple[float, float]) -> None:
    low, high = limits
    whole = isinstance(low, int) and isinstance(high, int)
    if not math.isfinite(value) or not low <= value <= high or (whole and not isinstance(value, int)):
        kind = "a whole number" if whole else "a number"
        raise BundleError(f"{METADATA_FILE}: {name} must be {kind} within {low:g}..{high:g}")
