"""How far two answers to the same volume agree: levels, calls, probabilities, and voxels (pure values and arrays)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from model.findings import Vertebra

LABELS = len(Vertebra) + 1
LOW_DICE = 0.7
"""Below this two masks of a level count as a disagreement."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Voxels by label: ``voxels[i][j]`` are those that the serving model calls i and the shadow j (0: no level)."""

    voxels: tuple[tuple[int, ...], ...]

    def dice(self, level: Vertebra) -> float | None:
        """The Dice coefficient (0..1) of a level's two masks; None where neither has it."""
        serving, shadow = sum(self.voxels[level]), sum(row[level] for row in self.voxels)
        return 2 * self.voxels[level][level] / (serving + shadow) if serving + shadow else None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"voxels": [list(row) for row in self.voxels]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The agreement that ``as_json`` wrote."""
        return cls(tuple(tuple(row) for row in values["voxels"]))


@dataclass(frozen=True, slots=True)
class Calls:
    """What one model says of a study: the probability of each level that it found, and those that it suspects."""

    probabilities: Mapping[Vertebra, float]
    suspected: frozenset[Vertebra]

    @classmethod
    def from_findings(cls, findings: Mapping[str, Any]) -> Self:
        """From ``StudyFindings.as_json``."""
        levels = {Vertebra[level["vertebra"]]: level for level in findings["levels"]}
        suspected = frozenset(vertebra for vertebra, level in levels.items() if level["fractured"])
        return cls({vertebra: float(level["probability"]) for vertebra, level in levels.items()}, suspected)

    @property
    def levels(self) -> frozenset[Vertebra]:
        """The levels that were found."""
        return frozenset(self.probabilities)


def compare_labels(serving: NDArray[np.uint8], shadow: NDArray[np.uint8]) -> Agreement:
    """Count the voxels of two label maps of one shape by both labels; the common background is left out."""
    either = serving | shadow
    box = tuple(
        slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0)
        for axis in range(3)
        for used in [np.flatnonzero(either.any(axis=tuple(other for other in range(3) if other != axis)))]
    )
    codes = serving[box].astype(np.intp) * LABELS + shadow[box]
    counts = np.bincount(codes.ravel(), minlength=LABELS * LABELS).reshape(LABELS, LABELS)
    counts[0, 0] = 0
    return Agreement(tuple(tuple(int(value) for value in row) for row in counts))


def disagreements(serving: Calls, shadow: Calls, agreement: Agreement) -> Sequence[Vertebra]:
    """The levels on which both differ, the gravest first: another call, found by one alone, another mask."""
    graveness: dict[Vertebra, tuple[int, float]] = {}
    for level in Vertebra:
        dice = agreement.dice(level)
        if (level in serving.suspected) != (level in shadow.suspected):
            change = serving.probabilities.get(level, 0.0) - shadow.probabilities.get(level, 0.0)
            graveness[level] = (0, -abs(change))
        elif (level in serving.levels) != (level in shadow.levels):
            graveness[level] = (1, 0.0)
        elif dice is not None and dice < LOW_DICE:
            graveness[level] = (2, dice)
    return sorted(graveness, key=lambda level: graveness[level])
