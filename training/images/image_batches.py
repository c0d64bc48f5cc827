"""Training data of the image networks: the batch of every step, turned, shifted, zoomed and brightened. No Keras here.

A batch is drawn with a generator of its own, seeded by the run's seed and the step (see ``training.fitting.feed``).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.image_preprocess import network_input
from training.fitting.feed import Batch, Source
from training.fitting.truth import UNKNOWN
from training.images.prepared_images import PreparedImage, read_index
from training.preparation.prepared import Split

Field = NDArray[np.float32]

STREAMS = {Split.TRAIN: 83, Split.VALIDATION: 89, Split.TEST: 97}


@dataclass(frozen=True, slots=True)
class ImageAugmentation:
    """How far training images are changed: degrees, and shares of the image's size or gray range."""

    degrees: float = 12.0
    shift: float = 0.06
    zoom: float = 0.12
    brightness: float = 0.1
    contrast: float = 0.25
    noise: float = 0.03
    flip: bool = True


def labels_of(images: tuple[PreparedImage, ...]) -> dict[str, NDArray[np.float32]]:
    """Truth of images: ``levels`` (n, 1; 0 is C1) and ``fracture`` (n, 1; 0 or 1), -1 where unknown."""
    levels = [UNKNOWN if image.level is None else int(image.level) - 1 for image in images]
    fractured = [UNKNOWN if image.fractured is None else int(image.fractured) for image in images]
    return {
        "levels": np.array(levels, dtype=np.float32)[:, None],
        "fracture": np.array(fractured, dtype=np.float32)[:, None],
    }


def image_source(
    folder: Path,
    split: Split,
    count: int,
    seed: int,
    augmentation: ImageAugmentation | None,
    mask_shape: tuple[int, int] | None = None,
) -> Source:
    """Batches of a prepared folder, one of them in memory at a time; raises ``DataSetError`` where it is none.

    Half of a training batch is fractured, as far as there are both; validation goes through the split in order.
    ``mask_shape``: the size of the map of evidence, whose truth comes besides; None leaves it out.
    """
    prepared = read_index(folder)
    images = prepared.of(split)
    truth = labels_of(images)
    broken, rest = np.flatnonzero(truth["fracture"] == 1), np.flatnonzero(truth["fracture"] != 1)

    def batch(step: int) -> Batch:
        rng = np.random.default_rng((seed, STREAMS[split], step))
        if augmentation is None:
            chosen = np.arange(step * count, (step + 1) * count) % len(images)
        else:
            half = count // 2
            chosen = np.concatenate([rng.choice(broken, half), rng.choice(rest, count - half)])
        taken = [images[index] for index in chosen]
        pixels, masks = prepared.pixels(taken), prepared.masks(taken)
        if augmentation is not None:
            seen = [augmented(one, mask, augmentation, rng) for one, mask in zip(pixels, masks, strict=True)]
            pixels, masks = np.stack([one for one, _ in seen]), np.stack([mask for _, mask in seen])
        told = {name: values[chosen] for name, values in truth.items()}
        if mask_shape is not None:
            told["evidence"] = coarse(masks, mask_shape)[..., None]
        return Batch(network_input(pixels), told, tuple(image.name for image in taken))

    return batch


def coarse(masks: Field, shape: tuple[int, int]) -> Field:
    """Masks (n, row, column) on fewer pixels: a pixel is as broken as the most broken that it covers."""
    count, rows, columns = masks.shape
    blocks = masks.reshape(count, shape[0], rows // shape[0], shape[1], columns // shape[1])
    return np.asarray(blocks.max(axis=(2, 4)), dtype=np.float32)


def augmented(
    pixels: NDArray[np.uint8], mask: Field, how: ImageAugmentation, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Field]:
    """A standard image seen otherwise: turned, shifted, zoomed, mirrored, brighter, noisier; its mask moves with it."""
    angle = np.radians(rng.uniform(-how.degrees, how.degrees))
    zoom = 1 + rng.uniform(-how.zoom, how.zoom)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    size = np.array(pixels.shape)
    middle = (size - 1) / 2
    offset = middle - turn @ middle + rng.uniform(-how.shift, how.shift, 2) * size
    flipped = how.flip and rng.random() < 0.5

    def moved(values: NDArray[Any]) -> Field:
        source = (values[:, ::-1] if flipped else values).astype(np.float32)
        return np.asarray(ndimage.affine_transform(source, turn, offset, order=1, mode="constant", cval=0))

    gray = (moved(pixels) - 127.5) * np.float32(1 + rng.uniform(-how.contrast, how.contrast)) + 127.5
    gray += np.float32(255 * rng.uniform(-how.brightness, how.brightness))
    gray += rng.standard_normal(gray.shape, dtype=np.float32) * np.float32(255 * how.noise * rng.random())
    known = mask.min() >= 0
    return np.asarray(np.rint(np.clip(gray, 0, 255)), dtype=np.uint8), moved(mask) if known else mask
