"""A parametric synthetic neck CT with known truth: seven anatomically shaped levels, their surroundings, fractures.

No patient's data enters it. Arrays are in the standard frame: slices head to feet, rows anterior to posterior,
columns right to left. Coordinates in mm: w toward the feet, v backward, u to the left; the origin is C4.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from model.findings import Vertebra
from training.synthesis.anatomy import Anatomy, Grid, Tissue, seen, smooth_noise
from training.synthesis.augment import Contrast, paint
from training.synthesis.fractures import LESION_MM, FractureKind, broken, plan_fracture, random_kind
from training.synthesis.mimics import random_mimics
from training.synthesis.posture import Posture, random_column, rotation
from training.synthesis.shapes import Field, Points, Solid, Spot
from training.synthesis.surroundings import Body, Curve, fill_tissues, hyoid, mandible, skull, teeth
from training.synthesis.vertebrae import BUILDS, rib, vertebra


@dataclass(frozen=True, slots=True)
class PhantomConfig:
    """What phantom to make.

    ``field_of_view_mm`` and ``spacing_mm`` are (slice, row, column). ``above_mm`` is how far the field of view reaches
    above the middle of C4 (the top of C1 lies about 68 mm above it, the tip of C7 about 85 mm below it).
    ``matrix``: rows and columns of the final slices, filled up with air around the field of view; None leaves them.
    ``kinds`` names levels to break and how; ``fractured`` names levels to break in a way that is drawn.
    ``contrast``: None draws one at random. ``around``: only levels within two of this one are made.
    """

    fractured: frozenset[Vertebra] = frozenset()
    kinds: Mapping[Vertebra, FractureKind] = field(default_factory=dict)
    spacing_mm: tuple[float, float, float] = (1.2, 1.2, 1.2)
    field_of_view_mm: tuple[float, float, float] = (180.0, 170.0, 160.0)
    above_mm: float = 85.0
    around: Vertebra | None = None
    with_mandible: bool = True
    table: bool = False
    matrix: tuple[int, int] | None = None
    contrast: Contrast | None = None


@dataclass(frozen=True, slots=True)
class Phantom:
    """A synthetic CT in the standard frame with its truth.

    ``labels``: 0 background, 1..7 C1..C7, 8, 9 T1, T2; ``fracture`` marks fractures (inside their level's label).
    """

    hu: NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    labels: NDArray[np.uint8]
    fracture: NDArray[np.bool_]
    kinds: Mapping[Vertebra, FractureKind] = field(default_factory=dict)

    @property
    def fractured(self) -> frozenset[Vertebra]:
        """The levels that are broken."""
        return frozenset(self.kinds)


class _Composer:
    """Adds solids to one grid: keeps the distance to the nearest bone, the labels and the lesions."""

    def __init__(self, grid: Grid, rng: np.random.Generator) -> None:
        self.grid = grid
        self.rng = rng
        self.spacing = tuple(float(axis[1] - axis[0]) for axis in (grid.w, grid.v, grid.u))
        self.depth = np.full(grid.shape, 20.0, dtype=np.float32)
        self.outline = np.zeros(grid.shape, dtype=np.float32)
        self.labels = np.zeros(grid.shape, dtype=np.uint8)
        self.fracture = np.zeros(grid.shape, dtype=np.bool_)
        self.cleft = np.zeros(grid.shape, dtype=np.float32)

    def box(self, centre: Spot, low: Spot, high: Spot) -> tuple[slice, slice, slice]:
        return self.grid.box(
            (centre.w + low.w, centre.v + low.v, centre.u + low.u),
            (centre.w + high.w, centre.v + high.v, centre.u + high.u),
        )

    def rough(self, box: tuple[slice, slice, slice], amplitude_mm: float, cell_mm: float) -> Field:
        shape = tuple(part.stop - part.start for part in box)
        return amplitude_mm * smooth_noise(shape, tuple(cell_mm / step for step in self.spacing), self.rng)

    def add_bone(self, solid: Solid, posture: Posture, reach: tuple[Spot, Spot]) -> None:
        """A bone without a label."""
        box = self.box(posture.centre, *reach)
        if not all(part.stop > part.start for part in box):
            return
        distance = solid(posture.local(self.grid, box)) * np.float32(posture.scale) + self.rough(box, 0.8, 9.0)
        np.minimum(self.depth[box], distance, out=self.depth[box])

    def add_vertebra(self, label: int, posture: Posture, kind: FractureKind | None) -> None:
        """One labeled vertebra, broken or not; where two overlap the deeper one keeps the voxel."""
        solid, build = vertebra(label, self.rng)
        own = np.random.default_rng(self.rng.integers(2**63))
        mimics = random_mimics(label, build, own)
        box = self.box(posture.centre, Spot(-48, -34, -58), Spot(48, 66, 58))
        if not all(part.stop > part.start for part in box):
            return
        points = posture.local(self.grid, box)
        points = Points(*(axis + self.rough(box, 0.9, 14.0) for axis in points))
        bumps = self.rough(box, 0.5, 5.0)
        if kind is not None:
            fracture = plan_fracture(kind, build, own)
            made = broken(solid, build, fracture, points, self.rough(box, 1.2, 7.0), self.spacing[1])
            outline = made.outline
        else:
            outline = solid(points)
        bone = mimics.applied(outline, points) * np.float32(posture.scale) + bumps
        outline = outline * np.float32(posture.scale) + bumps
        mine = (outline < 0) & (outline < self.outline[box])
        self.labels[box][mine] = label if label <= 9 else 0
        self.outline[box][mine] = outline[mine]
        np.minimum(self.depth[box], bone, out=self.depth[box])
        self.fracture[box][mine] = made.lesion_mm[mine] < LESION_MM if kind is not None else False
        self.cleft[box][mine] = made.cleft[mine] if kind is not None else 0.0
        if label > 7:
            self.add_bone(rib(build), posture, (Spot(-40, -60, -80), Spot(60, 50, 80)))


def _curve(column: dict[int, Posture]) -> Curve:
    centres = [column[label].centre for label in sorted(column)]
    ends = (centres[0]._replace(w=centres[0].w - 200), *centres, centres[-1]._replace(w=centres[-1].w + 200))
    w, v, u = (np.array(axis, dtype=np.float32) for axis in zip(*ends, strict=True))
    return Curve(w, v, u)


def make_anatomy(
    rng: np.random.Generator, grid: Grid, config: PhantomConfig, column: dict[int, Posture] | None = None
) -> Anatomy:
    """The tissues of one neck on this grid (its origin is the middle of C4); ``column``: None draws a posture."""
    column = column or random_column(rng)
    composer = _Composer(grid, rng)
    drawn = {level: random_kind(level, rng) for level in sorted(config.fractured)}
    kinds = {**drawn, **config.kinds}
    for label, posture in column.items():
        if config.around is not None and abs(label - config.around) > 2:
            continue
        composer.add_vertebra(label, posture, kinds.get(Vertebra(label)) if label <= 7 else None)
    head = replace(column[1], axes=rotation(float(rng.normal(0, 0.12)), 0.0, float(rng.normal(0, 0.05))))
    body = Body.random(rng, table=config.table)
    curve = _curve(column)
    tissue = fill_tissues(grid, curve, body, (column[1].centre, column[7].centre), rng)
    wide = (Spot(-160, -130, -110), Spot(80, 130, 110))
    composer.add_bone(skull(rng), head, wide)
    drop = float(rng.uniform(18, 52))
    middle = column[3].centre
    composer.add_bone(
        hyoid(rng),
        Posture(middle._replace(w=middle.w + rng.uniform(-5, 22)), head.axes, 1.0),
        (Spot(-12, -60, -30), Spot(12, 0, 30)),
    )
    if config.with_mandible:
        composer.add_bone(mandible(drop), head, wide)
        box = composer.box(head.centre, *wide)
        tissue[box][teeth(drop)(head.local(grid, box)) < 0] = Tissue.TOOTH
    _fill_discs(tissue, column, composer)
    kinds = seen(kinds, composer.labels, composer.fracture, grid)
    return Anatomy(composer.labels, composer.depth, tissue, composer.fracture, composer.cleft, kinds)


def _fill_discs(tissue: NDArray[np.uint8], column: dict[int, Posture], composer: _Composer) -> None:
    """Discs between C2 and T2, in place."""
    for label in range(2, 11):
        above, below = column[label], column[label + 1]
        build = BUILDS.get(label, BUILDS[3])
        middle = Spot(*(float(x) for x in (np.array(above.centre) + np.array(below.centre)) / 2))
        box = composer.box(middle, Spot(-12, -14, -16), Spot(12, 14, 16))
        w, v, u = Posture(middle, above.axes, above.scale).local(composer.grid, box)
        inside = (np.abs(w) < 7) & ((v / build.half_depth) ** 2 + (u / build.half_width) ** 2 < 1)
        tissue[box][inside] = Tissue.DISC


def make_phantom(seed: int, config: PhantomConfig | None = None) -> Phantom:
    """The synthetic CT of this seed: the same seed and configuration make the same voxels."""
    config = config or PhantomConfig()
    rng = np.random.default_rng(seed)
    shape = tuple(round(extent / step) for extent, step in zip(config.field_of_view_mm, config.spacing_mm, strict=True))
    origin = (-config.above_mm, -0.58 * config.field_of_view_mm[1], -0.5 * config.field_of_view_mm[2])
    grid = Grid.centred((shape[0], shape[1], shape[2]), config.spacing_mm, origin)
    anatomy = make_anatomy(rng, grid, config)
    contrast = config.contrast or Contrast.random(rng)
    hu = np.clip(np.rint(paint(anatomy, contrast, config.spacing_mm, rng)), -1024, 3071).astype(np.int16)
    if config.matrix is None:
        return Phantom(hu, config.spacing_mm, anatomy.labels, anatomy.fracture, anatomy.kinds)
    return _padded(hu, anatomy, config, rng)


def _padded(hu: NDArray[np.int16], anatomy: Anatomy, config: PhantomConfig, rng: np.random.Generator) -> Phantom:
    """The phantom in the middle of a larger matrix of noisy air."""
    rows, columns = config.matrix or hu.shape[1:]
    if rows < hu.shape[1] or columns < hu.shape[2]:
        raise ValueError(f"matrix {rows}x{columns} is smaller than the field of view {hu.shape[1]}x{hu.shape[2]}")
    before = (rows - hu.shape[1]) // 2, (columns - hu.shape[2]) // 2
    place = (slice(None), slice(before[0], before[0] + hu.shape[1]), slice(before[1], before[1] + hu.shape[2]))
    air = rng.integers(-1020, -975, size=(1, rows, columns), dtype=np.int16)
    full = np.repeat(air, hu.shape[0], axis=0)
    full[place] = hu
    labels = np.zeros(full.shape, dtype=np.uint8)
    labels[place] = anatomy.labels
    fracture = np.zeros(full.shape, dtype=np.bool_)
    fracture[place] = anatomy.fracture
    return Phantom(full, config.spacing_mm, labels, fracture, anatomy.kinds)


def demo_phantom() -> Phantom:
    """The study of ``cspine demo``: 200 slices of 512x512 at 1 mm, C1 to C7 in view, C5 fractured."""
    config = PhantomConfig(
        kinds={Vertebra.C5: FractureKind.BURST},
        spacing_mm=(1.0, 1.0, 1.0),
        field_of_view_mm=(200.0, 190.0, 200.0),
        above_mm=95.0,
        table=True,
        matrix=(512, 512),
        contrast=Contrast(),
    )
    return make_phantom(20220732, config)
