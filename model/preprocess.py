"""From a CT volume in the standard frame to sagittal network input, and masks back (pure: numpy and nothing else).

One code for training and serving: what it does is named by ``PREPROCESS_VERSION``, which a bundle records.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import UnusableVolume

PREPROCESS_VERSION = "sagittal-1 crops-1"

HU_PER_UNIT = 400.0
"""What one unit of a normalized field stands for."""

Volume = NDArray[np.int16] | NDArray[np.float32]
Field = NDArray[np.float32]
Spacing = tuple[float, float, float]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class PreprocessConfig:
    """How volumes are prepared; lengths in mm.

    ``band_mm`` is how far the sagittal slices reach to each side of the neck's middle; ``neighbor`` is the distance in
    network voxels of the two side channels; ``multiple`` is what rows and columns are padded to.
    """

    spacing_mm: float = 1.2
    band_mm: float = 48.0
    neighbor: int = 2
    multiple: int = 32
    low_hu: float = -250.0
    high_hu: float = 1450.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A volume at network spacing: ``field`` (slice, row, column), normalized; ``box`` is its part of the source."""

    field: Field
    box: Box
    source_shape: tuple[int, int, int]
    source_spacing_mm: Spacing
    spacing_mm: float

    @property
    def hu(self) -> Field:
        """The field in HU, within the window."""
        return self.field * np.float32(HU_PER_UNIT)


def normalize(hu: Field, config: PreprocessConfig) -> Field:
    """HU to about -1..3: clipped to the window, zero at water, one at 400 HU above it."""
    clipped = np.clip(hu, np.float32(config.low_hu), np.float32(config.high_hu))
    return np.asarray(clipped / np.float32(HU_PER_UNIT), dtype=np.float32)


def find_neck(hu: Volume, spacing_mm: Spacing, config: PreprocessConfig) -> Box:
    """The part of the volume worth looking at: the patient's rows and a band of columns around the neck's middle.

    Where nothing looks like a patient the whole volume's middle is taken.
    """
    step = tuple(max(1, round(4.0 / spacing)) for spacing in spacing_mm)
    patient = np.asarray(hu[:: step[0], :: step[1], :: step[2]] > -300)
    rows = np.flatnonzero(patient.mean(axis=(0, 2)) > 0.01)
    thick = patient.sum(axis=1)
    weights = thick.sum(axis=1)
    if len(rows) == 0 or not weights.any():
        first, last, middle = 0, hu.shape[1], hu.shape[2] / 2
    else:
        first = max(0, (rows[0] - 2) * step[1])
        last = min(hu.shape[1], (rows[-1] + 3) * step[1])
        centres = (thick * np.arange(thick.shape[1])).sum(axis=1)[weights > 0] / weights[weights > 0]
        middle = (float(np.median(centres)) + 0.5) * step[2]
    reach = config.band_mm / spacing_mm[2]
    columns = slice(max(0, round(middle - reach)), min(hu.shape[2], round(middle + reach) + 1))
    return slice(0, hu.shape[0]), slice(int(first), int(last)), columns


