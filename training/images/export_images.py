"""From a run to an image bundle: weights, calibration and thresholds from the validation split, what was seen."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from model.bundle_files import METADATA_FILE
from model.image_bundle import IMAGE_SCHEMA, WEIGHTS_FILE, ImageBundle, ImageCalibration, load_image_bundle
from model.image_preprocess import IMAGE_PREPROCESS_VERSION, network_input
from model.postprocess import probability
from training.datasets.studies import DataSetError
from training.evaluation.figures import auc
from training.fitting.export import choose_thresholds, fit_logistic, weights_bytes
from training.images.fit_images import data_record, trained_images
from training.images.image_batches import labels_of
from training.images.prepared_images import PreparedImages, read_index
from training.preparation.prepared import Split

BATCH = 32
SEEN_PERCENTILES = (0.5, 99.5)
SEEN_MARGIN = 0.15
"""By this share of the span of the training images an image may lie beyond it."""
INTENDED_USE = (
    "Research and testing: the likeliest cervical level and a possible fracture in one picture of a vertebra, for a "
    "radiologist to judge. Not a medical device."
)
LIMITS = (
    "One picture holds neither neighbors nor HU: its level is a guess, and a fracture beside it is not seen. "
    "Performance on other scanners, windows and patients than those trained on is unknown."
)
SYNTHETIC_LIMITS = "Trained on synthetic images alone, without any patient. " + LIMITS

Answers = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class ExportImagesConfig:
    """Settings of ``python -m training images export``."""

    run: Annotated[Path, Field(description="Folder of `images fit`")]
    prepared: Annotated[Path, Field(description="Folder of `images prepare` that the run was trained on")]
    output: Annotated[Path, Field(description="Folder of the bundle to write")]
    name: Annotated[str, Field(description="Name of the bundle", min_length=1)] = "cspine-image"
    version: Annotated[str, Field(description="Version of the bundle", min_length=1)] = "1"


def export_images(config: ExportImagesConfig) -> ImageBundle:
    """Calibrate a trained network on the validation split, write its bundle and load it again, which checks it.

    Raises ``DataSetError`` where the prepared folder is not the one that was trained on.
    """
    prepared, run = read_index(config.prepared), trained_images(config.run)
    if run.record["data"] != data_record(prepared):
        raise DataSetError(f"{config.run} was trained on other images than those in {config.prepared}")
    calibration, points, measured = _calibrated(run.network, prepared)
    content = weights_bytes(run.network)
    config.output.mkdir(parents=True, exist_ok=True)
    (config.output / WEIGHTS_FILE).write_bytes(content)
    document = {
        "schema": IMAGE_SCHEMA,
        "name": config.name,
        "version": config.version,
        "network": {
            "approach": str(run.config.approach),
            "encoder": str(run.config.encoder),
            "decoder": list(run.config.decoder),
            "weights_file": WEIGHTS_FILE,
        },
        "preprocess_version": IMAGE_PREPROCESS_VERSION,
        "preprocess": asdict(prepared.preprocess),
        "levels": [level.name for level in prepared.levels],
        "seen": seen(prepared),
        "synthetic": prepared.synthetic,
        "calibration": asdict(calibration),
        "operating_point": "balanced",
        "operating_points": points,
        "files": {WEIGHTS_FILE: hashlib.sha256(content).hexdigest()},
        "intended_use": INTENDED_USE,
        "limits": SYNTHETIC_LIMITS if prepared.synthetic else LIMITS,
        "provenance": {"training": run.record, "calibration": measured, "remarks": list(prepared.remarks)},
    }
    write_metadata(config.output, document)
    return load_image_bundle(config.output)


def write_metadata(folder: Path, document: dict[str, Any]) -> None:
    """Write ``metadata.json`` of a bundle."""
    text = json.dumps(document, indent=2, sort_keys=True, default=str) + "\n"
    (folder / METADATA_FILE).write_text(text, encoding="utf-8")


def record_evaluation(bundle: ImageBundle, figures: dict[str, object]) -> ImageBundle:
    """Write what was measured into a bundle's metadata, which changes its digest."""
    document = json.loads((bundle.path / METADATA_FILE).read_text(encoding="utf-8"))
    document["provenance"]["evaluation"] = figures
    write_metadata(bundle.path, document)
    return load_image_bundle(bundle.path)


def answers_of(network: Any, prepared: PreparedImages, *splits: Split) -> Answers:
    """What a network says of the images of some splits: ``levels`` (n, 7) and ``fracture`` (n), not calibrated."""
    images = prepared.of(*splits)
    parts: list[dict[str, Any]] = []
    for first in range(0, len(images), BATCH):
        pixels = prepared.pixels(images[first : first + BATCH])
        parts.append(network.predict_on_batch(network_input(pixels)))
    levels = np.concatenate([np.asarray(part["levels"], dtype=np.float64) for part in parts])
    fracture = np.concatenate([np.asarray(part["fracture"], dtype=np.float64).ravel() for part in parts])
    return {"levels": levels, "fracture": fracture}


def seen(prepared: PreparedImages) -> dict[str, list[float]]:
    """Of each statistic the span of the training images, a little widened."""
    images = prepared.of(Split.TRAIN)
    spans = {}
    for name in images[0].statistics:
        low, high = np.percentile([image.statistics[name] for image in images], SEEN_PERCENTILES)
        margin = SEEN_MARGIN * (high - low)
        spans[name] = [round(float(low - margin), 4), round(float(high + margin), 4)]
    return spans


def _calibrated(network: Any, prepared: PreparedImages) -> tuple[ImageCalibration, dict[str, float], dict[str, object]]:
    """Calibration, operating points, and what they were made from."""
    scores = answers_of(network, prepared, Split.VALIDATION)["fracture"]
    told = labels_of(prepared.of(Split.VALIDATION))["fracture"].ravel()
    known = told >= 0
    scores, truth = scores[known], told[known] == 1
    scale, offset = fit_logistic(scores, truth)
    points = choose_thresholds(np.array([probability(float(score), scale, offset) for score in scores]), truth)
    calibration = replace(ImageCalibration(scale, offset), threshold=points.balanced)
    measured: dict[str, object] = {"images": int(known.sum()), "fractured": int(truth.sum()), "auc": auc(scores, truth)}
    return calibration, {"balanced": points.balanced, "high sensitivity": points.sensitive}, measured
