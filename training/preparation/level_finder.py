"""The levels of a study that came without a mask: found by a bundle, in the very steps of serving."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle
from model.findings import Limitation
from model.naming import solve_levels
from model.postprocess import limitations
from model.preprocess import Spacing, prepare, restore_labels


@dataclass(frozen=True, slots=True)
class FoundLevels:
    """Levels on the source grid, or none where their names are in doubt; and what limits them."""

    labels: NDArray[np.uint8] | None
    limitations: tuple[Limitation, ...]


class LevelFinder:
    """A bundle kept in memory, of which only the levels network is asked."""

    def __init__(self, bundle: Bundle) -> None:
        from model.predictor import Predictor  # noqa: PLC0415 -- Keras takes seconds and 400 MB; most runs need none

        self._predictor = Predictor(bundle)

    def find(self, hu: NDArray[np.int16], spacing_mm: Spacing) -> FoundLevels:
        """The levels of a volume in the standard frame, as ``Predictor.predict`` finds them.

        Names that do not follow each other may all be wrong, and would put the truth on another level: none are given
        then. Raises ``UnusableVolume`` and ``PredictorOutOfMemory``.
        """
        metadata = self._predictor.bundle.metadata
        prepared = prepare(hu, spacing_mm, metadata.preprocess)
        probabilities = self._predictor.probabilities(prepared)
        found = solve_levels(probabilities, prepared.hu, prepared.spacing_mm, metadata.naming)
        limits = limitations(found, spacing_mm[0])
        if not found.found or Limitation.LEVELS_NOT_CONTIGUOUS in limits:
            return FoundLevels(None, limits)
        return FoundLevels(restore_labels(found.labels, prepared), limits)
