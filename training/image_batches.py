"""Training data of the image networks: the batch of every step, turned, shifted, zoomed and brightened. No Keras here.

A batch is drawn with a generator of its own, seeded by the run's seed and the step (see ``training.feed``).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.image_preprocess import network_input
from training.feed import Batch, Source
from training.prepared import Split
from training.prepared_images import PreparedImage, read_index

STREAMS = {Split.TRAIN: 83, Split.VALIDATION: 89, Split.TEST: 97}
UNKNOWN = -1
"""What stands for a label that nobody gave."""


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


def image_source(folder: Path, split: Split, count: int, seed: int, augmentation: ImageAugmentation | None) -> Source:
    """Batches of a prepared folder, one of them in memory at a time; raises ``DataSetError`` where it is none.

    Half of a training batch is fractured, as far as there are both; validation goes through the split in order.
    """
    prepared = read_index(folder)
    images = prepared.of(split)
    truth = labels_of(images)
    broken, rest = np.flatnonzero(truth["fracture"] == 1), np.flatnonzero(truth["fracture"] != 1)

    def batch(step: int) -> Batch:
        rng = np.random.default_rng((seed, STREAMS[split], step))
        if augmentation is None:
            chosen = np.arange(step * count, (step + 1) * count) % len(images)
            drawn = prepared.pixels([images[index] for index in chosen])
        else:
            half = count // 2
            chosen = np.concatenate([rng.choice(broken, half), rng.choice(rest, count - half)])
            pixels = prepared.pixels([images[index] for index in chosen])
            drawn = np.stack([augmented(one, augmentation, rng) for one in pixels])
        names = tuple(images[index].name for index in chosen)
        return Batch(network_input(drawn), {name: values[chosen] for name, values in truth.items()}, names)

    return batch


def augmented(pixels: NDArray[np.uint8], how: ImageAugmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A standard image seen otherwise: turned, shifted, zoomed, mirrored, brighter, noisier."""
    angle = np.radians(rng.uniform(-how.degrees, how.degrees))
    zoom = 1 + rng.uniform(-how.zoom, how.zoom)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    size = np.array(pixels.shape)
    middle = (size - 1) / 2
    offset = middle - turn @ middle + rng.uniform(-how.shift, how.shift, 2) * size
    source = pixels[:, ::-1] if how.flip and rng.random() < 0.5 else pixels
    gray = ndimage.affine_transform(source.astype(np.float32), turn, offset, order=1, mode="constant", cval=0)
    gray = (gray - 127.5) * np.float32(1 + rng.uniform(-how.contrast, how.contrast)) + 127.5
    gray += np.float32(255 * rng.uniform(-how.brightness, how.brightness))
    gray += rng.standard_normal(gray.shape, dtype=np.float32) * np.float32(255 * how.noise * rng.random())
    return np.asarray(np.rint(np.clip(gray, 0, 255)), dtype=np.uint8)
