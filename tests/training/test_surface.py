"""Surface distances of shapes whose distances are known, and of any shape by distance transforms."""

import numpy as np
import pytest
from scipy import ndimage

from training.evaluation.surface import surface_distance

SPACING_MM = (1.0, 0.5, 0.8)


def ball(radius_mm, shape=(48, 90, 60)):
    grid = np.meshgrid(*((np.arange(n) - n / 2) * s for n, s in zip(shape, SPACING_MM, strict=True)), indexing="ij")
    return sum(axis**2 for axis in grid) <= radius_mm**2


def block(first):
    mask = np.zeros((30, 40, 40), dtype=np.bool_)
    mask[first : first + 10, 10:20, 10:20] = True
    return mask


def test_a_mask_has_no_distance_from_itself():
    found = surface_distance(block(5), block(5), SPACING_MM)
    assert (found.mean_mm, found.hausdorff95_mm) == (0.0, 0.0)


def test_balls_one_in_the_other_lie_apart_by_the_difference_of_their_radii():
    found = surface_distance(ball(16), ball(12), SPACING_MM)
    assert found.mean_mm == pytest.approx(4.0, abs=0.25)
    assert found.hausdorff95_mm == pytest.approx(4.0, abs=0.8)


def test_a_plate_moved_along_its_normal_lies_apart_by_the_way_it_moved():
    first, second = np.zeros((2, 30, 20, 20), dtype=np.bool_)
    first[5], second[9] = True, True
    found = surface_distance(first, second, (2.0, 0.5, 0.5))
    assert found.mean_mm == pytest.approx(8.0)
    assert found.hausdorff95_mm == pytest.approx(8.0)


def test_a_few_stray_voxels_far_away_move_the_mean_and_not_the_95_percent_distance():
    stray = block(5)
    stray[29, 39, 39] = True
    found = surface_distance(block(5), stray, SPACING_MM)
    assert found.hausdorff95_mm == 0.0
    assert 0.0 < found.mean_mm < 0.1


def test_distances_are_those_of_distance_transforms():
    rng = np.random.default_rng(5)
    masks = [ndimage.gaussian_filter(rng.random((20, 24, 22)), 2) > 0.5 for _ in range(2)]
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in masks]
    one, other = (ndimage.distance_transform_edt(~surface, sampling=SPACING_MM) for surface in surfaces)
    forth, back = other[surfaces[0]], one[surfaces[1]]
    found = surface_distance(*masks, SPACING_MM)
    assert found.mean_mm == pytest.approx((forth.sum() + back.sum()) / (forth.size + back.size))
    assert found.hausdorff95_mm == pytest.approx(max(np.percentile(forth, 95), np.percentile(back, 95)))
    again = surface_distance(masks[1], masks[0], SPACING_MM)
    assert again.mean_mm == pytest.approx(found.mean_mm)


def test_a_mask_that_is_empty_has_no_distance():
    assert surface_distance(block(5), np.zeros_like(block(5)), SPACING_MM) is None
    assert surface_distance(np.zeros_like(block(5)), block(5), SPACING_MM) is None
