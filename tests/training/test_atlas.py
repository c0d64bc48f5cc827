"""Anatomies from the real atlas: named levels in order, skull unlabeled, fractures inside their level."""

from pathlib import Path

import numpy as np
import pytest

from model.findings import Vertebra
from training.anatomy import Grid
from training.atlas import atlas_anatomy, load_atlas

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "spl-head-neck-atlas"


@pytest.fixture(scope="module")
def atlas():
    if not FOLDER.is_dir():
        pytest.skip("../shared/data/spl-head-neck-atlas is not here")
    return load_atlas(FOLDER)


@pytest.mark.parametrize("seed", range(3))
def test_the_levels_of_a_varied_subject_are_in_order(atlas, seed):
    grid = Grid.centred((110, 80, 56), (2.0, 2.0, 2.0), (-110.0, -95.0, -56.0))
    anatomy = atlas_anatomy(atlas, np.random.default_rng(seed), grid, frozenset({Vertebra.C5}))
    middles = [np.argwhere(anatomy.labels == label)[:, 0].mean() for label in range(1, 8)]
    assert middles == sorted(middles)
    assert set(np.unique(anatomy.labels[anatomy.fracture])) == {5}
    assert (anatomy.depth_mm[anatomy.labels == 0] < 0).any(), "other bones exist and carry no label"


def test_another_file_is_refused(tmp_path):
    (tmp_path / "HN-Atlas-labels.nrrd").write_bytes(b"NRRD0004\ntype: float\n\n")
    with pytest.raises(ValueError, match="not the SPL"):
        load_atlas(tmp_path)
