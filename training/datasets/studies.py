"""What every data set gives: studies of patients and what is known of them. Adapters make them, ``prepare`` reads them.

An adapter looks at everything that can be checked without pixels before it returns its studies, so that a missing label
costs a second and not the hour after which a volume would have been read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.findings import Limitation, Vertebra

MOST_NAMED = 10
"""More problems than this are counted, not named."""


class DataSetError(ValueError):
    """A data set cannot be used as it is; each problem names a file or study and says what to do about it."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        shown = list(problems[:MOST_NAMED])
        if len(problems) > MOST_NAMED:
            shown.append(f"... and {len(problems) - MOST_NAMED} more")
        super().__init__("\n".join(shown))


@dataclass(frozen=True, slots=True)
class LabeledStudy:
    """One study and what is known of it without its pixels.

    ``key`` names it within its data set. Studies of one ``patient`` never cross a split. ``fractures``: whether a level
    is fractured; a level that is missing, or None, is unknown. ``kinds``: the type of a level's fracture where known.
    ``site`` names where it comes from ("" unknown). ``images`` are its CT files, ``mask`` a file with its levels.
    """

    key: str
    patient: str
    images: tuple[Path, ...]
    fractures: Mapping[Vertebra, bool | None] = field(default_factory=dict)
    kinds: Mapping[Vertebra, str] = field(default_factory=dict)
    site: str = ""
    mask: Path | None = None


@dataclass(frozen=True, slots=True)
class LabeledVolume:
    """The volume of a study in the standard frame: arrays (slice, row, column) on one grid.

    ``labels`` (0, 1..7): None where the data set has no mask for this study. ``lesion``: voxels that are marked as
    fractured (boxes, masks); None where nobody marked any, which says nothing.
    """

    hu: NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    labels: NDArray[np.uint8] | None = None
    lesion: NDArray[np.bool_] | None = None
    limitations: tuple[Limitation, ...] = ()


class DataSet(Protocol):
    """A data set as an adapter shows it."""

    @property
    def name(self) -> str:
        """The row that it is in every table."""

    def studies(self) -> Sequence[LabeledStudy]:
        """All studies, in a fixed order; raises ``DataSetError`` with everything that is wrong."""

    def read(self, study: LabeledStudy, scratch: Path) -> LabeledVolume:
        """Read one study, the only one in memory; ``scratch`` is an empty folder for its use.

        Raises ``DataSetError`` when its files cannot be read or do not fit together.
        """
