"""Semi-synthetic test studies: fractures of every type that fits in the real bone of the female neck, and the neck.

The neck is held out from training. Its levels' voxels are the network's own labels on the unbroken CT, as far as the
levels' known middles carry the right name.
"""

import logging
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from model.findings import Vertebra
from training.evaluation.evaluate import TEST_SEED, StudySet
from training.evaluation.judging import LESION_MM3, KnownStudy
from training.evaluation.real_sets import RealVolume, named_right
from training.synthesis.fractures import KINDS, FractureKind
from training.synthesis.phantom import Phantom
from training.synthesis.semisynthetic import insert_fracture

LOG = logging.getLogger(__name__)


def checked_labels(labels: NDArray[np.uint8], volume: RealVolume) -> NDArray[np.uint8]:
    """The network's own labels of those levels whose known middles carry the right name; 0 elsewhere."""
    right = [level for level, share in named_right(labels, volume).items() if share > 0.5]
    return np.where(np.isin(labels, right), labels, 0).astype(np.uint8)


def broken_set(volume: RealVolume, labels: NDArray[np.uint8], rounds: int = 1, seed: int = TEST_SEED) -> StudySet:
    """The intact CT, then each level with each type of fracture that it is known for, ``rounds`` times.

    ``labels``: those of ``checked_labels``. Every study has one fracture; the CT's other levels count as intact.
    """
    plan = [(level, kind) for level in volume.middles if (labels == level).any() for kind in KINDS[level]] * rounds
    data = "semi-synthetic: broken female neck"
    what = (
        "fractures of every type that fits inserted into the real bone of one subject that training never saw, and the "
        "intact CT; the same intact levels come again and again, so intervals say nothing about other subjects"
    )
    seeds = f"{seed}–{seed + len(plan) - 1}"
    return StudySet(data, what, seeds, 1 + len(plan), _studies(volume, labels, plan, seed), own_labels=True)


def _studies(
    volume: RealVolume, labels: NDArray[np.uint8], plan: list[tuple[Vertebra, FractureKind]], seed: int
) -> Iterator[KnownStudy]:
    nothing = np.zeros(labels.shape, dtype=np.bool_)
    yield KnownStudy("intact", Phantom(volume.hu, volume.spacing_mm, labels, nothing))
    for number, (level, kind) in enumerate(plan, start=seed):
        rng = np.random.default_rng(number)
        try:
            hu, lesion = insert_fracture(volume.hu, labels, volume.spacing_mm, (level, kind), rng)
        except ValueError as error:
            LOG.info("left out: %s", error)
            continue
        if lesion.sum() * np.prod(volume.spacing_mm) < LESION_MM3:
            LOG.info("left out: too little of a %s fracture is in view of %s", kind, level.name)
            continue
        truth = np.where(lesion, np.uint8(level), labels)
        yield KnownStudy(
            f"{level.name} {kind}, seed {number}", Phantom(hu, volume.spacing_mm, truth, lesion, {level: kind})
        )
