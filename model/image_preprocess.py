"""From one gray image to the standard image of the image network, and maps back (pure: numpy and scipy).

One code for training and serving, named by ``IMAGE_PREPROCESS_VERSION``. Its steps are the source paper's: artifact
removal (``remove_artifacts``), resizing (``resize``), standard format and normalization (``normalize_image``). Arrays
are (row, column).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.crops import sampling
from model.errors import UnusableImage

IMAGE_PREPROCESS_VERSION = "image-1"

Gray = NDArray[np.float32]
Box = tuple[slice, slice]

SMALLEST_SIDE = 16
"""In pixels: what is smaller shows no bone."""
HOT_SHARE = 0.35
"""A single pixel that stands out from all of its neighbors by this share of the range is no anatomy."""
BONE_CENTER_HU, BONE_WIDTH_HU = 400.0, 1800.0


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """How images are prepared: to ``rows`` x ``columns`` pixels, gray between two percentiles stretched.

    ``border``: what is not brighter than this share of the range is border; ``island``: bright islands smaller than
    this share of the largest, beside it, are writing or marks.
    """

    rows: int = 128
    columns: int = 128
    low_percentile: float = 1.0
    high_percentile: float = 99.5
    border: float = 0.06
    island: float = 0.02


@dataclass(frozen=True, slots=True)
class StandardImage:
    """The standard image: ``pixels`` (row, column), and where it comes from.

    ``box`` is the part of the source that is shown; ``inner`` the part of ``pixels`` that shows it, the rest is filled
    with black. ``contrast`` is the share (0..1) of the source's full range that its gray values span.
    """

    pixels: NDArray[np.uint8]
    box: Box
    inner: Box
    source_shape: tuple[int, int]
    contrast: float


def bone_window(hu: NDArray[np.int16] | NDArray[np.float32]) -> Gray:
    """HU (row, column) to gray 0..1 in the bone window, as viewers make pictures of bone."""
    low = np.float32(BONE_CENTER_HU - BONE_WIDTH_HU / 2)
    return np.asarray(np.clip((hu.astype(np.float32) - low) / np.float32(BONE_WIDTH_HU), 0, 1), dtype=np.float32)


def standard_image(gray: Gray, config: ImageConfig) -> StandardImage:
    """Clean, resize and normalize a gray image (0..1); raises ``UnusableImage`` for what shows nothing."""
    if gray.ndim != 2 or min(gray.shape) < SMALLEST_SIDE:
        raise UnusableImage(f"the image has shape {gray.shape}: {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels are the least")
    if not np.isfinite(gray).all():
        raise UnusableImage("the image holds values that are no numbers")
    cleaned, box = remove_artifacts(gray, config)
    if min(part.stop - part.start for part in box) < SMALLEST_SIDE:
        raise UnusableImage("the image shows nothing but an even background")
    resized, inner = resize(cleaned[box], config)
    pixels, contrast = normalize_image(resized, inner, config)
    return StandardImage(pixels, box, inner, (gray.shape[0], gray.shape[1]), contrast)


def remove_artifacts(gray: Gray, config: ImageConfig) -> tuple[Gray, Box]:
    """The image without hot pixels, writing and marks, and the box around what it shows.

    Only single pixels are hot, so that a line of a pixel's width stays; only islands beside what the image shows are
    writing, so that a small fragment between bones stays.
    """
    low, high = float(gray.min()), float(gray.max())
    if high - low < 1e-6:
        return gray, (slice(0, 0), slice(0, 0))
    cleaned = _without_hot_pixels(gray, HOT_SHARE * (high - low))
    bright = cleaned > low + config.border * (high - low)
    islands, count = ndimage.label(bright, structure=np.ones((3, 3), dtype=np.uint8))
    if count == 0:
        return cleaned, (slice(0, 0), slice(0, 0))
    sizes = np.bincount(islands.ravel())[1:]
    shown = np.isin(islands, np.flatnonzero(sizes >= config.island * sizes.max()) + 1)
    inside = _between(shown, 0) | _between(shown, 1)
    kept = np.isin(islands, np.unique(islands[inside]))
    cleaned = np.where(bright & ~kept, np.float32(low), cleaned)
    box = ndimage.find_objects(shown.astype(np.uint8))[0]
    return cleaned, (box[0], box[1])


def _without_hot_pixels(gray: Gray, difference: float) -> Gray:
    """Each pixel that is brighter, or darker, than all of its neighbors by more than this becomes like them."""
    ring = np.ones((3, 3), dtype=np.bool_)
    ring[1, 1] = False
    brighter = gray > ndimage.maximum_filter(gray, footprint=ring) + difference
    darker = gray < ndimage.minimum_filter(gray, footprint=ring) - difference
    hot = brighter | darker
    return np.where(hot, ndimage.median_filter(gray, 3), gray) if hot.any() else gray


def _between(shown: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Which pixels lie between the first and the last shown one along an axis."""
    before = np.logical_or.accumulate(shown, axis=axis)
    after = np.flip(np.logical_or.accumulate(np.flip(shown, axis), axis=axis), axis)
    return np.asarray(before & after, dtype=np.bool_)


