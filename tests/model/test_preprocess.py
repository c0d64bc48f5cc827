"""A volume reaches network spacing and its mask comes home; the neck is found wherever it lies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import UnusableVolume
from model.preprocess import PreprocessConfig, find_neck, normalize, prepare, resample, restore_labels, sagittal_stack

CONFIG = PreprocessConfig()


def cylinder(shape: tuple[int, int, int], middle: tuple[int, int], radius: float) -> np.ndarray:
    rows, columns = np.indices(shape[1:])
    inside = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < radius**2
    return np.broadcast_to(np.where(inside, 50, -1000), shape).astype(np.int16)


@given(middle=st.tuples(st.integers(60, 140), st.integers(60, 140)))
@settings(max_examples=20, deadline=None)
def test_the_neck_is_found_wherever_it_lies(middle):
    box = find_neck(cylinder((8, 200, 200), middle, 40), (1.0, 1.0, 1.0), CONFIG)
    assert abs((box[2].start + box[2].stop) / 2 - middle[1]) < 4 or box[2].start == 0 or box[2].stop == 200
    assert box[1].start <= middle[0] - 38
    assert box[1].stop >= middle[0] + 38


def test_pure_air_is_no_error():
    prepared = prepare(np.full((10, 40, 40), -1000, dtype=np.int16), (1.0, 1.0, 1.0), CONFIG)
    assert prepared.field.max() <= CONFIG.low_hu / 400


@pytest.mark.parametrize(("shape", "spacing"), [((1, 9, 9), (1, 1, 1)), ((9, 9), (1, 1, 1)), ((9, 9, 9), (1, 0, 1))])
def test_what_is_no_volume_is_refused(shape, spacing):
    with pytest.raises(UnusableVolume):
        prepare(np.zeros(shape, dtype=np.int16), spacing, CONFIG)


@given(
    shape=st.tuples(*[st.integers(6, 30)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 3.0)] * 3),
)
@settings(max_examples=30, deadline=None)
def test_resampling_keeps_a_constant_and_the_extent(shape, spacing):
    field = resample(np.full(shape, 7.0, dtype=np.float32), spacing, 1.2)
    assert np.allclose(field, 7.0, atol=1e-4)
    assert field.shape == tuple(max(1, round(n * s / 1.2)) for n, s in zip(shape, spacing, strict=True))


def test_int16_and_float32_volumes_give_the_same_input():
    hu = cylinder((20, 90, 90), (45, 45), 30)
    first = prepare(hu, (1.0, 0.7, 0.7), CONFIG)
    second = prepare(hu.astype(np.float32), (1.0, 0.7, 0.7), CONFIG)
    assert np.array_equal(first.field, second.field)
    assert first.field.tobytes() == prepare(hu, (1.0, 0.7, 0.7), CONFIG).field.tobytes()


def test_a_mask_returns_to_its_place_on_the_source_grid():
    hu = cylinder((60, 160, 160), (80, 70), 60)
    prepared = prepare(hu, (1.5, 0.8, 0.8), CONFIG)
    truth = np.zeros(hu.shape, dtype=np.uint8)
    truth[20:35, 60:95, 60:90] = 3
    truth[35:50, 60:95, 60:90] = 4
    small = np.zeros(prepared.field.shape, dtype=np.uint8)
    for label in (3, 4):
        part = resample((truth == label)[prepared.box].astype(np.float32), (1.5, 0.8, 0.8), CONFIG.spacing_mm)
        small[part > 0.5] = label
    found = restore_labels(small, prepared)
    for label in (3, 4):
        overlap = ((found == label) & (truth == label)).sum()
        assert 2 * overlap / ((found == label).sum() + (truth == label).sum()) > 0.93


def test_the_stack_holds_each_slice_with_its_neighbors_and_air_around():
    field = np.random.default_rng(0).normal(size=(20, 33, 11)).astype(np.float32)
    stack = sagittal_stack(field, np.array([0, 5, 10]), CONFIG)
    assert stack.shape == (3, 32, 64, 3)
    assert np.array_equal(stack[1, :20, :33, 0], field[:, :, 3])
    assert np.array_equal(stack[1, :20, :33, 1], field[:, :, 5])
    assert np.array_equal(stack[0, :20, :33, 0], field[:, :, 0])
    assert np.all(stack[:, 20:] == np.float32(CONFIG.low_hu / 400))


def test_normalizing_clips_to_the_window():
    assert normalize(np.array([-3000, 0, 400, 9000], dtype=np.float32), CONFIG).tolist() == [-0.625, 0.0, 1.0, 3.625]
