"""Small image bundles for tests: random weights, whole metadata, written as ``training`` writes them."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from model.image_bundle import IMAGE_SCHEMA, WEIGHTS_FILE, ImageCalibration
from model.image_config import Approach, image_network_config
from model.image_network import build_image_network
from model.image_preprocess import IMAGE_PREPROCESS_VERSION, ImageConfig
from model.network_config import Encoder

SEEN = {"mean": [0.0, 1.0], "deviation": [0.0, 1.0], "dark": [0.0, 1.0], "bright": [0.0, 1.0], "edges": [0.0, 0.2]}


def write_image_bundle(folder: Path, approach: Approach = Approach.ENCODER_DECODER, **changes) -> Path:
    """A bundle whose network has random weights; ``changes`` replace entries of its metadata."""
    preprocess = ImageConfig(rows=64, columns=64)
    config = image_network_config(approach, Encoder.COMPACT, None, 64, 64)
    network = build_image_network(config)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"{k:05d}": values for k, values in enumerate(network.get_weights())}
    np.savez_compressed(folder / WEIGHTS_FILE, **arrays)
    document = {
        "schema": IMAGE_SCHEMA,
        "name": "tiny",
        "version": "1",
        "network": {
            "approach": str(config.approach),
            "encoder": str(config.encoder),
            "decoder": list(config.decoder),
            "weights_file": WEIGHTS_FILE,
        },
        "preprocess_version": IMAGE_PREPROCESS_VERSION,
        "preprocess": asdict(preprocess),
        "levels": [f"C{level}" for level in range(1, 8)],
        "seen": SEEN,
        "synthetic": True,
        "calibration": asdict(ImageCalibration()),
        "operating_point": "balanced",
        "operating_points": {"balanced": 0.5},
        "files": {WEIGHTS_FILE: hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()},
        "intended_use": "Tests. Not a medical device.",
        "limits": "Random weights.",
    }
    (folder / "metadata.json").write_text(json.dumps(document | changes))
    return folder