def resize(gray: Gray, config: ImageConfig) -> tuple[Gray, Box]:
    """The image at the standard size, its aspect kept, and the part of it that is not filled up.

    Linear where it gets larger, averaged where it gets smaller.
    """
    step = max(gray.shape[0] / config.rows, gray.shape[1] / config.columns)
    result = np.full((config.rows, config.columns), gray.min(), dtype=np.float32)
    inner, weights = [], []
    for count, wanted in zip(gray.shape, (config.rows, config.columns), strict=True):
        size = min(wanted, max(1, round(count / step)))
        part, weight = sampling(count, (np.arange(size) + 0.5) * (count / size) - 0.5, count / size)
        weights.append((part, weight))
        inner.append(slice((wanted - size) // 2, (wanted - size) // 2 + size))
    (rows, row_weights), (columns, column_weights) = weights
    result[inner[0], inner[1]] = row_weights @ gray[rows, columns] @ column_weights.T
    return result, (inner[0], inner[1])


def normalize_image(gray: Gray, inner: Box, config: ImageConfig) -> tuple[NDArray[np.uint8], float]:
    """Gray values 0..255 (8 bit, the standard format), stretched between two percentiles; and the range they had."""
    low, high = (float(value) for value in np.percentile(gray[inner], (config.low_percentile, config.high_percentile)))
    stretched = np.clip((gray - low) / max(high - low, 1e-6), 0, 1)
    pixels = np.zeros(gray.shape, dtype=np.uint8)
    pixels[inner] = np.rint(stretched[inner] * 255)
    return pixels, high - low


def network_input(pixels: NDArray[np.uint8]) -> Gray:
    """Standard images (n, row, column) as the network takes them: (n, row, column, 1), -1..1."""
    return pixels[..., None].astype(np.float32) / np.float32(127.5) - np.float32(1)


def restore_map(values: Gray, image: StandardImage) -> Gray:
    """A map over the standard image (any resolution) on the source's pixels, linearly; zero outside the box."""
    rows, columns = image.pixels.shape
    result = np.zeros(image.source_shape, dtype=np.float32)
    weights = []
    for axis, (size, full) in enumerate(zip(values.shape, (rows, columns), strict=True)):
        part, inner = image.box[axis], image.inner[axis]
        count = part.stop - part.start
        at = inner.start + (np.arange(count) + 0.5) * ((inner.stop - inner.start) / count)
        place = np.clip(at * (size / full) - 0.5, 0, size - 1)
        used, weight = sampling(size, place, 1.0)
        weights.append((used, weight))
    (first, row_weights), (second, column_weights) = weights
    result[image.box] = row_weights @ values[first, second] @ column_weights.T
    return result


@dataclass(frozen=True, slots=True)
class ImageStatistics:
    """What tells a CT image of bone from other pictures, of a standard image: each 0..1."""

    mean: float
    deviation: float
    dark: float
    bright: float
    edges: float


def statistics_of(image: StandardImage) -> ImageStatistics:
    """The statistics of one standard image, of the part that is not filled up."""
    gray = image.pixels[image.inner].astype(np.float32) / np.float32(255)
    steps = np.abs(np.diff(gray, axis=0)).mean() + np.abs(np.diff(gray, axis=1)).mean()
    return ImageStatistics(
        float(gray.mean()),
        float(gray.std()),
        float((gray < 0.1).mean()),
        float((gray > 0.75).mean()),
        float(min(1.0, steps)),
    )