def _weights(count: int, spacing_mm: float, target_mm: float) -> Field:
    """Matrix (new, old) that samples an axis at ``target_mm``: linear, averaging where the axis gets coarser."""
    new = max(1, round(count * spacing_mm / target_mm))
    centres = (np.arange(new) + 0.5) * (count / new) - 0.5
    width = max(1.0, count / new)
    distance = np.abs(centres[:, None] - np.arange(count)[None, :]) / width
    weights = np.clip(1 - distance, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def resample(values: NDArray[np.float32], spacing_mm: Spacing, target_mm: float) -> Field:
    """The field at an isotropic spacing; both grids cover the same box."""
    rows = np.matmul(_weights(values.shape[1], spacing_mm[1], target_mm), values)
    columns = np.matmul(rows, _weights(values.shape[2], spacing_mm[2], target_mm).T)
    slices = np.tensordot(_weights(values.shape[0], spacing_mm[0], target_mm), columns, axes=(1, 0))
    return np.asarray(slices, dtype=np.float32)


def prepare(hu: Volume, spacing_mm: Spacing, config: PreprocessConfig) -> Prepared:
    """Crop, resample and normalize a volume in the standard frame; raises ``UnusableVolume`` for what is none."""
    if hu.ndim != 3 or min(hu.shape) < 2:
        raise UnusableVolume(f"a volume needs three axes of two voxels or more, not shape {hu.shape}")
    if not all(0.05 <= spacing <= 20 for spacing in spacing_mm):
        raise UnusableVolume(f"voxel spacing {spacing_mm} mm is not within 0.05..20 mm")
    box = find_neck(hu, spacing_mm, config)
    field = resample(hu[box].astype(np.float32), spacing_mm, config.spacing_mm)
    shape = (hu.shape[0], hu.shape[1], hu.shape[2])
    return Prepared(normalize(field, config), box, shape, spacing_mm, config.spacing_mm)


def sagittal_stack(field: Field, columns: NDArray[np.intp], config: PreprocessConfig) -> Field:
    """Network input (len(columns), row, column, 3): sagittal slices with a neighbor on each side as channels.

    Rows run head to feet and columns front to back, padded at their ends with air to multiples of ``multiple``.
    """
    low = np.float32(config.low_hu / HU_PER_UNIT)
    padding = [(0, -count % config.multiple) for count in field.shape[:2]]
    padded = np.pad(field, [*padding, (0, 0)], constant_values=low)
    last = field.shape[2] - 1
    channels = [padded[:, :, np.clip(columns + side, 0, last)] for side in (-config.neighbor, 0, config.neighbor)]
    return np.ascontiguousarray(np.stack(channels, axis=-1).transpose(2, 0, 1, 3))


def _interpolate(values: Field, axis: int, at: NDArray[np.float64]) -> Field:
    """Linear interpolation along one axis at fractional indices, clamped at the ends."""
    clamped = np.clip(at, 0, values.shape[axis] - 1)
    below = np.minimum(clamped.astype(np.intp), max(0, values.shape[axis] - 2))
    above = np.minimum(below + 1, values.shape[axis] - 1)
    shape = [-1 if k == axis else 1 for k in range(3)]
    part = (clamped - below).astype(np.float32).reshape(shape)
    return np.asarray(np.take(values, below, axis) * (1 - part) + np.take(values, above, axis) * part, dtype=np.float32)


def restore_labels(labels: NDArray[np.uint8], prepared: Prepared) -> NDArray[np.uint8]:
    """A label map at network spacing on the source grid, with smooth outlines (linear interpolation of each level)."""
    result = np.zeros(prepared.source_shape, dtype=np.uint8)
    target = result[prepared.box]
    best = np.full(target.shape, 0.5, dtype=np.float32)
    for label in np.unique(labels[labels > 0]):
        where = labels == label
        part, source = [], []
        for axis in range(3):
            hit = np.flatnonzero(where.any(axis=tuple(k for k in range(3) if k != axis)))
            ratio = target.shape[axis] / labels.shape[axis]
            first = max(0, int(np.floor((hit[0] - 1) * ratio)))
            last = min(target.shape[axis], int(np.ceil((hit[-1] + 2) * ratio)))
            part.append(slice(first, last))
            source.append((np.arange(first, last) + 0.5) / ratio - 0.5)
        share = where.astype(np.float32)
        for axis in (2, 1, 0):
            low = max(0, int(source[axis][0]) - 1)
            high = min(labels.shape[axis], int(source[axis][-1]) + 3)
            share = np.take(share, np.arange(low, high), axis)
            share = _interpolate(share, axis, source[axis] - low)
        box = tuple(part)
        mine = share >= best[box]
        target[box][mine] = label
        best[box] = np.maximum(best[box], share)
    return result
