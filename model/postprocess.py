"""From voxel probabilities to named levels and findings: components, and one anatomical order for the whole column.

Pure (numpy and scipy). Arrays are at network spacing in the standard frame, so slices run from head to feet.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.findings import Limitation, StudyFindings, Vertebra, VertebraFinding

Field = NDArray[np.float16] | NDArray[np.float32]
LEVELS = len(Vertebra)
USUAL_STEPS_MM = (18.0, 20.5, 16.5, 16.0, 16.0, 17.5)
"""Usual distances between the middles (of all voxels) of C1 and C2, C2 and C3, ... C6 and C7, seen from the side."""
MOST_PIECES = 400
"""More pieces than this are noise: the smallest are left out, so that time stays bounded whatever the network says."""
MOST_NAMED = 32
"""Of the pieces this many, the largest, take part in the naming of levels."""


@dataclass(frozen=True, slots=True)
class PostprocessConfig:
    """How probabilities become findings; a bundle carries the values that fit its network.

    ``fracture_scale`` and ``fracture_offset`` turn the logit of the mean of the ``fracture_top_mm3`` most suspicious
    voxels of a level into the logit of its probability. ``minimum_mm3``: smaller levels are not reported.
    ``skip_cost`` and ``left_out_cost``: how implausible it is that a level between two others has no bone at all, and
    that a large piece of the column belongs to no level (in nats).
    ``anchor_weight``: how much more the opinion on C1 and C2 counts, which look like no other level.
    """

    fracture_scale: float = 1.0
    fracture_offset: float = 0.0
    fracture_top_mm3: float = 300.0
    threshold: float = 0.5
    minimum_mm3: float = 900.0
    piece_mm3: float = 450.0
    crumb_mm3: float = 15.0
    crumb_reach_mm: float = 6.0
    skip_cost: float = 6.0
    left_out_cost: float = 9.0
    anchor_weight: float = 2.5


@dataclass(frozen=True, slots=True)
class Piece:
    """A connected part of the column: its voxels' box, middle (mm), volume and how much it looks like each level."""

    number: int
    middle_mm: tuple[float, float, float]
    volume_mm3: float
    likeness: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Levels:
    """Named levels: the label map (0, 1..7) and the fracture score (0..1) of each level found."""

    labels: NDArray[np.uint8]
    scores: dict[Vertebra, float] = field(default_factory=dict)
    cut: frozenset[Vertebra] = frozenset()


