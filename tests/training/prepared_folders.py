"""Small prepared folders for tests of training: a column of seven levels whose place differs by study."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from model.crops import CropConfig
from model.findings import Vertebra
from model.preprocess import PreprocessConfig
from training.fitting.crop_sampler import CropCase, write_shard
from training.preparation import prepared
from training.preparation.prepared import PreparedStudy, Split

SHAPE = (96, 64, 24)
ROWS = 12
"""Rows of a level."""


def small_field(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A volume (slice, row, column) of soft tissue with a column of seven levels, and their labels."""
    rng = np.random.default_rng(number)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    top = int(rng.integers(2, 9))
    for level in range(1, 8):
        start = top + (level - 1) * ROWS
        labels[start : start + ROWS - 2, 20:40, 6:18] = level
    field = np.where(labels > 0, 1.0 + 0.1 * labels, 0.1) + rng.normal(0, 0.03, SHAPE)
    return field.astype(np.float32), labels


def small_crop(number: int, level: int, *, broken: bool, masked: bool = True) -> CropCase:
    """A crop of the usual size; a fracture is a dark line."""
    rng = np.random.default_rng((number, level))
    shown = np.full((8, 80, 96), 0.1, dtype=np.float32)
    shown[:, 20:60, 30:66] = 1.5
    mask = np.zeros((8, 40, 48), dtype=np.uint8)
    if broken:
        shown[2:6, 20:60, 46:49] = 0.1
        mask[2:6, 10:30, 22:26] = 255 if masked else 0
    mine = np.zeros((8, 80, 96), dtype=np.float32)
    mine[:, 20:60, 30:66] = 1
    shown += rng.normal(0, 0.02, shown.shape).astype(np.float32)
    return CropCase(shown, mine, mask, level, "burst" if broken else "", f"study {number}", masked or not broken)


def small_prepared(folder: Path, *, studies: int = 4, masked: bool = True) -> Path:
    """A prepared folder: of ``studies`` the last is for validation; C2 is fractured in each, C5 intact."""
    prepared.begin(folder, PreprocessConfig(), CropConfig())
    for number in range(studies):
        split = Split.VALIDATION if number == studies - 1 else Split.TRAIN
        name = prepared.study_name("small", str(number))
        prepared.write_field(folder, name, *small_field(number))
        crops = [small_crop(number, 2, broken=True, masked=masked), small_crop(number, 5, broken=False)]
        write_shard(folder / prepared.CROPS / f"{name}.npz", crops)
        truth = {Vertebra.C2: True, Vertebra.C5: False}
        study = PreparedStudy(name, "small", "site", f"patient {number}", split, truth, labels=True, own_labels=True)
        prepared.write_study(folder, replace(study, lesions=masked))
    return folder
