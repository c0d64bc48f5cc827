"""Small folders of 2-D images in the source paper's form, for tests: drawn necks whose label shows in the pixels."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 72


def neck(level: int, seed: int, *, fractured: bool) -> np.ndarray:
    """A gray image (row, column): a body with as many dots as the level's number, cut by a dark line if fractured."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((SIZE, SIZE))
    middle = SIZE / 2 + rng.uniform(-4, 4, 2)
    near = np.hypot(rows - middle[0], columns - middle[1])
    gray = np.where(near < 30, 70.0, 0.0) + np.where(near < rng.uniform(12, 18), 110.0, 0.0)
    for number in range(level):
        angle = 2 * np.pi * number / 7
        spot = middle + 24 * np.array([np.sin(angle), np.cos(angle)])
        gray[np.hypot(rows - spot[0], columns - spot[1]) < 3] = 230
    if fractured:
        line = rows - middle[0] - (columns - middle[1]) * rng.uniform(-0.6, 0.6)
        gray[(np.abs(line) < 2) & (near < 22)] = 20
    waves = rng.normal(0, 12, (9, 9)).repeat(8, axis=0).repeat(8, axis=1)
    return np.clip(gray + waves * (near < 30) + rng.normal(0, 5, gray.shape), 0, 255).astype(np.uint8)


def image_tree(folder: Path, studies: int = 28, slices: int = 2, *, masks: bool = False) -> Path:
    """``fracture|normal/C1..C7/study<n>_<slice>.png|jpg``: each study of one level, every other pass fractured.

    ``masks``: a square in the middle marks each fracture.
    """
    for study in range(studies):
        level, fractured = study % 7 + 1, study // 7 % 2 == 0
        parent = folder / ("fracture" if fractured else "normal") / f"C{level}"
        parent.mkdir(parents=True, exist_ok=True)
        for number in range(slices):
            image = Image.fromarray(neck(level, 100 * study + number, fractured=fractured))
            path = parent / f"study{study}_{number:03d}.{'png' if number % 2 else 'jpg'}"
            image.save(path)
            if masks and fractured:
                rows, columns = np.indices((SIZE, SIZE))
                shown = (np.abs(rows - SIZE / 2) < 10) & (np.abs(columns - SIZE / 2) < 10)
                Image.fromarray((255 * shown).astype(np.uint8)).save(path.with_suffix(".mask.png"))
    return folder
