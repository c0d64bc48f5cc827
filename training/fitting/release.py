"""Release: the weights of both training runs become a calibrated bundle that records where it comes from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from model.preprocess import PreprocessConfig
from training.datasets.studies import DataSetError
from training.evaluation.figures import auc
from training.fitting.batches import read_all
from training.fitting.checkpoint import BEST_FILE, WEIGHTS_FILE
from training.fitting.crop_sampler import CropCase, StoredCrop, crop_images, stored_crops
from training.fitting.export import (
    LIMITS,
    NEEDS,
    BundleSpec,
    Thresholds,
    choose_thresholds,
    export_bundle,
    fit_logistic,
)
from training.fitting.loop import RECORD_FILE as RUN_FILE
from training.fitting.provenance import data_record, versions
from training.fitting.release_config import Chosen, Release
from training.preparation.crop_cases import RECORD_FILE
from training.preparation.prepared import Split

STUDIES = 4000
STUDY_SEED = 800
"""How many studies the study's calibration is fitted to, and the seed that puts them together."""


def _record(folder: Path) -> dict[str, Any]:
    """What a run tells of itself; ``DataSetError`` where there is none."""
    try:
        content: dict[str, Any] = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataSetError(f"{folder} holds no run of `python -m training fit` ({RUN_FILE}: {error})") from error
    return content


def _config(record: dict[str, Any]) -> NetworkConfig:
    settings = record["config"]["network"]
    return NetworkConfig(Encoder(settings["encoder"]), decoder=tuple(settings["decoder"]))


def _weights(folder: Path, chosen: Chosen) -> Path:
    """The chosen weights of a run: the latest where no validation said which are best."""
    best = folder / BEST_FILE
    return best if chosen is Chosen.BEST and best.is_file() else folder / WEIGHTS_FILE


def trained_levels(folder: Path, chosen: Chosen = Chosen.BEST) -> Any:
    """The level network of a run."""
    network = build_unet(_config(_record(folder)))
    network.load_weights(_weights(folder, chosen))
    return network


def trained_fractures(folder: Path, chosen: Chosen = Chosen.BEST) -> FractureNetwork:
    """The fracture network of a run, taken out of the sequence in which it was trained."""
    record = _record(folder)
    crops = CropConfig(**record["crops"])
    config = replace(_config(record), height=crops.rows, width=crops.columns)
    network = build_fracture_network(config, CROP_CHANNELS)
    slices = int(record["sample"]["slices"])
    sequence = sequence_network(network, slices, (crops.rows, crops.columns, CROP_CHANNELS))
    sequence.load_weights(_weights(folder, chosen))
    return network


def release(plan: Release) -> Bundle:
    """Calibrate the fracture network on levels that no step was trained on and write the bundle.

    Raises ``DataSetError`` where there are none, where they were prepared otherwise than what was trained on, or where
    they hold only fractured or only intact levels.
    """
    records = {"levels": _record(plan.levels), "fractures": _record(plan.fractures)}
    preprocess = PreprocessConfig(**records["levels"]["slices"]["preprocess"])
    crops = CropConfig(**records["fractures"]["crops"])
    cases, studies = _calibration_cases(plan, preprocess, crops)
    levels, fractures = trained_levels(plan.levels, plan.weights), trained_fractures(plan.fractures, plan.weights)
    scores, truth = crop_scores(fractures, cases), np.array([bool(case.kind) for case in cases])
    try:
        calibration, points = calibrated(scores, truth, studies)
    except ValueError as error:
        raise DataSetError(f"{error}: name more prepared folders or more crops to calibrate on") from error
    spec = BundleSpec(
        name=plan.name,
        version=plan.version,
        levels=_config(records["levels"]),
        fractures=_config(records["fractures"]),
        preprocess=preprocess,
        crops=crops,
        calibration=calibration,
        balanced=points.balanced,
        sensitive=points.sensitive,
        limits=limits_of(records),
        provenance={
            "training": records,
            "weights": {stage: _weights(getattr(plan, stage), plan.weights).name for stage in records},
            "calibration": _calibration_record(plan, scores, truth, studies),
            "versions": versions(),
        },
    )
    return export_bundle(levels, fractures, plan.output, spec)


