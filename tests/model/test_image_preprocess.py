"""Standard images: artifacts leave, the aspect stays, gray is stretched, and maps find their way home."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import UnusableImage
from model.image_preprocess import (
    ImageConfig,
    bone_window,
    network_input,
    remove_artifacts,
    resize,
    restore_map,
    standard_image,
    statistics_of,
)

CONFIG = ImageConfig(rows=64, columns=96)


def body(shape=(120, 100)):
    """A dim disc with a bright bone in it, on black."""
    rows, columns = np.indices(shape)
    near = np.hypot(rows - shape[0] / 2, columns - shape[1] / 2)
    gray = np.where(near < 40, 0.3, 0.0) + np.where(near < 12, 0.5, 0.0)
    return gray.astype(np.float32)


def test_writing_in_a_corner_leaves_and_the_border_is_cut():
    gray = body()
    gray[2:9, 3:6] = 1.0
    cleaned, box = remove_artifacts(gray, CONFIG)
    assert cleaned[2:9, 3:6].max() == 0
    assert (box[0].start, box[0].stop) == pytest.approx((21, 100), abs=2)
    assert np.array_equal(cleaned[box], body()[box])


def test_a_hot_pixel_becomes_like_its_neighbors_and_an_edge_stays():
    gray = body()
    gray[60, 70] = 1.0
    cleaned, _ = remove_artifacts(gray, CONFIG)
    assert cleaned[60, 70] == pytest.approx(0.3)
    assert np.abs(cleaned - body()).max() < 1e-6


def test_a_line_of_one_pixel_and_a_fragment_between_bones_stay():
    gray = np.zeros((100, 100), np.float32)
    gray[20:80, 20:45] = gray[20:80, 55:80] = 0.9
    gray[20:80, 30] = 0.3
    gray[50:52, 49:51] = 0.8
    cleaned, _ = remove_artifacts(gray, CONFIG)
    assert np.array_equal(cleaned, gray)


def test_the_aspect_is_kept_and_the_rest_is_black():
    image = standard_image(body((200, 100)), CONFIG)
    height, width = (part.stop - part.start for part in image.inner)
    assert height == pytest.approx(width, abs=2)
    outside = np.ones(image.pixels.shape, dtype=bool)
    outside[image.inner] = False
    assert image.pixels[outside].max() == 0
    assert image.pixels.max() == 255


def test_brightness_and_contrast_of_the_source_do_not_matter():
    plain, washed = standard_image(body(), CONFIG), standard_image(body() * 0.3 + 0.5, CONFIG)
    assert np.abs(plain.pixels.astype(int) - washed.pixels.astype(int)).max() <= 1
    assert washed.contrast == pytest.approx(0.3 * plain.contrast, rel=0.01)


def test_shrinking_averages():
    gray = np.tile(np.array([0.0, 1.0], np.float32), (128, 96))
    small, _ = resize(gray, ImageConfig(rows=32, columns=48))
    assert small[:, 1:-1] == pytest.approx(0.5, abs=0.01)


@settings(max_examples=20, deadline=None)
@given(st.integers(24, 150), st.integers(24, 150), st.sampled_from([1, 2, 8]))
def test_a_map_lands_on_the_pixels_it_was_made_for(rows, columns, coarse):
    gray = np.full((rows, columns), 0.2, np.float32)
    where = (slice(rows // 3, rows // 3 + rows // 4), slice(columns // 2, columns // 2 + columns // 4))
    gray[where] = 1.0
    image = standard_image(gray, ImageConfig(rows=64, columns=64, border=-1.0))
    values = image.pixels.astype(np.float32).reshape(64 // coarse, coarse, 64 // coarse, coarse).mean(axis=(1, 3))
    home = restore_map(values, image)
    assert home.shape == gray.shape
    centre = np.argwhere(home >= 0.9 * home.max()).mean(axis=0)
    expected = [(part.start + part.stop - 1) / 2 for part in where]
    assert np.abs(centre - expected).max() <= 1.5 + 2 * coarse * max(rows, columns) / 64


def test_hu_are_seen_in_the_bone_window():
    assert bone_window(np.array([[-1000, -500, 400, 1300, 3000]], np.int16)).tolist() == [[0, 0, 0.5, 1, 1]]


def test_the_network_is_fed_from_minus_1_to_1():
    fed = network_input(np.array([[[0, 255]]], np.uint8))
    assert fed.shape == (1, 1, 2, 1)
    assert fed.ravel().tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("gray", "message"),
    [
        (np.zeros((8, 300), np.float32), "the least"),
        (np.zeros((50, 50, 3), np.float32), "shape"),
        (np.full((50, 50), 0.5, np.float32), "even background"),
        (np.full((50, 50), np.nan, np.float32), "no numbers"),
    ],
)
def test_what_shows_nothing_is_refused(gray, message):
    with pytest.raises(UnusableImage, match=message):
        standard_image(gray, CONFIG)


def test_statistics_tell_noise_from_a_body():
    noise = np.random.default_rng(1).random((100, 100)).astype(np.float32)
    assert statistics_of(standard_image(noise, CONFIG)).edges > 3 * statistics_of(standard_image(body(), CONFIG)).edges
