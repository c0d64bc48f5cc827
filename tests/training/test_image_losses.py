"""Losses of image heads: right answers cost least, unknown labels cost nothing."""

import keras
import numpy as np
import pytest

from training.images.image_losses import image_fracture_loss, image_level_loss, paper_image_level_loss


def value(loss, truth, predicted):
    tensors = (keras.ops.convert_to_tensor(np.array(array, dtype=np.float32)) for array in (truth, predicted))
    return float(keras.ops.convert_to_numpy(loss(*tensors)))


SURE = [0.94, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01]


@pytest.mark.parametrize("loss", [image_level_loss, paper_image_level_loss])
def test_the_right_level_costs_less_than_another_and_an_unknown_one_nothing(loss):
    right, wrong = value(loss, [[0]], [SURE]), value(loss, [[6]], [SURE])
    assert 0 < right < wrong
    assert value(loss, [[-1]], [SURE]) == 0
    assert value(loss, [[0], [-1]], [SURE, SURE]) == pytest.approx(right)


def test_cross_entropy_is_that_of_the_books():
    assert value(image_level_loss, [[0]], [SURE]) == pytest.approx(-np.log(0.94), rel=1e-4)
    assert value(image_fracture_loss, [[1], [0]], [[0.8], [0.8]]) == pytest.approx(
        -(np.log(0.8) + np.log(0.2)) / 2, rel=1e-4
    )


def test_an_unknown_fracture_costs_nothing():
    assert value(image_fracture_loss, [[-1]], [[0.9]]) == 0
    assert value(image_fracture_loss, [[1], [-1]], [[0.8], [0.9]]) == pytest.approx(-np.log(0.8), rel=1e-4)
