"""How the vertebrae of one neck stand: size, lordosis or kyphosis, lean and turn, as random as people are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.synthesis.anatomy import Grid
from training.synthesis.shapes import Points, Spot

PITCH_MM = {1: 17.5, 2: 19.5, 3: 17.8, 4: 17.2, 5: 17.0, 6: 17.6, 7: 18.8, 8: 20.0, 9: 21.0, 10: 21.5}
"""Distance from the middle of one label to that of the next below it."""


@dataclass(frozen=True, slots=True)
class Posture:
    """Where one vertebra stands: its middle in mm and its ``axes`` (rows: its own axes w, v, u in the neck's axes)."""

    centre: Spot
    axes: NDArray[np.float32]
    scale: float

    def local(self, grid: Grid, box: tuple[slice, slice, slice]) -> Points:
        """The voxels of the box in the vertebra's own axes."""
        w = grid.w[box[0]][:, None, None] - np.float32(self.centre.w)
        v = grid.v[box[1]][None, :, None] - np.float32(self.centre.v)
        u = grid.u[box[2]][None, None, :] - np.float32(self.centre.u)
        turned = self.axes / np.float32(self.scale)
        return Points(*(row[0] * w + row[1] * v + row[2] * u for row in turned))


def rotation(tilt: float, turn: float, lean: float) -> NDArray[np.float32]:
    """Axes of a vertebra that nods by ``tilt``, turns left by ``turn`` and leans left by ``lean`` (radians)."""
    ct, st, cy, sy, cl, sl = np.cos(tilt), np.sin(tilt), np.cos(turn), np.sin(turn), np.cos(lean), np.sin(lean)
    nod = np.array([[ct, -st, 0], [st, ct, 0], [0, 0, 1]])
    yaw = np.array([[1, 0, 0], [0, cy, -sy], [0, sy, cy]])
    roll = np.array([[cl, 0, -sl], [0, 1, 0], [sl, 0, cl]])
    return np.asarray(nod @ yaw @ roll, dtype=np.float32)


def random_column(rng: np.random.Generator) -> dict[int, Posture]:
    """The postures of C1 to T4 (numbered 1..11) in a random neck: size, lordosis or kyphosis, lean, turn."""
    size = rng.uniform(0.86, 1.12)
    lordosis = np.radians(rng.normal(14, 14))
    base = np.radians(rng.normal(0, 9))
    lean, bend = np.radians(rng.normal(0, 4)), np.radians(rng.normal(0, 4))
    head_turn = np.radians(rng.normal(0, 6))
    labels = np.arange(1, 12)
    tilts = base + lordosis * (labels - 4) / 3.5 + np.radians(rng.normal(0, 2.0, size=11))
    tilts[7:] = tilts[6] + np.radians(5) * np.arange(1, 5)
    leans = lean + bend * (labels - 4) / 4 + np.radians(rng.normal(0, 1.0, size=11))
    turns = head_turn * np.clip((6 - labels) / 5, 0, 1) + np.radians(rng.normal(0, 1.5, size=11))
    turns[0] += np.radians(rng.normal(0, 4))
    steps = {label: pitch * size * rng.uniform(0.95, 1.05) for label, pitch in PITCH_MM.items()}
    centres = {4: np.zeros(3)}
    for label in range(5, 12):
        middle = (tilts[label - 2] + tilts[label - 1]) / 2, (leans[label - 2] + leans[label - 1]) / 2
        centres[label] = centres[label - 1] + steps[label - 1] * rotation(middle[0], 0, middle[1])[0]
    for label in (3, 2, 1):
        middle = (tilts[label - 1] + tilts[label]) / 2, (leans[label - 1] + leans[label]) / 2
        centres[label] = centres[label + 1] - steps[label] * rotation(middle[0], 0, middle[1])[0]
    return {
        int(label): Posture(
            Spot(*(float(x) for x in centres[int(label)])),
            rotation(tilts[label - 1], turns[label - 1], leans[label - 1]),
            float(size * rng.uniform(0.97, 1.03)),
        )
        for label in labels
    }
