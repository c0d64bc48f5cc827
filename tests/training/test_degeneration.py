"""Wear adds bone that carries the right name, metal is rare and bright, and fractures stay as they were."""

from dataclasses import replace

import numpy as np
import pytest

from training.synthesis.anatomy import Anatomy, Grid, Tissue
from training.synthesis.augment import Contrast, paint
from training.synthesis.degeneration import degenerate, fuse, ossify_ligaments, random_severity, wear_disc, wear_facets
from training.synthesis.hardware import add_fillings, add_hardware
from training.synthesis.phantom import PhantomConfig, make_anatomy
from training.synthesis.sites import body_sites, disc_sites

GRID = Grid.centred((120, 90, 60), (1.8, 1.8, 1.8), (-110.0, -95.0, -54.0))


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return make_anatomy(np.random.default_rng(5), GRID, PhantomConfig())


def copied(anatomy: Anatomy) -> Anatomy:
    return replace(
        anatomy, labels=anatomy.labels.copy(), depth_mm=anatomy.depth_mm.copy(), tissue=anatomy.tissue.copy()
    )


def worn(anatomy: Anatomy, seed: int) -> Anatomy:
    rng = np.random.default_rng(seed)
    result = copied(anatomy)
    bodies = body_sites(result, GRID)
    for disc in disc_sites(bodies):
        wear_disc(result, GRID, disc, 1.0, rng)
    wear_facets(result, GRID, bodies, 1.0, rng)
    ossify_ligaments(result, GRID, bodies, 1.0, rng)
    return result


def test_bodies_and_discs_are_found_from_head_to_feet(anatomy):
    bodies = body_sites(anatomy, GRID)
    assert set(bodies) >= set(range(2, 8))
    heights = [bodies[level].front.w for level in sorted(bodies)]
    assert heights == sorted(heights)
    assert [disc.above for disc in disc_sites(bodies)][:6] == [2, 3, 4, 5, 6, 7]
    assert all(site.front_top.w < site.front_bottom.w for site in bodies.values())
    assert all(len(site.pillars) == 2 for site in bodies.values() if site.level <= 7)


def test_the_same_seed_wears_a_neck_the_same_way_and_leaves_the_first_one_alone(anatomy):
    before = copied(anatomy)
    for seed in range(12):
        first, second = (degenerate(anatomy, GRID, np.random.default_rng(seed)) for _ in range(2))
        for name in ("labels", "depth_mm", "tissue"):
            assert np.array_equal(getattr(first, name), getattr(second, name))
            assert np.array_equal(getattr(anatomy, name), getattr(before, name))


def test_most_necks_get_little_or_nothing():
    severities = np.array([random_severity(np.random.default_rng(seed)) for seed in range(400)])
    assert 0.4 < (severities == 0).mean() < 0.6
    assert 0.18 < (severities >= 0.4).mean() < 0.32


@pytest.mark.parametrize("seed", range(3))
def test_new_bone_is_named_and_no_named_voxel_is_lost_or_renamed(anatomy, seed):
    result = worn(anatomy, seed)
    named = anatomy.labels > 0
    assert np.array_equal(result.labels[named], anatomy.labels[named])
    new = (result.labels > 0) & ~named
    assert new.sum() > 50
    assert (result.depth_mm[new] < 0).all(), "labels stay on bone"
    for level in range(2, 8):
        grown = np.argwhere(new & (result.labels == level))[:, 0]
        at = np.argwhere(anatomy.labels == level)[:, 0]
        assert grown.size == 0 or (grown.min() >= at.min() - 8 and grown.max() <= at.max() + 8)


def test_ligaments_ossify_without_a_name(anatomy):
    result = copied(anatomy)
    for seed in range(4):
        ossify_ligaments(result, GRID, body_sites(result, GRID), 1.0, np.random.default_rng(seed))
    new = (result.depth_mm < 0) & (anatomy.depth_mm >= 0)
    assert new.any()
    assert np.array_equal(result.labels, anatomy.labels)


def test_a_fracture_stays_open(anatomy):
    broken = replace(anatomy, fracture=anatomy.labels == 5)
    result = worn(broken, 1)
    assert np.array_equal(result.depth_mm[broken.fracture], anatomy.depth_mm[broken.fracture])


def test_fused_levels_touch_and_keep_their_names(anatomy):
    result = copied(anatomy)
    disc = disc_sites(body_sites(result, GRID))[2]
    fuse(result, GRID, disc, np.random.default_rng(0))
    new = result.labels[(result.labels > 0) & (anatomy.labels == 0)]
    assert set(np.unique(new)) <= {disc.above, disc.above + 1}
    assert new.size


def test_hardware_is_bright_and_keeps_the_labels_below_it(anatomy):
    seen = []
    for seed in range(8):
        result = copied(anatomy)
        add_hardware(result, GRID, body_sites(result, GRID), np.random.default_rng(seed))
        metal = result.tissue == Tissue.METAL
        seen.append(int(metal.sum()))
        assert np.array_equal(result.labels, anatomy.labels)
        hu = paint(result, Contrast(noise=0.0, metal=5000.0), (1.8, 1.8, 1.8), np.random.default_rng(0))
        assert np.percentile(hu[metal], 90) > 2500
    assert min(seen) > 30
    assert max(seen) < 3000


def test_hardware_is_rare(anatomy):
    few = [(degenerate(anatomy, GRID, np.random.default_rng(s)).tissue == Tissue.METAL).sum() > 120 for s in range(150)]
    assert np.mean(few) < 0.12


def test_fillings_lie_in_teeth_only():
    tissue = np.full((12, 12, 12), Tissue.MUSCLE, dtype=np.uint8)
    add_fillings(tissue, np.random.default_rng(0))
    assert (tissue == Tissue.MUSCLE).all()
    tissue[4:9, 4:9, 4:9] = Tissue.TOOTH
    add_fillings(tissue, np.random.default_rng(0))
    metal = np.argwhere(tissue == Tissue.METAL)
    assert metal.size
    assert metal.min() >= 4
    assert metal.max() <= 8


def test_a_view_without_vertebrae_is_no_trouble():
    shape = (20, 20, 20)
    zeros = np.zeros(shape, dtype=np.uint8)
    depth = np.full(shape, 20, dtype=np.float32)
    empty = Anatomy(zeros, depth, zeros + np.uint8(Tissue.MUSCLE), zeros > 0, depth * 0)
    grid = Grid.centred(shape, (1.8,) * 3, (0.0, 0.0, 0.0))
    for seed in range(30):
        assert not degenerate(empty, grid, np.random.default_rng(seed)).labels.any()
