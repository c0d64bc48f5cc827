"""Synthetic test studies: whole necks and cut ones, slices of 0.5 to 3 mm, worn bone, artifacts; a seed makes each."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy import ndimage

from model.findings import Vertebra
from training.evaluation.evaluate import TEST_SEED, StudySet
from training.evaluation.judging import KnownStudy
from training.fitting.dataset import random_fractures
from training.synthesis.anatomy import Anatomy, Grid
from training.synthesis.artifacts import random_artifacts
from training.synthesis.atlas import Atlas
from training.synthesis.atlas_variation import AtlasVariation
from training.synthesis.augment import Contrast, paint
from training.synthesis.degeneration import degenerate
from training.synthesis.fractures import FractureKind
from training.synthesis.phantom import Phantom, PhantomConfig, make_anatomy

EXTENT_MM = (210.0, 190.0, 150.0)
ABOVE_MM = 100.0
IN_PLANE_MM = 1.0
THICKNESS_MM = (0.5, 3.0)
WHOLE, MOST = 0.5, 0.8
"""Below the first the whole neck is in view, up to the second five or six levels, beyond it two or three."""


def synthetic_study(seed: int, atlas: Atlas | None = None) -> KnownStudy:
    """The study of this seed with random fractures, contrast, artifacts and view; with an atlas, from its subject."""
    rng = np.random.default_rng(seed)
    kinds = random_fractures(rng)
    thickness_mm = float(np.exp(rng.uniform(*np.log(THICKNESS_MM))))
    spacing_mm = (min(thickness_mm, IN_PLANE_MM), IN_PLANE_MM, IN_PLANE_MM)
    counts = [round(extent / step) for extent, step in zip(EXTENT_MM, spacing_mm, strict=True)]
    origin = (-ABOVE_MM, -0.57 * EXTENT_MM[1], -0.5 * EXTENT_MM[2])
    grid = Grid.centred((counts[0], counts[1], counts[2]), spacing_mm, origin)
    anatomy = degenerate(_anatomy(grid, kinds, atlas, rng), grid, rng)
    hu = random_artifacts(paint(anatomy, Contrast.random(rng), spacing_mm, rng), spacing_mm, rng)
    stored = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    whole = Phantom(stored, spacing_mm, anatomy.labels, anatomy.fracture, kinds)
    return KnownStudy(f"seed {seed}", seen(thickened(whole, thickness_mm), rng))


def _anatomy(grid: Grid, kinds: dict[Vertebra, FractureKind], atlas: Atlas | None, rng: np.random.Generator) -> Anatomy:
    if atlas is not None:
        return AtlasVariation(atlas, rng).anatomy(grid, kinds, rng)
    config = PhantomConfig(kinds=kinds, with_mandible=bool(rng.random() < 0.8), table=bool(rng.random() < 0.3))
    return make_anatomy(rng, grid, config)


def thickened(phantom: Phantom, thickness_mm: float) -> Phantom:
    """The same CT in slices of this thickness, one beside the other: HU are averaged, truth is that of the middle."""
    fine_mm = phantom.spacing_mm[0]
    if thickness_mm <= fine_mm:
        return phantom
    ratio = thickness_mm / fine_mm
    count = int(phantom.hu.shape[0] / ratio)
    edges = np.arange(count + 1) * ratio
    index = np.arange(phantom.hu.shape[0])
    weights = np.clip(np.minimum(index + 1, edges[1:, None]) - np.maximum(index, edges[:-1, None]), 0, None) / ratio
    hu = np.tensordot(weights.astype(np.float32), phantom.hu.astype(np.float32), axes=(1, 0))
    middles = ((edges[:-1] + edges[1:]) / 2).astype(np.intp)
    return replace(
        phantom,
        hu=np.rint(hu).astype(np.int16),
        spacing_mm=(thickness_mm, *phantom.spacing_mm[1:]),
        labels=phantom.labels[middles],
        fracture=phantom.fracture[middles],
    )


def seen(phantom: Phantom, rng: np.random.Generator) -> Phantom:
    """What the scan has in view: the whole neck, or the slices from somewhere above one level to below another."""
    draw = rng.random()
    if draw < WHOLE:
        return phantom
    count = int(rng.choice([5, 6] if draw < MOST else [2, 3]))
    first = int(rng.integers(1, 9 - count))
    middles = {
        label: (part[0].start + part[0].stop) / 2
        for label, part in enumerate(ndimage.find_objects(phantom.labels, max_label=9), start=1)
        if part is not None
    }
    return cut(phantom, _border(middles, first, rng), _border(middles, first + count, rng))


def _border(middles: dict[int, float], below: int, rng: np.random.Generator) -> int:
    """A slice about halfway between the level ``below`` and the one above it; C1 has only the skull above it."""
    under = middles[below]
    step = under - middles[below - 1] if below > 1 else middles[2] - under
    return round(under - step * float(rng.uniform(0.35, 0.65) if below > 1 else rng.uniform(0.8, 2.0)))


def cut(phantom: Phantom, first: int, last: int) -> Phantom:
    """The slices from ``first`` up to ``last``; what is broken stays in ``kinds`` even where it is out of view."""
    part = slice(max(0, first), max(first + 2, last))
    return replace(
        phantom, hu=phantom.hu[part].copy(), labels=phantom.labels[part].copy(), fracture=phantom.fracture[part].copy()
    )


def synthetic_set(count: int, seed: int = TEST_SEED, atlas: Atlas | None = None) -> StudySet:
    """That many studies with seeds from ``seed`` on, made one by one as they are asked for."""
    data = "synthetic: atlas variations" if atlas else "synthetic: phantoms"
    shapes = (
        "variations of the atlas's subject, **the same subject as in training**" if atlas else "parametric phantoms"
    )
    what = f"{shapes}; unseen seeds, whole and cut necks, slices of 0.5 to 3 mm, worn bone, implants, artifacts"
    return StudySet(data, what, f"{seed}–{seed + count - 1}", count, _studies(count, seed, atlas))


def _studies(count: int, seed: int, atlas: Atlas | None) -> Iterator[KnownStudy]:
    for number in range(seed, seed + count):
        yield synthetic_study(number, atlas)
