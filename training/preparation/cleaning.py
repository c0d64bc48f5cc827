"""The paper's cleaning, preprocessing and resizing, each a step by its name, made of the functions that serve.

Nothing is computed here that serving computes elsewhere: ``clean`` calls ``model.preprocess.prepare``, and ``STEPS``
says which function is which step of the paper. What training alone needs is the truth on the network's grid.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.crops import CropConfig, crop_grid, crop_level, level_boxes, sampling
from model.errors import UnusableVolume
from model.findings import Limitation, Vertebra
from model.preprocess import HU_PER_UNIT, Field, Prepared, PreprocessConfig, find_neck, normalize, prepare, resample
from model.quality import limitations_of
from training.datasets.studies import LabeledVolume


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A volume at network spacing with its levels there, and what limits it."""

    prepared: Prepared
    labels: NDArray[np.uint8] | None
    limitations: tuple[Limitation, ...]


@dataclass(frozen=True, slots=True)
class CleaningStep:
    """One step: its name in the paper, what it does here, and the functions that do it."""

    name: str
    what: str
    functions: tuple[Callable[..., Any], ...]


def standard_format(volume: LabeledVolume) -> LabeledVolume:
    """The volume as int16 HU in one piece with truth of its shape; raises ``UnusableVolume`` for what is none."""
    shape = volume.hu.shape
    for what, array in (("levels", volume.labels), ("fracture mask", volume.lesion)):
        if array is not None and array.shape != shape:
            raise UnusableVolume(f"its {what} have the shape {array.shape}, its volume {shape}")
    if not np.issubdtype(volume.hu.dtype, np.integer):
        raise UnusableVolume(f"its volume holds {volume.hu.dtype}, not whole HU")
    labels = volume.labels
    if labels is not None and int(labels.max(initial=0)) > max(Vertebra):
        raise UnusableVolume(f"its mask has the number {int(labels.max())}: C1 to C7 are 1 to 7")
    return replace(
        volume,
        hu=np.ascontiguousarray(volume.hu, dtype=np.int16),
        labels=None if labels is None else np.ascontiguousarray(labels, dtype=np.uint8),
    )


def clean(volume: LabeledVolume, config: PreprocessConfig) -> Cleaned:
    """All steps, as serving takes them; raises ``UnusableVolume``."""
    volume = standard_format(volume)
    prepared = prepare(volume.hu, volume.spacing_mm, config)
    labels = None if volume.labels is None else field_labels(volume.labels, prepared)
    limitations = limitations_of(volume.hu, volume.spacing_mm, volume.labels)
    return Cleaned(prepared, labels, tuple(dict.fromkeys((*volume.limitations, *limitations))))


def field_labels(labels: NDArray[np.uint8], prepared: Prepared) -> NDArray[np.uint8]:
    """A label map of the source grid on the prepared field: what ``model.preprocess.restore_labels`` takes back.

    A voxel is bone where labels fill half of it, and of the level that fills most of it.
    """
    shape = prepared.field.shape
    found = np.zeros(shape, dtype=np.uint8)
    best, filled = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    inside = labels[prepared.box]
    for level, box in level_boxes(inside).items():
        places, share = _share(inside, level, shape, box)
        filled[places] += share
        mine = share > best[places]
        found[places][mine] = level
        best[places][mine] = share[mine]
    found[filled < 0.5] = 0
    return found


def _share(
    labels: NDArray[np.uint8], level: int, shape: tuple[int, ...], box: tuple[slice, ...]
) -> tuple[tuple[slice, ...], Field]:
    """Where on a field of this shape a level in this box may be, and how much of each voxel there it fills."""
    places, parts, weights = [], [], []
    for axis, part in enumerate(box):
        step = labels.shape[axis] / shape[axis]
        low = max(0, int(np.floor(part.start / step)) - 1)
        high = min(shape[axis], int(np.ceil(part.stop / step)) + 1)
        needed, weight = sampling(labels.shape[axis], (np.arange(low, high) + 0.5) * step - 0.5, step)
        places.append(slice(low, high))
        parts.append(needed)
        weights.append(weight)
    share = (labels[tuple(parts)] == level).astype(np.float32)
    for axis, weight in enumerate(weights):
        share = np.moveaxis(np.tensordot(weight, share, axes=(1, axis)), 0, axis)
    return tuple(places), np.asarray(share, dtype=np.float32)


_FIELD, _CROP = PreprocessConfig(), CropConfig()

STEPS: tuple[CleaningStep, ...] = (
    CleaningStep(
        "standard format",
        "whole HU, head to feet, front to back, right to left, with the truth on the same grid",
        (standard_format,),
    ),
    CleaningStep(
        "artifact removal",
        "air, table and arms beside the neck are cut away; metal and noise, which no step can take away, are named",
        (find_neck, limitations_of),
    ),
    CleaningStep(
        "resizing",
        f"the neck at {_FIELD.spacing_mm} mm for its levels, a crop of each level at {_CROP.pixel_mm} mm for its "
        "fracture; what lies beyond the volume is air",
        (resample, crop_grid, crop_level),
    ),
    CleaningStep(
        "normalization",
        f"HU within {_FIELD.low_hu:g}..{_FIELD.high_hu:g}, which dims metal, divided by {HU_PER_UNIT:g}",
        (normalize,),
    ),
)
"""The paper's steps in the order in which a volume takes them."""
