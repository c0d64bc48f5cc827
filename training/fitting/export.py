"""From the weights of both networks to a bundle: float16 arrays, metadata with SHA-256 of every file, no code."""

import hashlib
import io
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from model.bundle import METADATA_FILE, SCHEMA, Bundle, load_bundle
from model.crops import CropConfig
from model.naming import NamingConfig
from model.network import FractureNetwork
from model.network_config import NetworkConfig, compact_config
from model.postprocess import Calibration
from model.preprocess import PREPROCESS_VERSION, PreprocessConfig

LEVELS_FILE = "levels.npz"
FRACTURES_FILE = "fractures.npz"
SPECIFICITY = 0.97
SENSITIVITY = 0.95
INTENDED_USE = (
    "Research and testing of the cspine worker: naming C1 to C7 in CT and pointing to possible fractures for a "
    "radiologist to judge. Not a medical device."
)
NEEDS = "Needs an adult neck, slices of 2 mm or less and a plausible HU scale."
LIMITS = f"Trained on synthetic CT alone, without any real fracture: performance on patients is unknown. {NEEDS}"


@dataclass(frozen=True, slots=True)
class BundleSpec:
    """How the bundle describes itself; ``balanced`` and ``sensitive`` are thresholds on the fracture probability."""

    name: str = "cspine-synthetic"
    version: str = "1"
    levels: NetworkConfig = field(default_factory=compact_config)
    fractures: NetworkConfig = field(default_factory=compact_config)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    crops: CropConfig = field(default_factory=CropConfig)
    naming: NamingConfig = field(default_factory=NamingConfig)
    calibration: Calibration = field(default_factory=Calibration)
    balanced: float = 0.5
    sensitive: float = 0.25
    limits: str = LIMITS
    provenance: dict[str, object] = field(default_factory=dict)


def weights_bytes(network: Any) -> bytes:
    """The weights in network order as compressed arrays: kernels as float16, vectors as float32."""
    arrays = {
        f"{position:05d}": array.astype(np.float16 if array.ndim > 1 else np.float32)
        for position, array in enumerate(network.get_weights())
    }
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def export_bundle(levels: Any, fractures: FractureNetwork, folder: Path, spec: BundleSpec) -> Bundle:
    """Write the bundle and load it again, which checks it."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {LEVELS_FILE: weights_bytes(levels), FRACTURES_FILE: weights_bytes(fractures)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    networks = {
        "levels": _described(spec.levels, LEVELS_FILE),
        "fractures": _described(spec.fractures, FRACTURES_FILE),
    }
    document = {
        "schema": SCHEMA,
        "name": spec.name,
        "version": spec.version,
        "networks": networks,
        "preprocess_version": PREPROCESS_VERSION,
        "preprocess": asdict(spec.preprocess),
        "crops": asdict(spec.crops),
        "naming": asdict(spec.naming),
        "calibration": asdict(replace(spec.calibration, threshold=spec.balanced)),
        "operating_point": "balanced",
        "operating_points": {"balanced": spec.balanced, "high sensitivity": spec.sensitive},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "intended_use": INTENDED_USE,
        "limits": spec.limits,
        "provenance": spec.provenance,
    }
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    (folder / METADATA_FILE).write_text(text, encoding="utf-8")
    return load_bundle(folder)


def _described(network: NetworkConfig, weights_file: str) -> dict[str, object]:
    return {"encoder": str(network.encoder), "decoder": list(network.decoder), "weights_file": weights_file}


def fit_logistic(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """Scale and offset that turn the logit of scores (0..1) into that of probabilities (Platt); both classes needed."""
    if truth.all() or not truth.any():
        raise ValueError("calibration needs fractured and intact levels")
    clipped = np.clip(scores, 1e-5, 1 - 1e-5)
    logits = np.log(clipped / (1 - clipped))

    def cost(parameters: NDArray[np.float64]) -> float:
        value = parameters[0] * logits + parameters[1]
        entropy = np.logaddexp(0, value) - truth * value
        return float(entropy.mean() + 1e-3 * (parameters[0] - 1) ** 2)

    scale, offset = optimize.minimize(cost, np.array([1.0, 0.0]), bounds=[(0.05, 20), (-30, 30)]).x
    return float(scale), float(offset)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Two operating points on the calibrated probability."""

    balanced: float
    sensitive: float


def choose_thresholds(probability: NDArray[np.float64], truth: NDArray[np.bool_]) -> Thresholds:
    """Operating points from calibrated probabilities of levels and whether each is fractured.

    The balanced one calls at least 97 of 100 intact levels intact; the sensitive one is the highest that still finds 95
    of 100 fractures, never above the balanced one.
    """
    if truth.all() or not truth.any():
        raise ValueError("calibration needs fractured and intact levels")
    quiet = float(np.quantile(probability[~truth], SPECIFICITY, method="higher"))
    balanced = float(np.clip(np.ceil(quiet * 1e4) / 1e4 + 1e-4, 0.01, 0.99))
    sensitive = float(np.clip(np.quantile(probability[truth], 1 - SENSITIVITY), 0.01, balanced))
    return Thresholds(round(balanced, 4), round(sensitive, 4))
