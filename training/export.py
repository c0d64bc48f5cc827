"""From trained weights to a bundle: float16 arrays, metadata with SHA-256 of every file, no code."""

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
from model.network import NetworkConfig
from model.postprocess import PostprocessConfig
from model.preprocess import PREPROCESS_VERSION, PreprocessConfig

WEIGHTS_FILE = "weights.npz"
SPECIFICITY = 0.97
INTENDED_USE = (
    "Research and testing of the cspine worker: naming C1 to C7 in CT and pointing to possible fractures for a "
    "radiologist to judge. Not a medical device."
)
LIMITS = (
    "Trained on synthetic CT alone, without any real fracture: performance on patients is unknown. Needs an adult "
    "neck, slices of 2 mm or less and a plausible HU scale."
)


@dataclass(frozen=True, slots=True)
class BundleSpec:
    """How the bundle describes itself; ``balanced`` and ``sensitive`` are thresholds on the fracture probability."""

    name: str = "cspine-synthetic"
    version: str = "1"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    balanced: float = 0.5
    sensitive: float = 0.25
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


def export_bundle(network: Any, folder: Path, spec: BundleSpec) -> Bundle:
    """Write the bundle and load it again, which checks it."""
    folder.mkdir(parents=True, exist_ok=True)
    content = weights_bytes(network)
    (folder / WEIGHTS_FILE).write_bytes(content)
    document = {
        "schema": SCHEMA,
        "name": spec.name,
        "version": spec.version,
        "encoder": str(spec.network.encoder),
        "decoder": list(spec.network.decoder),
        "weights_file": WEIGHTS_FILE,
        "preprocess_version": PREPROCESS_VERSION,
        "preprocess": asdict(spec.preprocess),
        "postprocess": asdict(replace(spec.postprocess, threshold=spec.balanced)),
        "operating_point": "balanced",
        "operating_points": {"balanced": spec.balanced, "high sensitivity": spec.sensitive},
        "files": {WEIGHTS_FILE: hashlib.sha256(content).hexdigest()},
        "intended_use": INTENDED_USE,
        "limits": LIMITS,
        "provenance": spec.provenance,
    }
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    (folder / METADATA_FILE).write_text(text, encoding="utf-8")
    return load_bundle(folder)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Logistic calibration of fracture scores, and the two thresholds on the calibrated probability."""

    scale: float
    offset: float
    balanced: float
    sensitive: float


def calibrate(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> Calibration:
    """Fit the calibration: ``scores`` (0..1) of levels and whether each is fractured; both classes must occur.

    The balanced threshold calls at least 97 of 100 intact levels intact; the sensitive one is the highest that still
    finds 95 of 100 fractures, never above the balanced one.
    """
    if truth.all() or not truth.any():
        raise ValueError("calibration needs fractured and intact levels")
    clipped = np.clip(scores, 1e-5, 1 - 1e-5)
    logits = np.log(clipped / (1 - clipped))

    def cost(parameters: NDArray[np.float64]) -> float:
        value = parameters[0] * logits + parameters[1]
        entropy = np.logaddexp(0, value) - truth * value
        return float(entropy.mean() + 1e-3 * (parameters[0] - 1) ** 2)

    scale, offset = optimize.minimize(cost, np.array([1.0, 0.0]), bounds=[(0.05, 20), (-30, 30)]).x
    probability = 1 / (1 + np.exp(-(scale * logits + offset)))
    quiet = float(np.quantile(probability[~truth], SPECIFICITY, method="higher"))
    balanced = float(np.clip(np.ceil(quiet * 1e4) / 1e4 + 1e-4, 0.01, 0.99))
    sensitive = float(np.clip(np.quantile(probability[truth], 0.05), 0.01, balanced))
    return Calibration(float(scale), float(offset), round(balanced, 4), round(sensitive, 4))
