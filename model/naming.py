"""From voxel probabilities to named levels: components, and one anatomical order for the whole column.

Pure (numpy and scipy). Arrays are at network spacing in the standard frame, so slices run from head to feet.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.findings import Vertebra

Field = NDArray[np.float16] | NDArray[np.float32]
LEVELS = len(Vertebra)
USUAL_STEPS_MM = (18.0, 20.5, 16.5, 16.0, 16.0, 17.5)
"""Usual distances between the middles (of all voxels) of C1 and C2, C2 and C3, ... C6 and C7, seen from the side."""
SIZES = {1.0: 0.0, 0.85: 1.5, 1.13: 1.5}
"""Necks that are tried, as multiples of the usual distances, and what the unusual ones cost."""
MOST_PIECES = 400
"""More pieces than this are noise: the smallest are left out, so that time stays bounded whatever the network says."""
MOST_NAMED = 32
"""Of the pieces this many, the largest, take part in the naming of levels."""


@dataclass(frozen=True, slots=True)
class NamingConfig:
    """How voxel probabilities become levels; a bundle carries the values that fit its network.

    ``minimum_mm3``: smaller levels are not reported. ``skip_cost`` and ``left_out_cost``: how implausible it is that a
    level between two others has no bone at all, and that a large piece of the column belongs to no level (in nats).
    ``anchor_weight``: how much more the opinion on C1 and C2 counts, which look like no other level. A voxel beside a
    level joins it from ``edge_hu`` (HU) on, where it is some level with ``edge_probability``.
    """

    minimum_mm3: float = 900.0
    piece_mm3: float = 450.0
    crumb_mm3: float = 15.0
    crumb_reach_mm: float = 6.0
    skip_cost: float = 6.0
    left_out_cost: float = 9.0
    anchor_weight: float = 2.5
    edge_hu: float = 300.0
    edge_probability: float = 0.05


@dataclass(frozen=True, slots=True)
class Piece:
    """A connected part of the column: its middle (mm), volume and how much it looks like each level.

    ``cut``: it touches the first or last slice, so that its middle is not that of the whole part.
    """

    number: int
    middle_mm: tuple[float, float, float]
    volume_mm3: float
    likeness: tuple[float, ...]
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Levels:
    """Named levels: the label map (0, 1..7), which levels it holds, and which the field of view cuts."""

    labels: NDArray[np.uint8]
    found: tuple[Vertebra, ...] = ()
    cut: frozenset[Vertebra] = frozenset()


def find_pieces(levels: Field, spacing_mm: float, config: NamingConfig) -> tuple[NDArray[np.int32], list[Piece]]:
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
            cut = place[0].start == 0 or place[0].stop == best.shape[0]
            volume = float(sizes[part]) * voxel_mm3
            pieces.append(Piece(number, middle, volume, tuple(float(x) for x in likeness), cut))
    return numbers, pieces


def _step_cost(above: Piece, below: Piece, names: tuple[int, int], size: float, config: NamingConfig) -> float:
    """What it costs to give these names to two pieces of which one follows the other toward the feet.

    Parts of one level lie at one height; middles of neighbors are about a usual distance (times ``size``) apart, never
    two; of a piece that the field of view cuts, the distance says little.
    """
    steps = names[1] - names[0]
    if steps < 0:
        return 40.0
    down, back = (below.middle_mm[axis] - above.middle_mm[axis] for axis in (0, 1))
    if steps == 0:
        return max(0.0, abs(down) - 6.0) ** 2 / 16.0
    usual = size * sum(USUAL_STEPS_MM[names[0] - 1 : names[1] - 1])
    off = max(0.0, abs(float(np.hypot(down, back)) - usual) - 0.3 * usual / steps)
    short = max(0.0, 0.62 * usual - down)
    trust = 0.25 if above.cut or below.cut else 1.0
    return min(20.0, trust * (off**2 / 10.0 + short**2 / 4.0)) + config.skip_cost * (steps - 1)


def _weight(piece: Piece, config: NamingConfig) -> float:
    """How much the network's opinion of this piece counts."""
    anchor = int(np.argmax(piece.likeness)) + 1 in (Vertebra.C1, Vertebra.C2)
    return min(1.0, piece.volume_mm3 / 4000.0) * (config.anchor_weight if anchor else 1.0)


def name_pieces(pieces: list[Piece], config: NamingConfig) -> dict[int, Vertebra]:
    """The most plausible names of the large pieces, all at once: levels follow each other downwards, none is skipped.

    Dynamic programming over the pieces from head to feet, for small to large necks: the network's opinion of each piece
    is weighed against the distances between neighbors. A piece that fits nowhere stays unnamed.
    """
    large = sorted((piece for piece in pieces if piece.volume_mm3 >= config.piece_mm3), key=lambda p: -p.volume_mm3)
    column = sorted(large[:MOST_NAMED], key=lambda p: p.middle_mm[0])
    if not column:
        return {}
    tried = [(_named(column, size, config), cost) for size, cost in SIZES.items()]
    return min(tried, key=lambda answer: answer[0][0] + answer[1])[0][1]


def _named(column: list[Piece], size: float, config: NamingConfig) -> tuple[float, dict[int, Vertebra]]:
    """The cost of the best names of these pieces (head to feet) in a neck of this size, and the names."""
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
            through = cost[earlier, other] + skipped + _step_cost(column[earlier], piece, (other, level), size, config)
            if through < best:
                best, source = through, (earlier, other)
        cost[index, level] = best + opinion
        came[index, level] = source
    total = {state: value + float(left_out[-1] - left_out[state[0] + 1]) for state, value in cost.items()}
    last = min(states, key=total.__getitem__)
    end: tuple[int, int] | None = last
    named: dict[int, Vertebra] = {}
    while end is not None:
        named[column[end[0]].number] = Vertebra(end[1])
        end = came[end]
    return total[last], named


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


def _with_edges(labels: NDArray[np.uint8], candidates: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The label map grown by one voxel into candidates: the cortex that networks leave out half of the time."""
    grown = labels.copy()
    free = candidates & (labels == 0)
    for axis in range(3):
        for ours, theirs in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            place = tuple(ours if k == axis else slice(None) for k in range(3))
            beside = tuple(theirs if k == axis else slice(None) for k in range(3))
            joins = free[place] & (grown[place] == 0) & (labels[beside] > 0)
            grown[place][joins] = labels[beside][joins]
    return grown


def solve_levels(levels: Field, hu: NDArray[np.float32], spacing_mm: float, config: NamingConfig) -> Levels:
    """Name every level in probabilities (slice, row, column, 8); ``hu`` is the CT on the same grid."""
    numbers, pieces = find_pieces(levels, spacing_mm, config)
    named = name_pieces(pieces, config)
    labels = _adopt_crumbs(numbers, pieces, named, spacing_mm, config.crumb_reach_mm)
    labels = _with_edges(labels, (hu > config.edge_hu) & (levels[..., 0] < 1 - config.edge_probability))
    found, cut = [], set()
    for level in Vertebra:
        mine = labels == level
        if mine.sum() * spacing_mm**3 < config.minimum_mm3:
            labels[mine] = 0
            continue
        if mine[:2].any() or mine[-2:].any():
            cut.add(level)
        found.append(level)
    return Levels(labels, tuple(found), frozenset(cut))
