"""A fracture inserted into a CT stays in its level, changes nothing else and keeps the scanner's noise."""

import numpy as np
import pytest

from model.findings import Vertebra
from training.synthesis.fractures import KINDS, FractureKind
from training.synthesis.phantom import PhantomConfig, make_phantom
from training.synthesis.semisynthetic import insert_fracture


@pytest.fixture(scope="module")
def neck():
    return make_phantom(31, PhantomConfig(spacing_mm=(1.5, 1.2, 1.2)))


def labels_of(neck):
    return np.where(neck.labels <= 7, neck.labels, 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("level", "kind"),
    [(Vertebra.C1, FractureKind.JEFFERSON), (Vertebra.C2, FractureKind.DENS_II), (Vertebra.C4, FractureKind.FACET)]
    + [(Vertebra.C5, kind) for kind in KINDS[Vertebra.C5]],
)
def test_only_the_level_and_its_surroundings_change(neck, level, kind):
    labels = labels_of(neck)
    hu, lesion = insert_fracture(neck.hu, labels, neck.spacing_mm, (level, kind), np.random.default_rng(3))
    assert lesion.sum() * np.prod(neck.spacing_mm) > 20
    changed = np.abs(hu.astype(int) - neck.hu) > 30
    assert changed[labels == level].any()
    slices = np.flatnonzero((labels == level).any(axis=(1, 2)))
    far = np.ones(len(hu), dtype=bool)
    far[max(0, slices[0] - 10) : slices[-1] + 11] = False
    assert not changed[far].any()
    near = np.argwhere(labels == level)
    assert np.abs(np.argwhere(lesion)[:, None] - near[None, ::7]).max(axis=2).min(axis=1).max() < 8


def test_an_open_gap_is_as_dark_as_blood(neck):
    labels = labels_of(neck)
    dark = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        hu, lesion = insert_fracture(neck.hu, labels, neck.spacing_mm, (Vertebra.C6, FractureKind.SPINOUS), rng)
        dark.append(hu[lesion].astype(float).mean() - neck.hu[lesion & (labels == 6)].astype(float).mean())
    assert np.median(dark) < -40


def test_the_same_seed_breaks_in_the_same_way(neck):
    made = [
        insert_fracture(
            neck.hu, labels_of(neck), neck.spacing_mm, (Vertebra.C3, FractureKind.BURST), np.random.default_rng(1)
        )[0]
        for _ in range(2)
    ]
    assert np.array_equal(*made)


def test_a_level_that_is_not_there_is_refused(neck):
    with pytest.raises(ValueError, match="C5 is not in view"):
        insert_fracture(
            neck.hu,
            np.zeros_like(neck.labels),
            neck.spacing_mm,
            (Vertebra.C5, FractureKind.BURST),
            np.random.default_rng(0),
        )
