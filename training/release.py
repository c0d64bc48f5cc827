"""Release: the weights of both training runs become a calibrated bundle that records where it comes from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle
from model.crops import CROP_CHANNELS, CropConfig
from model.engine import build_engine, default_runtime
from model.findings import Vertebra
from model.network import FractureNetwork, build_fracture_network, build_unet, sequence_network
from model.network_config import Encoder, NetworkConfig
from model.postprocess import Calibration, probability
from model.predictor import BATCH
from training.checkpoint import WEIGHTS_FILE
from training.crop_cases import RECORD_FILE
from training.crop_sampler import CropCase, crop_images, read_shard
from training.export import BundleSpec, Thresholds, choose_thresholds, export_bundle, fit_logistic
from training.figures import auc
from training.loop import RECORD_FILE as STATE_FILE

STUDIES = 4000
STUDY_SEED = 800
"""How many studies the study's calibration is fitted to, and the seed that puts them together."""


@dataclass(frozen=True, slots=True)
class Release:
    """What to release: the folders of both runs, the bundle's name and version, and crops of seeds of their own.

    ``crops``: folders of ``python -m training crops`` that the fracture scores are calibrated on.
    """

    levels: Path
    fractures: Path
    crops: tuple[Path, ...]
    output: Path
    name: str = "cspine-synthetic"
    version: str = "1"


def _record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    return content


def _config(record: dict[str, Any]) -> NetworkConfig:
    settings = record["config"]["network"]
    return NetworkConfig(Encoder(settings["encoder"]), decoder=tuple(settings["decoder"]))


def trained_levels(folder: Path) -> Any:
    """The level network of a run."""
    network = build_unet(_config(_record(folder)))
    network.load_weights(folder / WEIGHTS_FILE)
    return network


def trained_fractures(folder: Path) -> FractureNetwork:
    """The fracture network of a run, taken out of the sequence in which it was trained."""
    record = _record(folder)
    crops = CropConfig(**record["crops"])
    config = replace(_config(record), height=crops.rows, width=crops.columns)
    network = build_fracture_network(config, CROP_CHANNELS)
    slices = int(record["sample"]["slices"])
    sequence_network(network, slices, (crops.rows, crops.columns, CROP_CHANNELS)).load_weights(folder / WEIGHTS_FILE)
    return network


def release(plan: Release) -> Bundle:
    """Calibrate the fracture network on crops that it never saw and write the bundle.

    Raises ValueError where the crops hold only fractured or only intact levels.
    """
    levels, fractures = trained_levels(plan.levels), trained_fractures(plan.fractures)
    records = {"levels": _record(plan.levels), "fractures": _record(plan.fractures)}
    cases = [case for folder in plan.crops for path in sorted(folder.glob("*.npz")) for case in read_shard(path)]
    scores, truth = crop_scores(fractures, cases), np.array([bool(case.kind) for case in cases])
    calibration, points = calibrated(scores, truth)
    contents = [json.loads((folder / RECORD_FILE).read_text(encoding="utf-8")) for folder in plan.crops]
    measured = {"crops": contents, "levels": len(cases), "fractured": int(truth.sum()), "auc": auc(scores, truth)}
    spec = BundleSpec(
        name=plan.name,
        version=plan.version,
        levels=_config(records["levels"]),
        fractures=_config(records["fractures"]),
        crops=CropConfig(**records["fractures"]["crops"]),
        calibration=calibration,
        balanced=points.balanced,
        sensitive=points.sensitive,
        provenance={"training": records, "calibration": measured},
    )
    return export_bundle(levels, fractures, plan.output, spec)


def crop_scores(network: FractureNetwork, cases: Sequence[CropCase]) -> NDArray[np.float64]:
    """The fracture score (0..1) of every prepared crop, all its slices heard, as in serving."""
    engine = build_engine(network.slices, default_runtime())
    scores = []
    for case in cases:
        images = crop_images(case)
        parts = []
        for first in range(0, len(images), BATCH):
            wanted = np.minimum(np.arange(first, first + BATCH), len(images) - 1)
            parts.append(engine(images[wanted])["features"][: len(images) - first])
        answer = network.pooling(np.concatenate(parts)[None], training=False)
        scores.append(float(keras.ops.convert_to_numpy(answer).ravel()[0]))
    return np.array(scores)


def calibrated(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[Calibration, Thresholds]:
    """Calibration and operating points from scores of levels and whether each is fractured; ValueError for one class.

    The study's calibration is fitted to studies put together at random from these levels, seven each, a third of them
    without a fracture and of the others each level fractured with a chance of 0.3, as the generator makes studies.
    """
    scale, offset = fit_logistic(scores, truth)
    rng = np.random.default_rng(STUDY_SEED)
    broken = (rng.random((STUDIES, len(Vertebra))) < 0.3) & (rng.random((STUDIES, 1)) > 0.33)
    drawn = np.where(broken, rng.choice(scores[truth], broken.shape), rng.choice(scores[~truth], broken.shape))
    whole = fit_logistic(drawn.max(axis=1), np.asarray(broken.any(axis=1)))
    points = choose_thresholds(np.array([probability(score, scale, offset) for score in scores]), truth)
    return Calibration(scale, offset, *whole), points
