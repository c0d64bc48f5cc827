"""Anatomies from the real atlas: refined by its meshes, named levels in order, fractures inside their level."""

import struct
from pathlib import Path

import numpy as np
import pytest

from model.findings import Vertebra
from training.synthesis.anatomy import Grid
from training.synthesis.atlas import LABELS, load_atlas, read_mesh
from training.synthesis.atlas_variation import AtlasVariation
from training.synthesis.fractures import FractureKind
from training.synthesis.shapes import Spot

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "spl-head-neck-atlas"


@pytest.fixture(scope="module")
def atlas():
    if not FOLDER.is_dir():
        pytest.skip("../shared/data/spl-head-neck-atlas is not here")
    return load_atlas(FOLDER)


def test_meshes_lie_where_the_label_map_has_the_level(atlas):
    """A mirrored or shifted mesh would not: C4 of this subject is asymmetric."""
    mesh = next((FOLDER / "models").glob("Model_14_*.vtk"))
    points, normals = read_mesh(mesh)
    assert np.linalg.norm(normals, axis=1) == pytest.approx(np.ones(len(normals)), abs=1e-3)
    mine = np.argwhere(atlas.nearest == LABELS[14])
    inside = atlas.depth_mm[tuple(mine.T)] < 0
    low = (mine[inside].min(axis=0) * 0.8) + np.array(atlas.origin_mm)
    high = (mine[inside].max(axis=0) * 0.8) + np.array(atlas.origin_mm)
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    assert high - low == pytest.approx(np.ptp(points, axis=0), abs=2.5)
    zero = centre - (low + high) / 2
    others = read_mesh(next((FOLDER / "models").glob("Model_17_*.vtk")))[0] - zero
    seventh = np.argwhere((atlas.nearest == LABELS[17]) & (atlas.depth_mm < 0)) * 0.8 + np.array(atlas.origin_mm)
    assert others.min(axis=0) == pytest.approx(seventh.min(axis=0), abs=2.5)
    assert others.max(axis=0) == pytest.approx(seventh.max(axis=0), abs=2.5)


@pytest.mark.parametrize("seed", range(3))
def test_the_levels_of_a_varied_subject_are_in_order(atlas, seed):
    rng = np.random.default_rng(seed)
    grid = Grid.centred((110, 80, 56), (2.0, 2.0, 2.0), (-110.0, -95.0, -56.0))
    variation = AtlasVariation(atlas, rng)
    anatomy = variation.anatomy(grid, {Vertebra.C5: FractureKind.BURST}, rng)
    middles = [np.argwhere(anatomy.labels == label)[:, 0].mean() for label in range(1, 8)]
    assert middles == sorted(middles)
    assert set(np.unique(anatomy.labels[anatomy.fracture])) <= {0, 5}
    assert anatomy.kinds == {Vertebra.C5: FractureKind.BURST}
    assert (anatomy.depth_mm[anatomy.labels == 0] < 0).any(), "other bones exist and carry no label"


def test_a_level_is_where_the_variation_says(atlas):
    rng = np.random.default_rng(8)
    variation = AtlasVariation(atlas, rng)
    grid = Grid.centred((110, 80, 56), (2.0, 2.0, 2.0), (-110.0, -95.0, -56.0))
    anatomy = variation.anatomy(grid, {}, rng)
    for level in (Vertebra.C3, Vertebra.C5, Vertebra.C7):
        at = np.argwhere(anatomy.labels == level).mean(axis=0) * 2 + np.array([grid.w[0], grid.v[0], grid.u[0]])
        middle = variation.middle(int(level))
        assert at[0] == pytest.approx(middle.w, abs=6)
        assert at[2] == pytest.approx(middle.u, abs=6)
        assert 3 < at[1] - middle.v < 22, "the middle of the body lies in front of that of all voxels"


def test_another_file_is_refused(tmp_path):
    (tmp_path / "HN-Atlas-labels.nrrd").write_bytes(b"NRRD0004\ntype: float\n\n")
    with pytest.raises(ValueError, match="not the SPL"):
        load_atlas(tmp_path)


def test_a_mesh_is_read_into_the_standard_frame_and_another_file_is_refused(tmp_path):
    path = tmp_path / "m.vtk"
    path.write_bytes(
        b"# vtk\nBINARY\nPOINTS 1 float\n"
        + struct.pack(">3f", 10, 20, 30)
        + b"\nNORMALS n float\n"
        + struct.pack(">3f", 1, 0, 0)
    )
    points, normals = read_mesh(path)
    assert Spot(*points[0]) == pytest.approx((159.6027816 - 30, 124.0234375 - 20, 124.0234375 - 10))
    assert normals[0].tolist() == [0, 0, -1]
    path.write_bytes(b"# vtk\nASCII\n")
    with pytest.raises(ValueError, match="no surface mesh"):
        read_mesh(path)
