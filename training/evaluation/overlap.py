"""Two label maps on one grid, level by level: volumes, Dice, names and surfaces."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.findings import Vertebra
from training.evaluation.study_result import MaskResult
from training.evaluation.surface import Spacing, surface_distance

Labels = NDArray[np.uint8]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Overlap:
    """True and found label maps (slice, row, column); numbers above 7 are background, as is everything else."""

    truth: Labels
    found: Labels
    spacing_mm: Spacing

    @cached_property
    def table_mm3(self) -> NDArray[np.float64]:
        """Volume of each pair of true (row) and found (column) level."""
        known = np.where(self.truth <= 7, self.truth, 0).astype(np.uint8)
        counts = np.bincount((8 * known + self.found).ravel(), minlength=64).reshape(8, 8)
        return np.asarray(counts * float(np.prod(self.spacing_mm)), dtype=np.float64)

    def true_mm3(self, level: Vertebra) -> float:
        """How much of a level there is."""
        return float(self.table_mm3[level].sum())

    def found_mm3(self, level: Vertebra) -> float:
        """How much of a level was found."""
        return float(self.table_mm3[:, level].sum())

    def dice(self, level: Vertebra) -> float:
        """Twice the common volume over both; 1 where both are empty."""
        size = self.true_mm3(level) + self.found_mm3(level)
        return 2 * float(self.table_mm3[level, level]) / size if size else 1.0

    def mask(self, level: Vertebra) -> MaskResult:
        """Everything about a level that is there."""
        mine = self.table_mm3[level]
        name, box = int(np.argmax(mine)), self._boxes[level]
        distance = surface_distance(self.truth[box] == level, self.found[box] == level, self.spacing_mm)
        right = 2 * float(mine[level]) > self.true_mm3(level)
        return MaskResult(self.dice(level), right, Vertebra(name) if name else None, distance)

    @cached_property
    def _boxes(self) -> Mapping[Vertebra, Box]:
        """The smallest box around both masks of every level that is there."""
        pairs = zip(*(ndimage.find_objects(labels, max_label=7) for labels in (self.truth, self.found)), strict=True)
        return {
            level: _around([box for box in pair if box is not None])
            for level, pair in zip(Vertebra, pairs, strict=True)
            if pair[0] is not None
        }


def _around(boxes: list[Box]) -> Box:
    first, second, third = (
        slice(min(part.start for part in parts), max(part.stop for part in parts)) for parts in zip(*boxes, strict=True)
    )
    return first, second, third
