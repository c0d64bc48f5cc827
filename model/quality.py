"""What only voxels tell of a study that cannot be judged well: metal near the spine, and noise (pure: numpy, scipy).

Arrays are (slice, row, column) in the standard frame: head to feet, front to back, right to left. Both questions are
asked of a sample of about one voxel a mm, so that the answer costs a fraction of a second whatever the matrix.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.findings import Limitation, Vertebra

Volume = NDArray[np.int16] | NDArray[np.float32]
Spacing = tuple[float, float, float]
Box = tuple[slice, slice, slice]
Mask = NDArray[np.bool_]

METAL_HU = 2800
"""Metal is beyond it, even where a scanner stores no more than 3071; cortical bone and most enamel are below."""
METAL_MM3 = 100.0
"""Less is a filling, a clip or an electrode, of which every other patient has some."""
METAL_REACH_MM = 40.0
"""How far from a level metal still throws its streaks over it, up, down, sideways and behind."""
METAL_REACH_FRONT_MM = 15.0
"""How far in front of a level: enough for plates and cages, and less than the teeth are away, with their fillings."""

NOISE_LIMIT_HU = 120.0
"""At voxels of about 1 mm this hides a fracture line: it is a third of what cortex stands out from a gap by."""
NOISE_REACH_MM = 20.0
NOISE_PATCH_MM = 6.0
COARSE_MM = 2.5
"""In wider pixels a patch of muscle is so large that its anatomy cannot be told from noise."""
MUSCLE_FROM_HU, MUSCLE_TO_HU = -20.0, 150.0
LEAST_PATCHES = 8
_FIND_MM = 2.0
_SAMPLE_MM = 1.0


def limitations_of(hu: Volume, spacing_mm: Spacing, labels: NDArray[np.uint8] | None = None) -> tuple[Limitation, ...]:
    """The limitations that the voxels show: METAL and HIGH_NOISE.

    ``labels`` (0, 1..7 = C1..C7, shape of ``hu``) says where the levels are, for metal and noise matter beside them
    alone; without a label the whole volume is judged.
    """
    boxes = _level_boxes(labels, spacing_mm) if labels is not None else []
    boxes = boxes or [(slice(0, hu.shape[0]), slice(0, hu.shape[1]), slice(0, hu.shape[2]))]
    found = []
    if metal_mm3(hu, spacing_mm, boxes) > METAL_MM3:
        found.append(Limitation.METAL)
    if max(noise_hu(hu, spacing_mm, box) for box in boxes) > NOISE_LIMIT_HU:
        found.append(Limitation.HIGH_NOISE)
    return tuple(found)


def metal_mm3(hu: Volume, spacing_mm: Spacing, boxes: Sequence[Box]) -> float:
    """The volume of the largest connected piece of metal that reaches into the neighborhood of one of the boxes."""
    front = (METAL_REACH_MM, METAL_REACH_FRONT_MM, METAL_REACH_MM)
    around = [_grown(box, spacing_mm, hu.shape, (front, (METAL_REACH_MM,) * 3)) for box in boxes]
    whole = tuple(slice(min(b[a].start for b in around), max(b[a].stop for b in around)) for a in range(3))
    steps = _steps(spacing_mm, _SAMPLE_MM)
    bright = hu[whole][:: steps[0], :: steps[1], :: steps[2]] >= METAL_HU
    voxel_mm3 = float(np.prod(np.multiply(spacing_mm, steps)))
    if np.count_nonzero(bright) * voxel_mm3 <= METAL_MM3:
        return 0.0
    near = np.zeros(bright.shape, dtype=np.bool_)
    for box in around:
        near[tuple(_sampled(b, w.start, step) for b, w, step in zip(box, whole, steps, strict=True))] = True
    return _largest(bright & near) * voxel_mm3


def noise_hu(hu: Volume, spacing_mm: Spacing, box: Box) -> float:
    """Standard deviation (HU) of the quietest quarter of the muscle around a box, in voxels of about 1 mm.

    The quietest quarter, because patches across an edge of fat, vessel or bone vary by themselves. 0 where too little
    muscle or too wide pixels are there to say.
    """
    if max(spacing_mm[1:]) > COARSE_MM:
        return 0.0
    reach = (0.0, NOISE_REACH_MM, NOISE_REACH_MM)
    region = _grown(box, spacing_mm, hu.shape, (reach, reach))
    steps = _steps(spacing_mm, _SAMPLE_MM)
    first, last = region[0].start, max(region[0].start, region[0].stop - steps[0])
    deviations: list[NDArray[np.float32]] = []
    for start in sorted({round(first + share * (last - first)) for share in (0.25, 0.5, 0.75)}):
        plane = hu[start : start + steps[0], region[1], region[2]].astype(np.float32).mean(axis=0)
        pixels = _blocks(plane, (steps[1], steps[2])).mean(axis=2)
        side = tuple(max(3, round(NOISE_PATCH_MM / (spacing_mm[a] * steps[a]))) for a in (1, 2))
        patches = _blocks(pixels, (side[0], side[1])).reshape(-1, side[0] * side[1])
        middle = patches.mean(axis=1)
        muscle = patches[(middle > MUSCLE_FROM_HU) & (middle < MUSCLE_TO_HU)]
        deviations.append(muscle.std(axis=1))
    together = np.concatenate(deviations)
    return float(np.percentile(together, 25)) if together.size >= LEAST_PATCHES else 0.0


def _level_boxes(labels: NDArray[np.uint8], spacing_mm: Spacing) -> list[Box]:
    """The box of every level, found on a grid of about 2 mm and therefore as good as 2 mm."""
    steps = _steps(spacing_mm, _FIND_MM)
    coarse = labels[:: steps[0], :: steps[1], :: steps[2]]
    boxes = []
    for found in ndimage.find_objects(coarse, max_label=len(Vertebra)):
        if found is not None:
            full = [
                slice(part.start * step, min(part.stop * step, count))
                for part, step, count in zip(found, steps, labels.shape, strict=True)
            ]
            boxes.append((full[0], full[1], full[2]))
    return boxes


def _steps(spacing_mm: Spacing, sample_mm: float) -> tuple[int, int, int]:
    """Every how many voxels about one sample lies, along each axis."""
    first, second, third = (max(1, round(sample_mm / spacing)) for spacing in spacing_mm)
    return first, second, third


def _grown(
    box: Box, spacing_mm: Spacing, shape: tuple[int, ...], reach_mm: tuple[Sequence[float], Sequence[float]]
) -> Box:
    """The box with ``reach_mm`` (before, behind) more along each axis, within the volume."""
    before, behind = reach_mm
    parts = [
        slice(
            max(0, part.start - round(before[axis] / spacing_mm[axis])),
            min(shape[axis], part.stop + round(behind[axis] / spacing_mm[axis])),
        )
        for axis, part in enumerate(box)
    ]
    return parts[0], parts[1], parts[2]


def _sampled(part: slice, origin: int, step: int) -> slice:
    """A range of voxels as a range of samples that lie ``step`` apart from ``origin`` on."""
    return slice((part.start - origin + step - 1) // step, (part.stop - origin + step - 1) // step)


def _largest(mask: Mask) -> int:
    """The voxels of the largest connected part of a mask (touching corners connect)."""
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3, 3), dtype=np.uint8))
    return int(np.bincount(pieces.ravel())[1:].max()) if count else 0


def _blocks(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """A plane (row, column) in blocks of this size, (row, column, pixel); what is left over at the ends is cut off."""
    rows, columns = plane.shape[0] // size[0], plane.shape[1] // size[1]
    whole = plane[: rows * size[0], : columns * size[1]].reshape(rows, size[0], columns, size[1])
    return whole.transpose(0, 2, 1, 3).reshape(rows, columns, size[0] * size[1])
