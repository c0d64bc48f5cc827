"""Outlines enclose exactly the pixels of a mask, in image coordinates."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from dicom_node.contours import key_slices, outer_outline, outlines
from model.findings import Vertebra

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans())


def enclosed(loops, shape):
    """Which pixel centers lie inside closed polylines, by the even-odd rule, crossing towards the right."""
    rows, columns = np.indices(shape) + 0.5
    inside = np.zeros(shape, bool)
    for loop in loops:
        for (x0, y0), (x1, y1) in pairwise(loop):
            if y0 != y1:
                crosses = (rows > min(y0, y1)) & (rows <= max(y0, y1))
                inside ^= crosses & (columns < x0 + (rows - y0) * (x1 - x0) / (y1 - y0))
    return inside


@given(masks)
def test_all_outlines_together_enclose_exactly_the_mask(mask):
    loops = outlines(mask)
    assert np.array_equal(enclosed(loops, mask.shape), mask)
    for loop in loops:
        assert np.array_equal(loop[0], loop[-1])
        assert len(loop) >= 5


@given(masks.filter(np.any))
def test_the_outer_outline_is_that_of_the_largest_component_with_its_holes_filled(mask):
    loop = outer_outline(mask)
    inside = enclosed([loop], mask.shape)
    components, _ = ndimage.label(mask)
    sizes = np.bincount(components.ravel())[1:]
    candidates = [
        ndimage.binary_fill_holes(components == number + 1, np.ones((3, 3)))
        for number in np.flatnonzero(sizes == sizes.max())
    ]
    assert any(np.array_equal(inside, candidate) for candidate in candidates)


def test_a_single_pixel_is_a_diamond_around_its_center():
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    loop = outer_outline(mask)
    assert {(float(x), float(y)) for x, y in loop} == {(3.5, 2.0), (4.0, 2.5), (3.5, 3.0), (3.0, 2.5)}


def test_a_straight_edge_costs_no_points():
    mask = np.zeros((40, 60), bool)
    mask[5:35, 10:50] = True
    assert len(outer_outline(mask)) == 9


def test_the_key_slice_is_the_one_with_the_largest_area():
    labels = np.zeros((6, 20, 20), np.uint8)
    labels[1, 2:4, 3:5] = 3
    labels[2, 2:9, 3:12] = 3
    labels[3, 2:5, 3:5] = 3
    labels[4, 10:12, 10:12] = 7
    found = key_slices(labels)
    assert list(found) == [Vertebra.C3, Vertebra.C7]
    assert found[Vertebra.C3].index == 2
    assert found[Vertebra.C7].index == 4
    assert np.array_equal(enclosed([found[Vertebra.C3].outline], (20, 20)), labels[2] == 3)


def test_the_key_slice_of_a_broken_level_is_the_one_with_most_of_its_fracture():
    labels = np.zeros((6, 20, 20), np.uint8)
    labels[1:5, 2:9, 3:12] = 3
    labels[2, 2:9, 3:14] = 3
    labels[1:5, 12:18, 3:12] = 4
    lesions = np.zeros_like(labels)
    lesions[1, 4, 4] = 3
    lesions[3, 4:6, 4:6] = 3
    lesions[2, 4:9, 4:9] = 4  # another level's number
    lesions[0, 0:9, 0:9] = 3  # not in the level
    lesions[4, 12:14, 3:5] = 4
    found = key_slices(labels, lesions)
    assert (found[Vertebra.C3].index, found[Vertebra.C4].index) == (3, 4)
    assert np.array_equal(enclosed([found[Vertebra.C3].outline], (20, 20)), labels[3] == 3)
    assert key_slices(labels, np.zeros_like(labels))[Vertebra.C3].index == 2


def test_an_empty_mask_has_no_key_slices():
    assert not key_slices(np.zeros((2, 3, 4), np.uint8))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 9)])
def test_masks_that_fill_the_image_have_outlines_on_its_edge(shape):
    key = key_slices(np.ones(shape, np.uint8))[Vertebra.C1]
    assert key.outline.min() == 0.0
    assert np.array_equal(key.outline.max(axis=0), [shape[2], shape[1]])
