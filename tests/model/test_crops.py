"""A crop shows its level in the middle, whatever the source's spacing, and its maps come back to where they belong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.crops import CropConfig, crop_grid, crop_level, level_boxes, level_crops, restored

CONFIG = CropConfig()


def study(spacing_mm=(1.0, 0.8, 0.8), shape=(60, 120, 120)):
    """Water with one bright block of level 4."""
    hu = np.zeros(shape, dtype=np.int16)
    labels = np.zeros(shape, dtype=np.uint8)
    block = (slice(20, 36), slice(50, 80), slice(40, 70))
    hu[block], labels[block] = 800, 4
    return hu, labels, spacing_mm, block


def test_the_boxes_of_levels_are_the_smallest():
    _, labels, _, block = study()
    labels[2, 3, 5] = 7
    assert level_boxes(labels) == {4: block, 7: (slice(2, 3), slice(3, 4), slice(5, 6))}


def test_a_crop_is_centred_on_its_level_and_knows_where_it_is():
    hu, labels, spacing_mm, _ = study()
    (crop,) = level_crops(hu, labels, spacing_mm, CONFIG)
    slices, rows, columns, channels = crop.images.shape
    assert (rows, columns, channels) == (CONFIG.rows, CONFIG.columns, 4)
    assert slices == int(np.ceil(16 / 1.5)) + 2
    share = crop.images[slices // 2, :, :, 3]
    at = np.argwhere(share > 0.5)
    assert at.mean(axis=0) == pytest.approx([(rows - 1) / 2, (columns - 1) / 2], abs=0.6)
    assert np.ptp(at, axis=0) * 0.9 == pytest.approx([30 * 0.8, 30 * 0.8], abs=2)
    assert crop.images[slices // 2, rows // 2, columns // 2, 1] == pytest.approx(2.0, abs=1e-3)


def test_the_slices_above_and_below_are_the_side_channels():
    hu, labels, spacing_mm, _ = study()
    (crop,) = level_crops(hu, labels, spacing_mm, CONFIG)
    assert np.array_equal(crop.images[1:, :, :, 0], crop.images[:-1, :, :, 1])
    assert np.array_equal(crop.images[:-1, :, :, 2], crop.images[1:, :, :, 1])


def test_beyond_the_volume_there_is_air():
    hu, labels, spacing_mm, _ = study(shape=(40, 90, 80))
    (crop,) = level_crops(hu, labels, spacing_mm, CONFIG)
    assert crop.images[..., 1].min() == pytest.approx(CONFIG.low_hu / 400)
    assert crop.images[..., 1].max() == pytest.approx(2.0, abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(
    spacing=st.tuples(st.floats(0.4, 3.0), st.floats(0.3, 1.4), st.floats(0.3, 1.4)),
    corner=st.tuples(st.integers(5, 20), st.integers(20, 50), st.integers(20, 50)),
)
def test_a_map_of_the_crop_comes_back_to_its_level(spacing, corner):
    labels = np.zeros((48, 96, 96), dtype=np.uint8)
    size = tuple(max(4, int(20 / step)) for step in spacing)
    block = tuple(
        slice(at, min(at + extent, count)) for at, extent, count in zip(corner, size, labels.shape, strict=True)
    )
    labels[block] = 3
    box = level_boxes(labels)[3]
    grid = crop_grid(labels.shape, box, spacing, CONFIG)
    crop = crop_level(np.zeros(labels.shape, np.int16), labels, 3, grid, CONFIG)
    coarse = (
        crop.images[..., 3].reshape(len(crop.images), CONFIG.rows // 2, 2, CONFIG.columns // 2, 2).mean(axis=(2, 4))
    )
    whole = tuple(slice(0, count) for count in labels.shape)
    for values in (crop.images[..., 3], coarse):
        back = restored(values, crop, (whole[0], whole[1], whole[2]))
        reach = [
            min(part.stop - part.start, count * step)
            for part, count, step in zip(block, grid.shape, grid.step, strict=True)
        ]
        if all(extent >= part.stop - part.start for extent, part in zip(reach, block, strict=True)):
            inside = tuple(slice(part.start + 2, part.stop - 2) for part in block)
            assert back[inside].size == 0 or back[inside].min() > 0.4
        far = labels == 0
        far[tuple(slice(max(0, part.start - 12), part.stop + 12) for part in block)] = False
        assert not (back[far] > 0.5).any()


def test_a_tall_level_is_cut_to_the_most_slices():
    labels = np.zeros((90, 60, 60), dtype=np.uint8)
    labels[5:85, 20:40, 20:40] = 2
    (crop,) = level_crops(np.zeros(labels.shape, np.int16), labels, (1.0, 1.0, 1.0), CONFIG)
    assert len(crop.images) == CONFIG.slices
