"""Losses fall when the answer gets better and do not burst at the ends of the range."""

import numpy as np
import pytest
from keras import ops

from training.fitting.losses import (
    fracture_loss,
    fracture_mask_loss,
    level_loss,
    paper_level_loss,
    paper_mask_loss,
    slice_loss,
)
from training.fitting.truth import UNKNOWN, UNKNOWN_LEVEL


def levels_truth() -> np.ndarray:
    truth = np.zeros((2, 8, 8), dtype=np.uint8)
    truth[:, 2:6, 2:6] = 3
    return truth


@pytest.mark.parametrize("loss", [level_loss, paper_level_loss])
def test_the_right_levels_cost_least(loss):
    truth = levels_truth()
    right = np.eye(8, dtype=np.float32)[truth]
    unsure = np.full(right.shape, 1 / 8, dtype=np.float32)
    wrong = np.roll(right, 1, axis=-1)
    values = [float(ops.convert_to_numpy(loss(truth, answer))) for answer in (right, unsure, wrong)]
    assert values == sorted(values)
    assert np.isfinite(values).all()


@pytest.mark.parametrize("loss", [fracture_mask_loss, paper_mask_loss])
def test_the_right_fracture_costs_least(loss):
    truth = (levels_truth() == 3)[..., None].astype(np.uint8)
    answers = [truth.astype(np.float32), np.full(truth.shape, 0.5, np.float32), 1 - truth.astype(np.float32)]
    values = [float(ops.convert_to_numpy(loss(truth, answer))) for answer in answers]
    assert values == sorted(values)
    assert np.isfinite(values).all()


def test_slices_without_any_fracture_can_still_be_perfect():
    nothing = np.zeros((1, 8, 8, 1), dtype=np.float32)
    assert float(ops.convert_to_numpy(fracture_mask_loss(nothing, nothing))) == pytest.approx(0, abs=1e-4)


def test_vertebrae_and_slices_are_judged_by_binary_cross_entropy():
    truth = np.array([[1.0], [0.0]], dtype=np.float32)
    half = np.full((2, 1), 0.5, dtype=np.float32)
    assert float(ops.convert_to_numpy(fracture_loss(truth, half))) == pytest.approx(np.log(2), abs=1e-4)
    assert float(ops.convert_to_numpy(slice_loss(truth, np.zeros((2, 1), np.float32)))) == pytest.approx(
        np.log(2), abs=1e-4
    )
    assert float(ops.convert_to_numpy(slice_loss(truth, np.array([[9.0], [-9.0]], np.float32)))) < 1e-3


@pytest.mark.parametrize("loss", [level_loss, paper_level_loss])
def test_voxels_of_unknown_level_teach_nothing(loss):
    truth = levels_truth()
    truth[:, :, 6:] = UNKNOWN_LEVEL
    answer = np.random.default_rng(1).dirichlet(np.ones(8), truth.shape).astype(np.float32)
    other = answer.copy()
    other[:, :, 6:] = other[:, :, 6:, ::-1]
    first, second = (float(ops.convert_to_numpy(loss(truth, one))) for one in (answer, other))
    assert first == pytest.approx(second, rel=1e-6)
    assert float(ops.convert_to_numpy(loss(levels_truth(), answer))) != pytest.approx(first, rel=1e-3)


@pytest.mark.parametrize("loss", [fracture_mask_loss, paper_mask_loss])
def test_an_unmarked_fracture_teaches_no_mask(loss):
    marked = (levels_truth() == 3)[..., None].astype(np.float32)
    truth = np.stack([marked[0], np.full_like(marked[0], UNKNOWN)])
    answer = np.random.default_rng(1).uniform(0.1, 0.9, truth.shape).astype(np.float32)
    other = np.stack([answer[0], 1 - answer[1]])
    first, second = (float(ops.convert_to_numpy(loss(truth, one))) for one in (answer, other))
    assert first == pytest.approx(second, rel=1e-6)
    nothing = np.full_like(truth, UNKNOWN)
    assert float(ops.convert_to_numpy(loss(nothing, answer))) == pytest.approx(0, abs=1e-6)


def test_slices_of_an_unmarked_fracture_teach_no_evidence():
    truth = np.array([[1.0, 0.0], [UNKNOWN, UNKNOWN]], dtype=np.float32)
    values = [
        float(ops.convert_to_numpy(slice_loss(truth, np.array([[2.0, 1.0], [unknown, -unknown]], np.float32))))
        for unknown in (0.0, 5.0)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    known = slice_loss(truth[:1], np.array([[2.0, 1.0]], np.float32))
    assert values[0] == pytest.approx(float(ops.convert_to_numpy(known)), rel=1e-6)