def find_pieces(levels: Field, spacing_mm: float, config: PostprocessConfig) -> tuple[NDArray[np.int32], list[Piece]]:
    """Connected voxels of one most likely level each; returns their numbers (0: none) and their description.

    ``levels``: (slice, row, column, 8) probabilities.
    """
    best = np.asarray(levels.argmax(axis=-1), dtype=np.uint8)
    numbers = np.zeros(best.shape, dtype=np.int32)
    pieces: list[Piece] = []
    voxel_mm3 = spacing_mm**3
    for label, where in enumerate(ndimage.find_objects(best, max_label=LEVELS), start=1):
        if where is None:
            continue
        found, count = ndimage.label(best[where] == label)
        sizes = np.bincount(found.ravel(), minlength=count + 1)
        boxes = ndimage.find_objects(found)
        by_size = sorted(range(1, count + 1), key=lambda part: -sizes[part])[: MOST_PIECES // LEVELS]
        for part in by_size:
            if sizes[part] * voxel_mm3 < config.crumb_mm3:
                break
            box = boxes[part - 1]
            mine = found[box] == part
            place = tuple(slice(o.start + b.start, o.start + b.stop) for o, b in zip(where, box, strict=True))
            number = len(pieces) + 1
            numbers[place][mine] = number
            at = np.argwhere(mine).mean(axis=0) + [part_slice.start for part_slice in place]
            likeness = levels[place][mine].astype(np.float32).mean(axis=0)[1:]
            middle = (float(at[0]) * spacing_mm, float(at[1]) * spacing_mm, float(at[2]) * spacing_mm)
            pieces.append(Piece(number, middle, float(sizes[part]) * voxel_mm3, tuple(float(x) for x in likeness)))
    return numbers, pieces


def _step_cost(above: Piece, below: Piece, names: tuple[int, int], config: PostprocessConfig) -> float:
    """What it costs to give these names to two pieces of which one follows the other toward the feet.

    Parts of one level lie at one height; middles of neighbors are about a usual distance apart, never two.
    """
    steps = names[1] - names[0]
    if steps < 0:
        return 40.0
    down, back = (below.middle_mm[axis] - above.middle_mm[axis] for axis in (0, 1))
    if steps == 0:
        return max(0.0, abs(down) - 6.0) ** 2 / 16.0
    usual = sum(USUAL_STEPS_MM[names[0] - 1 : names[1] - 1])
    off = max(0.0, abs(float(np.hypot(down, back)) - usual) - 0.3 * usual / steps)
    short = max(0.0, 0.62 * usual - down)
    return min(20.0, off**2 / 10.0 + short**2 / 4.0) + config.skip_cost * (steps - 1)


def _weight(piece: Piece, config: PostprocessConfig) -> float:
    """How much the network's opinion of this piece counts."""
    anchor = int(np.argmax(piece.likeness)) + 1 in (Vertebra.C1, Vertebra.C2)
    return min(1.0, piece.volume_mm3 / 4000.0) * (config.anchor_weight if anchor else 1.0)


def name_pieces(pieces: list[Piece], config: PostprocessConfig) -> dict[int, Vertebra]:
    """The most plausible names of the large pieces, all at once: levels follow each other downwards, none is skipped.

    Dynamic programming over the pieces from head to feet: the network's opinion of each piece is weighed against the
    distances between neighbors. A piece that fits nowhere stays unnamed.
    """
    large = sorted((piece for piece in pieces if piece.volume_mm3 >= config.piece_mm3), key=lambda p: -p.volume_mm3)
    column = sorted(large[:MOST_NAMED], key=lambda p: p.middle_mm[0])
    if not column:
        return {}
    states = [(index, level) for index in range(len(column)) for level in range(1, LEVELS + 1)]
    cost: dict[tuple[int, int], float] = {}
    came: dict[tuple[int, int], tuple[int, int] | None] = {}
    weights = [_weight(piece, config) for piece in column]
    left_out = np.concatenate([[0.0], np.cumsum([config.left_out_cost * weight for weight in weights])])
    for index, level in states:
        piece = column[index]
        opinion = -weights[index] * 1.5 * float(np.log(max(piece.likeness[level - 1], 0.01)))
        best, source = float(left_out[index]), None
        for earlier, other in states[: index * LEVELS]:
            skipped = float(left_out[index] - left_out[earlier + 1])
            through = cost[earlier, other] + skipped + _step_cost(column[earlier], piece, (other, level), config)
            if through < best:
                best, source = through, (earlier, other)
        cost[index, level] = best + opinion
        came[index, level] = source
    end: tuple[int, int] | None = min(states, key=lambda s: cost[s] + float(left_out[-1] - left_out[s[0] + 1]))
    named: dict[int, Vertebra] = {}
    while end is not None:
        named[column[end[0]].number] = Vertebra(end[1])
        end = came[end]
    return named


def _adopt_crumbs(
    numbers: NDArray[np.int32], pieces: list[Piece], named: dict[int, Vertebra], spacing_mm: float, reach_mm: float
) -> NDArray[np.uint8]:
    """The label map: named pieces, and small pieces within ``reach_mm`` of the named piece that they resemble most."""
    names = np.zeros(len(pieces) + 1, dtype=np.uint8)
    for number, level in named.items():
        names[number] = level
    labels = names[numbers]
    crumbs = [piece for piece in pieces if piece.number not in named]
    boxes = ndimage.find_objects(numbers)
    pad = int(np.ceil(reach_mm / spacing_mm))
    adopted = labels.copy()
    for crumb in crumbs:
        box = tuple(slice(max(0, part.start - pad), part.stop + pad) for part in boxes[crumb.number - 1])
        near = ndimage.binary_dilation(numbers[box] == crumb.number, iterations=pad)
        around = np.bincount(labels[box][near], minlength=LEVELS + 1)[1:].astype(np.float64)
        support = np.where(around > 0, np.array(crumb.likeness) + 0.3 * around / max(1.0, around.max()), 0)
        if support.max() > 0.3:
            adopted[box][numbers[box] == crumb.number] = int(support.argmax()) + 1
    return adopted


def fracture_score(values: NDArray[np.float32], count: int) -> float:
    """The mean of the ``count`` highest of one level's fracture probabilities."""
    if values.size == 0:
        return 0.0
    count = min(count, values.size)
    return float(np.partition(values, values.size - count)[values.size - count :].mean())


def solve_levels(levels: Field, fracture: Field, spacing_mm: float, config: PostprocessConfig) -> Levels:
    """Name every level in probabilities (slice, row, column, 8) and score its fracture map (slice, row, column)."""
    numbers, pieces = find_pieces(levels, spacing_mm, config)
    named = name_pieces(pieces, config)
    labels = _adopt_crumbs(numbers, pieces, named, spacing_mm, config.crumb_reach_mm)
    scores: dict[Vertebra, float] = {}
    cut = set()
    top = max(1, round(config.fracture_top_mm3 / spacing_mm**3))
    for level in Vertebra:
        mine = labels == level
        if mine.sum() * spacing_mm**3 < config.minimum_mm3:
            labels[mine] = 0
            continue
        if mine[:2].any() or mine[-2:].any():
            cut.add(level)
        scores[level] = fracture_score(np.asarray(fracture[mine], dtype=np.float32), top)
    return Levels(labels, scores, frozenset(cut))


def probability(score: float, config: PostprocessConfig) -> float:
    """The calibrated fracture probability (0..1) of a score."""
    clipped = min(max(score, 1e-5), 1 - 1e-5)
    logit = config.fracture_scale * float(np.log(clipped / (1 - clipped))) + config.fracture_offset
    return float(1 / (1 + np.exp(-np.clip(logit, -30, 30))))


def limitations(found: Levels, slice_spacing_mm: float) -> tuple[Limitation, ...]:
    """What a reader must know about these levels, most serious first."""
    levels = sorted(found.scores)
    if not levels:
        return (Limitation.NO_LEVELS,)
    result = []
    gaps = [b - a for a, b in pairwise(levels)]
    if any(gap > 1 for gap in gaps):
        result.append(Limitation.LEVELS_NOT_CONTIGUOUS)
    runs = "".join("1" if gap == 1 else "0" for gap in gaps).split("0")
    if max(len(run) for run in runs) + 1 < 5:
        result.append(Limitation.FEW_LEVELS)
    if found.cut:
        result.append(Limitation.CUT_LEVEL)
    if slice_spacing_mm > 2.0:
        result.append(Limitation.THICK_SLICES)
    return tuple(result)


def findings(
    found: Levels, labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float], config: PostprocessConfig
) -> StudyFindings:
    """The findings of a study; ``labels`` is the label map on the source grid, of which volumes are taken."""
    voxel_mm3 = float(np.prod(spacing_mm))
    counts = np.bincount(labels.ravel(), minlength=LEVELS + 1)
    vertebrae = []
    for level, score in sorted(found.scores.items()):
        value = probability(score, config)
        vertebrae.append(VertebraFinding(level, value, value >= config.threshold, float(counts[level]) * voxel_mm3))
    overall = max((finding.probability for finding in vertebrae), default=0.0)
    return StudyFindings(tuple(vertebrae), overall, config.threshold, limitations(found, spacing_mm[0]))
