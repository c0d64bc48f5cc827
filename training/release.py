"""Release: the weights of a training run become a calibrated bundle that records where it comes from."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from model.bundle import Bundle
from model.network import Encoder, NetworkConfig, build_unet
from model.postprocess import PostprocessConfig
from model.predictor import Predictor
from training.atlas import Atlas, load_atlas
from training.evaluate import evaluate
from training.export import BundleSpec, calibrate, export_bundle
from training.fit import STATE_FILE, WEIGHTS_FILE

CALIBRATION_SEED = 800_000_000
"""Seeds of calibration studies start here: neither training nor test uses them."""


def release(folder: Path, output: Path, *, name: str, version: str, studies: int, atlas_folder: Path | None) -> Bundle:
    """Calibrate the run in ``folder`` on synthetic studies (with an atlas: half from it) and write the bundle."""
    record = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    settings = record["config"]["network"]
    network_config = NetworkConfig(Encoder(settings["encoder"]), decoder=tuple(settings["decoder"]))
    network = build_unet(network_config)
    network.load_weights(folder / WEIGHTS_FILE)
    spec = BundleSpec(name=name, version=version, network=network_config, provenance={"training": record})
    predictor = Predictor(export_bundle(network, output, spec))
    sources: list[Atlas | None] = [None, load_atlas(atlas_folder)] if atlas_folder else [None]
    share = max(1, studies // len(sources))
    measured = [evaluate(predictor, share, seed=CALIBRATION_SEED, atlas=source) for source in sources]
    scores, truth = (np.concatenate(part) for part in zip(*(result.scores() for result in measured), strict=True))
    fitted = calibrate(scores, truth)
    postprocess = PostprocessConfig(fracture_scale=fitted.scale, fracture_offset=fitted.offset)
    provenance = {"training": record, "calibration": [result.as_json() for result in measured]}
    calibrated = replace(
        spec, postprocess=postprocess, balanced=fitted.balanced, sensitive=fitted.sensitive, provenance=provenance
    )
    return export_bundle(network, output, calibrated)
