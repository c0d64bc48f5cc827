"""Crops of real bone for the fracture network: pieces of one head, intact or broken semi-synthetically.

The pieces are no vertebrae (but for C1 and C2): they show the network what real trabeculae, sutures, canals and joints
look like, so that texture alone is no fracture. The female neck is kept for testing and never enters here.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.crops import CropConfig
from training.evaluation.real_sets import read_head
from training.fitting.crop_sampler import CropCase
from training.preparation.crop_cases import RECORD_FILE, compact, cut_case, write_shards
from training.synthesis.anatomy import SEEN_MM3, blurred
from training.synthesis.artifacts import random_artifacts
from training.synthesis.fractures import Cut, unit
from training.synthesis.semisynthetic import RealBone, break_bone
from training.synthesis.shapes import Field, Spot

PIECE_MM = ((-24.0, 24.0), (-42.0, 42.0), (-46.0, 46.0))
STEP_MM = (1.0, 0.8, 0.8)
BONE_HU = 180.0
LEAST_BONE_MM3 = 1500.0
KIND = "plane through real bone"
SOURCE = "real head"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of real CT around a bone, turned and scaled: HU and the bone that stands for a level."""

    hu: Field
    bone: NDArray[np.bool_]


def random_piece(
    hu: NDArray[np.int16], spacing_mm: tuple[float, float, float], centre: Spot, rng: np.random.Generator
) -> Piece:
    """The piece around ``centre`` (mm from voxel (0, 0, 0)), turned by a few degrees and scaled a little."""
    axes = [np.arange(low, high, step, dtype=np.float32) for (low, high), step in zip(PIECE_MM, STEP_MM, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    a, b, c = np.radians(rng.normal(0, 10, size=3))
    turn = np.array([[1, a, b], [-a, 1, c], [-b, -c, 1]]) / rng.uniform(0.85, 1.2)
    turned = np.tensordot(turn.astype(np.float32), grid, axes=1)
    index = np.stack([(part + at) / step for part, at, step in zip(turned, centre, spacing_mm, strict=True)]).astype(
        np.float32
    )
    shown = ndimage.map_coordinates(hu, index, output=np.float32, order=1, mode="constant", cval=-1000)
    near = sum((part / radius) ** 2 for part, radius in zip(grid, rng.uniform((12, 22, 24), (20, 36, 40)), strict=True))
    dense = blurred(shown, (0.7, 0.9, 0.9)) > BONE_HU
    bone = ndimage.binary_closing(dense, iterations=2) & (near < 1)
    return Piece(shown, np.asarray(bone))


def _recolored(piece: Piece, rng: np.random.Generator) -> Field:
    """The same bone by another scanner: denser or thinner, softer or sharper."""
    hu = piece.hu
    hu = np.where(hu > 150, 150 + (hu - 150) * np.float32(rng.uniform(0.6, 1.5)), hu)
    hu = blurred(hu, (0, *(float(rng.uniform(0, 0.8)),) * 2)) if rng.random() < 0.5 else hu
    if rng.random() < 0.4:
        hu = hu + np.float32(rng.uniform(0.3, 1.2)) * (hu - blurred(hu, (0.8, 1.2, 1.2)))
    return np.asarray(hu, dtype=np.float32)


def _random_cut(rng: np.random.Generator) -> Cut:
    normal = unit(*(float(x) for x in rng.normal(size=3)))
    slip = rng.uniform(0, 0.5) if rng.random() < 0.4 else rng.uniform(0.5, 3.0)
    moved = rng.normal(0, 0.35, size=3) * slip + np.array(normal) * slip * rng.uniform(0.2, 0.9)
    gap = float(np.exp(rng.uniform(np.log(0.8), np.log(3.2))))
    return Cut(Spot(0, 0, 0), normal, Spot(*(float(x) for x in moved)), gap, float(rng.uniform(8, 15)))


def real_patches(
    hu: NDArray[np.int16], spacing_mm: tuple[float, float, float], middles: list[Spot], count: int, seed: int
) -> Iterator[CropCase]:
    """Crops from a CT in the standard frame; every third piece lies around one of ``middles`` (mm), half are broken."""
    rng = np.random.default_rng(seed)
    bone = np.argwhere(hu[::4, ::4, ::4] > BONE_HU) * 4 * np.array(spacing_mm)
    voxel_mm3 = float(np.prod(STEP_MM))
    made = 0
    while made < count:
        near = middles[int(rng.integers(len(middles)))] if rng.random() < 0.34 else bone[int(rng.integers(len(bone)))]
        piece = random_piece(hu, spacing_mm, Spot(*(float(x) for x in np.array(near) + rng.normal(0, 5, size=3))), rng)
        if piece.bone.sum() * voxel_mm3 < LEAST_BONE_MM3:
            continue
        shown, lesion = _recolored(piece, rng), np.zeros(piece.bone.shape, dtype=np.bool_)
        if made % 2:
            at = np.argwhere(piece.bone)
            spot = at[int(rng.integers(len(at)))] * np.array(STEP_MM)
            real = RealBone(shown, piece.bone, STEP_MM)
            shown, lesion = break_bone(real, _random_cut(rng), Spot(*(float(x) for x in spot)), rng)
            if lesion.sum() * voxel_mm3 < 2 * SEEN_MM3:
                continue
        about = (1, KIND if made % 2 else "", SOURCE)
        shown = random_artifacts(shown, STEP_MM, rng)
        yield compact(cut_case(shown, piece.bone.astype(np.uint8), lesion, about, STEP_MM, CropConfig()))
        made += 1


def make_real_patches(data_folder: Path, output: Path, count: int, seed: int) -> int:
    """Write crops of the real head (``harvard-head`` in the data folder) as training crops; returns their number.

    Raises ``SetUnavailable`` where the head is missing or not as known.
    """
    head = read_head(data_folder)
    middles = [
        Spot(*(index * step for index, step in zip(voxel, head.spacing_mm, strict=True)))
        for voxel in head.middles.values()
    ]
    output.mkdir(parents=True, exist_ok=True)
    made = write_shards(output, real_patches(head.hu, head.spacing_mm, middles, count, seed))
    record = {"data": f"{head.data}; broken semi-synthetically", "seed": seed, "count": made}
    (output / RECORD_FILE).write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
    return made
