"""An image bundle that answers: one image in; levels by probability, fracture or not, an overlay and limitations out.

Keras is imported when a predictor is made, not before, so that a console may name these types at no cost.
"""

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import BundleError
from model.findings import Vertebra
from model.image_bundle import ImageBundle, ImageBundleMetadata
from model.image_decoding import Picture
from model.image_findings import ImageFindings, ImageLimitation, LevelProbability
from model.image_preprocess import (
    Gray,
    StandardImage,
    bone_window,
    network_input,
    restore_map,
    standard_image,
    statistics_of,
)
from model.postprocess import probability

LEAST_CONTRAST = 0.15
"""Gray values that span less of the full range than this were made in a window that hides bone."""
LEAST_PIXELS = 64
"""On the shorter side of what the image shows."""


@dataclass(frozen=True, slots=True)
class ImagePrediction:
    """The answer for one image; ``overlay`` (0..255, on its pixels) shows where the evidence for a fracture is."""

    findings: ImageFindings
    overlay: NDArray[np.uint8]
    seconds: float


def load_image_network(bundle: ImageBundle) -> Any:
    """The bundle's network with its weights; raises ``BundleError`` when they do not fit each other."""
    from model.image_network import build_image_network  # noqa: PLC0415 -- Keras takes seconds to import

    try:
        network = build_image_network(bundle.metadata.network)
        network.set_weights(bundle.weights())
    except ValueError as error:
        raise BundleError(f"bundle {bundle.name}: the weights do not fit the network: {error}") from error
    return network


class ImagePredictor:
    """An image bundle kept in memory; its methods may be called again and again, from one thread."""

    def __init__(self, bundle: ImageBundle) -> None:
        self.bundle = bundle
        self._network = load_image_network(bundle)

    def predict_image(self, image: Picture | Gray) -> ImagePrediction:
        """The answer for a decoded picture, or gray values (row, column; 0..1); may raise ``UnusableImage``."""
        return self._answer(image if isinstance(image, Picture) else Picture(np.asarray(image, dtype=np.float32)))

    def predict_slice(self, hu: NDArray[np.int16] | NDArray[np.float32]) -> ImagePrediction:
        """The answer for one CT slice in HU (row, column), seen in the bone window; may raise ``UnusableImage``."""
        return self._answer(Picture(bone_window(hu), from_hu=True))

    def _answer(self, picture: Picture) -> ImagePrediction:
        started = time.perf_counter()
        metadata = self.bundle.metadata
        image = standard_image(picture.gray, metadata.preprocess)
        answers = self._network.predict_on_batch(network_input(image.pixels[None]))
        calibration = metadata.calibration
        fracture = probability(float(answers["fracture"][0, 0]), calibration.scale, calibration.offset)
        levels = sorted_levels(np.asarray(answers["levels"][0], dtype=np.float64), metadata.levels)
        limits = _limitations(picture, image, metadata, levels)
        findings = ImageFindings(levels, fracture, calibration.threshold, limits)
        overlay = overlay_of(np.asarray(answers["evidence"][0, :, :, 0], dtype=np.float32), image)
        return ImagePrediction(findings, overlay, time.perf_counter() - started)


def overlay_of(evidence: Gray, image: StandardImage) -> NDArray[np.uint8]:
    """The evidence above its median, scaled to its highest value (0..255), on the source's pixels."""
    inner = [
        slice(int(part.start * size / full), max(int(part.start * size / full) + 1, int(part.stop * size / full)))
        for part, size, full in zip(image.inner, evidence.shape, image.pixels.shape, strict=True)
    ]
    shown = evidence[inner[0], inner[1]]
    low, high = float(np.median(shown)), float(shown.max())
    if high - low < 1e-6:
        return np.zeros(image.source_shape, dtype=np.uint8)
    heat = restore_map(np.clip((evidence - low) / (high - low), 0, 1).astype(np.float32), image)
    return np.rint(np.clip(heat, 0, 1) * 255).astype(np.uint8)


def sorted_levels(values: NDArray[np.float64], known: tuple[Vertebra, ...]) -> tuple[LevelProbability, ...]:
    """The levels that the network knows, the likeliest first; their probabilities sum to one."""
    if not known:
        return ()
    mine = np.array([values[level - 1] for level in known])
    mine = np.clip(mine / max(float(mine.sum()), 1e-9), 0, 1)
    order = np.argsort(-mine, kind="stable")
    return tuple(LevelProbability(known[index], float(mine[index])) for index in order)


def _limitations(
    picture: Picture,
    image: StandardImage,
    metadata: ImageBundleMetadata,
    levels: tuple[LevelProbability, ...],
) -> tuple[ImageLimitation, ...]:
    """What a reader must know about this answer, most serious first."""
    shown = min(part.stop - part.start for part in image.box)
    statistics = asdict(statistics_of(image))
    outside = any(not low <= statistics[name] <= high for name, (low, high) in metadata.seen.items())
    holds = {
        ImageLimitation.NOT_CT_LIKE: outside,
        ImageLimitation.SYNTHETIC: metadata.synthetic,
        ImageLimitation.COLORED: picture.colored,
        ImageLimitation.LOW_CONTRAST: image.contrast < LEAST_CONTRAST,
        ImageLimitation.TOO_SMALL: shown < LEAST_PIXELS,
        ImageLimitation.LEVELS_UNKNOWN: not levels,
        ImageLimitation.LEVELS_MISSING: 0 < len(levels) < len(Vertebra),
        ImageLimitation.LEVEL_UNSURE: bool(levels) and levels[0].probability <= 0.5,
        ImageLimitation.SINGLE_IMAGE: True,
        ImageLimitation.NOT_HU: not picture.from_hu,
    }
    return tuple(limitation for limitation, applies in holds.items() if applies)
