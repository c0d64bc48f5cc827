"""Measure an image bundle on the test split: levels and fractures; intervals resample whole source studies."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.findings import Vertebra
from model.image_bundle import ImageBundle, load_image_bundle
from model.image_findings import ImageLimitation
from model.image_predictor import load_image_network, sorted_levels
from model.image_preprocess import network_input
from model.postprocess import probability
from training.config import config_text
from training.datasets.studies import DataSetError
from training.evaluation.bootstrap import Estimate
from training.evaluation.calibration import calibration
from training.evaluation.figures import FractureStatistics, Share, fracture_statistics, share
from training.evaluation.tables import estimate_text, markdown_table, share_text
from training.images.export_images import answers_of, record_evaluation
from training.images.image_evaluate_config import EvaluateImagesConfig
from training.images.prepared_images import PreparedImage, PreparedImages, read_index
from training.preparation.prepared import Split

TIMED = 20
INTERVALS = "Intervals: 95 %, source studies resampled. Not a medical device."


@dataclass(frozen=True, slots=True)
class LevelFigures:
    """How well levels are named; None without a named image. ``confusion`` (true, said) counts images."""

    right: Share | None
    among_two: Share | None
    within_one: Share | None
    confusion: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class ImageEvaluation:
    """What was measured on one test split.

    ``fractures``: over all images; ``by_level``: of images of a level; ``points``: at the bundle's other thresholds.
    ``ece``: expected calibration error. ``warned``: images to which the bundle says a limitation, by its name.
    """

    data: str
    synthetic: bool
    images: int
    studies: int
    levels: LevelFigures
    fractures: FractureStatistics
    by_level: dict[Vertebra, FractureStatistics]
    points: dict[str, FractureStatistics]
    ece: Estimate | None
    warned: dict[str, int]
    milliseconds: float

    def as_json(self) -> dict[str, object]:
        """The figures as plain JSON values."""
        shares = {name: getattr(self.levels, name) for name in ("right", "among_two", "within_one")}
        return {
            "data": self.data,
            "synthetic": self.synthetic,
            "images": self.images,
            "studies": self.studies,
            "levels": {name: one.as_json() if one else None for name, one in shares.items()},
            "confusion": self.levels.confusion.tolist(),
            "fractures": self.fractures.as_json(),
            "by_level": {level.name: one.as_json() for level, one in self.by_level.items()},
            "points": {name: one.as_json() for name, one in self.points.items()},
            "ece": self.ece.as_json() if self.ece else None,
            "warned": self.warned,
            "milliseconds": round(self.milliseconds, 1),
        }


def run_evaluation(config: EvaluateImagesConfig) -> str:
    """Measure as the settings say; returns the figures as Markdown."""
    bundle = load_image_bundle(config.bundle)
    found = evaluate_images(bundle, read_index(config.prepared))
    text = report_text(found, bundle)
    if config.figures is not None:
        config.figures.write_text(json.dumps(found.as_json(), indent=2) + "\n", encoding="utf-8")
        config.figures.with_suffix(".toml").write_text(config_text(config), encoding="utf-8")
    if config.into_bundle:
        record_evaluation(bundle, found.as_json())
    return text


def evaluate_images(bundle: ImageBundle, prepared: PreparedImages) -> ImageEvaluation:
    """Measure a bundle on the test split of a prepared folder.

    Raises ``DataSetError`` where images were prepared with other settings than the bundle's, or none are there.
    """
    images = prepared.of(Split.TEST)
    if not images:
        raise DataSetError(f"the test split of {prepared.folder} is empty: prepare it with a share for it")
    if prepared.preprocess != bundle.metadata.preprocess:
        raise DataSetError(f"{prepared.folder} was prepared with other settings than bundle {bundle.name} has")
    network = load_image_network(bundle)
    answers = answers_of(network, prepared, Split.TEST)
    numbers = np.unique([image.group for image in images], return_inverse=True)[1].astype(np.intp)
    known = np.array([image.fractured is not None for image in images])
    calibrated = bundle.metadata.calibration
    scores = np.array([probability(float(s), calibrated.scale, calibrated.offset) for s in answers["fracture"]])
    truth = np.array([bool(image.fractured) for image in images])
    levels = np.array([0 if image.level is None else int(image.level) for image in images])

    def statistics(chosen: NDArray[np.bool_], threshold: float) -> FractureStatistics:
        return fracture_statistics(scores[chosen], truth[chosen], numbers[chosen], threshold)

    measured = calibration(scores[known], truth[known], numbers[known])
    return ImageEvaluation(
        prepared.data,
        prepared.synthetic,
        len(images),
        len(set(numbers.tolist())),
        _levels(answers["levels"], levels, numbers, bundle.metadata.levels),
        statistics(known, calibrated.threshold),
        {level: statistics(known & (levels == level), calibrated.threshold) for level in Vertebra if level in levels},
        {name: statistics(known, point) for name, point in bundle.metadata.operating_points.items()},
        measured.error if measured else None,
        _warned(bundle, images),
        _milliseconds(network, prepared, images),
    )


def _milliseconds(network: Any, prepared: PreparedImages, images: Sequence[PreparedImage]) -> float:
    """The time that the network takes for one image, by the median of some."""
    seconds = []
    for image in [images[0], *images[:TIMED]]:
        batch = network_input(prepared.pixels([image]))
        started = time.perf_counter()
        network.predict_on_batch(batch)
        seconds.append(time.perf_counter() - started)
    return 1000 * float(np.median(seconds[1:]))


def _levels(
    values: NDArray[np.float64], truth: NDArray[np.intp], numbers: NDArray[np.intp], known: tuple[Vertebra, ...]
) -> LevelFigures:
    """How well the levels of images with a named one are named by a network that knows some."""
    confusion = np.zeros((len(Vertebra), len(Vertebra)), dtype=np.intp)
    named = np.flatnonzero(truth > 0)
    if not len(named) or not known:
        return LevelFigures(None, None, None, confusion)
    said = np.array([[int(one.vertebra) for one in sorted_levels(values[index], known)[:2]] for index in named])
    true, mine = truth[named], numbers[named]
    np.add.at(confusion, (true - 1, said[:, 0] - 1), 1)
    return LevelFigures(
        share(said[:, 0] == true, mine),
        share((said == true[:, None]).any(axis=1), mine),
        share(np.abs(said[:, 0] - true) <= 1, mine),
        confusion,
    )


def _warned(bundle: ImageBundle, images: Sequence[PreparedImage]) -> dict[str, int]:
    """How many test images the bundle would call unlike its training images."""
    seen = bundle.metadata.seen
    outside = sum(
        any(not seen[name][0] <= value <= seen[name][1] for name, value in image.statistics.items()) for image in images
    )
    return {ImageLimitation.NOT_CT_LIKE.name: outside}


def report_text(found: ImageEvaluation, bundle: ImageBundle) -> str:
    """The figures as Markdown."""
    names = [level.name for level in Vertebra]
    confusion = [
        (level.name, str(row.sum()), *(str(count) for count in row))
        for level, row in zip(Vertebra, found.levels.confusion, strict=True)
    ]
    by_level = [
        (level.name, share_text(one.sensitivity), share_text(one.specificity), estimate_text(one.auc))
        for level, one in found.by_level.items()
    ]
    about = "Synthetic images, no patient. " if found.synthetic else ""
    what = f"Bundle {bundle.name} {bundle.version} on the test split of {found.data}"
    parts = [
        f"{what}: {found.images} images of {found.studies} source studies. {about}{INTERVALS}",
        markdown_table(("Figure", "Value"), _figure_rows(found, bundle.metadata.operating_points)),
        markdown_table(("True level", "Images", *(f"said {name}" for name in names)), confusion),
    ]
    if by_level:
        parts.append(markdown_table(("Level", "Sensitivity", "Specificity", "AUC"), by_level))
    return "\n\n".join(parts)


def _figure_rows(found: ImageEvaluation, points: dict[str, float]) -> list[tuple[str, str]]:
    rows = [
        ("Level right", share_text(found.levels.right)),
        ("Level among the two likeliest", share_text(found.levels.among_two)),
        ("Level right or beside it", share_text(found.levels.within_one)),
        ("Fracture AUC", estimate_text(found.fractures.auc)),
        ("Fracture average precision", estimate_text(found.fractures.average_precision)),
    ]
    for name, point in found.points.items():
        rows.append((f"Sensitivity ({name}, {points[name]:.2f})", share_text(point.sensitivity)))
        rows.append((f"Specificity ({name}, {points[name]:.2f})", share_text(point.specificity)))
    unlike = found.warned[ImageLimitation.NOT_CT_LIKE.name]
    return [
        *rows,
        ("Expected calibration error", estimate_text(found.ece)),
        ("Called unlike the training images", f"{unlike} of {found.images}"),
        ("Milliseconds an image", f"{found.milliseconds:.0f}"),
    ]