def _calibration_cases(
    plan: Release, preprocess: PreprocessConfig, crops: CropConfig
) -> tuple[list[StoredCrop], NDArray[np.intp]]:
    """The crops to calibrate on, and the number of the study of each."""
    folders = read_all(plan.prepared)
    for folder in folders:
        if (folder.preprocess, folder.crops) != (preprocess, crops):
            raise DataSetError(f"{folder.folder} has other settings than what was trained on: prepare it with the same")
    files = [path for folder in folders for path in folder.crop_files(Split.VALIDATION)]
    synthetic = [path for folder in plan.crops for path in sorted(folder.glob("*.npz"))]
    cases = [crop for path in (*files, *synthetic) for crop in stored_crops(path)]
    if not cases:
        raise DataSetError(
            "no levels to calibrate fractures on: name prepared folders with a validation split, or crops"
        )
    paths = {path: number for number, path in enumerate(files)}
    return cases, np.array([paths.get(case.shard.path, -1) for case in cases])


def _calibration_record(
    plan: Release, scores: NDArray[np.float64], truth: NDArray[np.bool_], studies: NDArray[np.intp]
) -> dict[str, object]:
    return {
        "crops": [json.loads((folder / RECORD_FILE).read_text(encoding="utf-8")) for folder in plan.crops],
        "prepared": data_record(read_all(plan.prepared)),
        "split": str(Split.VALIDATION) if plan.prepared else None,
        "studies": len(np.unique(studies[studies >= 0])),
        "levels": len(truth),
        "fractured": int(truth.sum()),
        "auc": auc(scores, truth),
    }


def limits_of(records: Mapping[str, Mapping[str, Any]]) -> str:
    """What a bundle may be trusted with, from what its networks were trained on."""
    sets = {name for record in records.values() for one in record.get("prepared", []) for name in one["data_sets"]}
    if not sets:
        return LIMITS
    synthetic = any(record.get("synthetic_share", 1.0) > 0 for record in records.values())
    trained_on = ", ".join(sorted(sets)) + (" and synthetic CT" if synthetic else "")
    return f"Trained on {trained_on}: performance elsewhere is unknown until it is measured there. {NEEDS}"


def crop_scores(network: FractureNetwork, cases: Sequence[CropCase | StoredCrop]) -> NDArray[np.float64]:
    """The fracture score (0..1) of every prepared crop, all its slices heard, as in serving."""
    engine = build_engine(network.slices, default_runtime())
    scores = []
    for case in cases:
        images = crop_images(case.read())
        parts = []
        for first in range(0, len(images), BATCH):
            wanted = np.minimum(np.arange(first, first + BATCH), len(images) - 1)
            parts.append(engine(images[wanted])["features"][: len(images) - first])
        answer = network.pooling(np.concatenate(parts)[None], training=False)
        scores.append(float(keras.ops.convert_to_numpy(answer).ravel()[0]))
    return np.array(scores)


def calibrated(
    scores: NDArray[np.float64], truth: NDArray[np.bool_], studies: NDArray[np.intp] | None = None
) -> tuple[Calibration, Thresholds]:
    """Calibration and operating points from scores of levels and whether each is fractured; ValueError for one class.

    ``studies``: the number of each level's study, -1 for none. The study's calibration is fitted to these studies, or,
    where they are not both fractured and intact, to studies put together at random from the levels: seven each, a third
    of them without a fracture and of the others each level fractured with a chance of 0.3, as the generator makes them.
    """
    scale, offset = fit_logistic(scores, truth)
    points = choose_thresholds(np.array([probability(score, scale, offset) for score in scores]), truth)
    numbers = np.unique(studies[studies >= 0]) if studies is not None else np.array([], dtype=np.intp)
    highest = np.array([scores[studies == number].max() for number in numbers])
    broken = np.array([truth[studies == number].any() for number in numbers], dtype=np.bool_)
    if broken.all() or not broken.any():
        rng = np.random.default_rng(STUDY_SEED)
        drawn = (rng.random((STUDIES, len(Vertebra))) < 0.3) & (rng.random((STUDIES, 1)) > 0.33)
        values = np.where(drawn, rng.choice(scores[truth], drawn.shape), rng.choice(scores[~truth], drawn.shape))
        highest, broken = values.max(axis=1), np.asarray(drawn.any(axis=1))
    return Calibration(scale, offset, *fit_logistic(highest, broken)), points
