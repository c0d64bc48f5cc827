"""How far two surfaces lie apart, in mm: the mean both ways, and the 95 % Hausdorff distance.

A mask's surface is its voxels with a neighbor (of six) outside; distances lie between the middles of voxels. The mean
is over the voxels of both surfaces together; the Hausdorff distance is the greater of the two directed 95th percentiles
(Taha and Hanbury 2015).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
PERCENTILE = 95


@dataclass(frozen=True, slots=True)
class SurfaceDistance:
    """Average symmetric surface distance and 95 % Hausdorff distance in mm."""

    mean_mm: float
    hausdorff95_mm: float


def surface_distance(truth: Mask, found: Mask, spacing_mm: Spacing) -> SurfaceDistance | None:
    """Distances of two masks (slice, row, column) on one grid; None where one of them is empty: they have none."""
    if not truth.any() or not found.any():
        return None
    ours, theirs = _surface_mm(truth, spacing_mm), _surface_mm(found, spacing_mm)
    forth, _ = KDTree(theirs).query(ours)
    back, _ = KDTree(ours).query(theirs)
    farthest = max(np.percentile(forth, PERCENTILE), np.percentile(back, PERCENTILE))
    return SurfaceDistance(float(np.concatenate([forth, back]).mean()), float(farthest))


def _surface_mm(mask: Mask, spacing_mm: Spacing) -> NDArray[np.float64]:
    """Middles of the surface's voxels (voxels, 3) in mm; only the mask's box is searched."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    inner = mask[box]
    surface = inner & ~ndimage.binary_erosion(inner)
    corner = np.array([part.start for part in box])
    return np.asarray((np.argwhere(surface) + corner) * np.array(spacing_mm), dtype=np.float64)
