"""Artifacts disturb a CT as much as scanners and patients do, the same way for the same seed, and often not at all."""

import time

import numpy as np
import pytest

from training.synthesis.artifacts import (
    CHANCES,
    box_averaged,
    dense_streaks,
    patient_motion,
    quantized,
    random_artifacts,
    random_slice_artifacts,
    sharp_kernel,
    shoulder_noise,
    soft_kernel,
)

SPACING = (1.0, 1.2, 1.2)


def neck() -> np.ndarray:
    """A cylinder of muscle in air with a rod of bone in it."""
    v, u = np.meshgrid(np.arange(60) - 30, np.arange(50) - 25, indexing="ij")
    plane = np.where(v * v + u * u < 400, 50.0, -1000.0)
    plane[(v * v + u * u) < 36] = 900
    return np.repeat(plane[None], 40, axis=0).astype(np.float32)


@pytest.mark.parametrize("artifact", [artifact for artifact, _ in CHANCES])
def test_the_same_seed_makes_the_same_voxels_and_the_input_is_left_alone(artifact):
    hu = neck()
    before = hu.copy()
    first, second = (artifact(hu, SPACING, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(hu, before)
    assert first.dtype == np.float32
    assert first.shape == hu.shape
    assert np.isfinite(first).all()


@pytest.mark.parametrize("artifact", [artifact for artifact, _ in CHANCES])
@pytest.mark.parametrize("shape", [(3, 40, 30), (1, 16, 16), (50, 9, 12)])
def test_small_volumes_have_artifacts_too(artifact, shape):
    hu = np.full(shape, 50.0, dtype=np.float32)
    assert artifact(hu, (2.5, 0.5, 0.5), np.random.default_rng(1)).shape == shape


def test_a_clean_scan_is_the_most_frequent():
    hu = neck()
    changed = [random_artifacts(hu, SPACING, np.random.default_rng(seed)) is not hu for seed in range(100)]
    assert 0.3 < np.mean(changed) < 0.7


def test_streaks_and_noise_stay_moderate_on_the_average():
    hu = neck()
    for artifact in (dense_streaks, shoulder_noise):
        errors = [float((artifact(hu, SPACING, np.random.default_rng(seed)) - hu).std()) for seed in range(10)]
        assert 3 < np.mean(errors) < 150


def test_noise_grows_toward_the_shoulders():
    error = shoulder_noise(neck(), SPACING, np.random.default_rng(2)) - neck()
    assert error[-5:].std() > 3 * error[:5].std()


def test_metal_throws_more_and_darker_streaks_than_bone():
    steel = neck()
    steel[20:22, 28:32, 23:27] = 3071
    error = dense_streaks(steel, SPACING, np.random.default_rng(3)) - steel
    assert error.min() < -30
    assert error.max() > 30


def test_motion_moves_edges_by_at_most_two_millimetres():
    hu = neck()
    for seed in range(20):
        moved = patient_motion(hu, SPACING, np.random.default_rng(seed)) > 400
        middle = np.argwhere(moved)[:, 1:].mean(axis=0) - np.argwhere(hu > 400)[:, 1:].mean(axis=0)
        assert np.hypot(*(middle * 1.2)) < 2.3


def test_kernels_blur_or_overshoot():
    hu = neck()
    soft, sharp = (kernel(hu, SPACING, np.random.default_rng(0)) for kernel in (soft_kernel, sharp_kernel))
    assert soft.max() <= hu.max() + 1
    assert sharp.max() > hu.max() + 50


def test_thick_slices_keep_the_mean_and_spread_a_thin_plane():
    thin = np.zeros((21, 4, 4), dtype=np.float32)
    thin[10] = 100
    thick = box_averaged(thin, 0, 2.5)
    assert thick.sum() == pytest.approx(thin.sum(), rel=1e-4)
    assert thick[10, 0, 0] == pytest.approx(40)
    assert np.array_equal(box_averaged(thin, 0, 0.4), thin)


def test_quantized_values_are_multiples_of_one_step():
    steps = np.unique(quantized(neck() + 0.4, SPACING, np.random.default_rng(1)))
    assert np.array_equal(steps, np.rint(steps))


def test_slices_keep_their_shape_and_the_same_seed_its_voxels():
    hu = np.random.default_rng(0).normal(100, 300, size=(3, 88, 72)).astype(np.float32)
    for seed in range(60):
        first, second = (random_slice_artifacts(hu, np.random.default_rng(seed)) for _ in range(2))
        assert np.array_equal(first, second)
        assert first.shape == hu.shape
        assert first.dtype == np.float32


def test_artifacts_are_quick_enough_for_the_training_loop():
    hu = np.zeros((3, 176, 144), dtype=np.float32)
    started = time.process_time()
    for seed in range(40):
        random_slice_artifacts(hu, np.random.default_rng(seed))
    assert (time.process_time() - started) / 40 < 0.03
