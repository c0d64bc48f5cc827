"""What is known of one answer after it was compared with the truth: plain values, which can be kept as JSON."""

from dataclasses import dataclass

from model.findings import Limitation, Vertebra
from training.evaluation.surface import SurfaceDistance

ENOUGH_LEVELS = 5


@dataclass(frozen=True, slots=True)
class MaskResult:
    """A level whose true mask is known.

    ``right``: most of its voxels carry its name. ``named_as``: the name that most of them carry, None for none.
    ``distance``: of the surfaces; None where nothing carries the name.
    """

    dice: float
    right: bool
    named_as: Vertebra | None
    distance: SurfaceDistance | None


@dataclass(frozen=True, slots=True)
class LevelResult:
    """One level that is in view, or whose truth is known.

    ``found``: the answer holds it. ``called``: suspected at the bundle's threshold. ``fractured``: the truth; None when
    it is unknown or the fracture lies out of view. ``kind``: its type ("" unknown). ``mask``: None where the level's
    mask is not known. ``lesion_hit``: whether the fracture mask meets a marked fracture, where the level is broken and
    called and its fracture was marked; ``lesion_dice``: of both, where the level's mask is known too.
    """

    vertebra: Vertebra
    probability: float
    found: bool
    called: bool
    fractured: bool | None
    kind: str = ""
    mask: MaskResult | None = None
    lesion_hit: bool | None = None
    lesion_dice: float | None = None


@dataclass(frozen=True, slots=True)
class StudyResult:
    """One study: its judged levels, absent levels that were named, alarms where no level is.

    ``probability``: of any fracture. ``highest``: the highest of the levels', which decides whether a study is called.
    ``called``: any level is suspected. ``masked``: the true levels are known, so that names are judged. ``unknown``:
    levels that cannot be judged because their truth is unknown. ``refused``: why the predictor would not answer (""
    when it did). ``patient``: whose study it is ("": a patient of its own).
    """

    name: str
    levels: tuple[LevelResult, ...]
    probability: float
    highest: float
    called: bool
    seconds: float
    masked: bool
    wrongly_named: tuple[Vertebra, ...] = ()
    stray_alarms: tuple[Vertebra, ...] = ()
    unknown: tuple[Vertebra, ...] = ()
    limitations: tuple[Limitation, ...] = ()
    refused: str = ""
    patient: str = ""
    site: str = ""

    @property
    def all_right(self) -> bool:
        """Whether every level with a known mask has its name and no absent one was named."""
        return not self.wrongly_named and all(level.mask.right for level in self.levels if level.mask)

    @property
    def enough_levels(self) -> bool:
        """Whether five levels or more are judged."""
        return len(self.levels) >= ENOUGH_LEVELS

    @property
    def fractured(self) -> bool | None:
        """Whether any level is broken; None when none is known to be and the truth of some is unknown."""
        if any(level.fractured for level in self.levels):
            return True
        return None if self.unknown else False

    @property
    def missed(self) -> tuple[Vertebra, ...]:
        """Levels in view that the answer does not hold."""
        return tuple(level.vertebra for level in self.levels if not level.found)
