"""Batches of one number for a network of one weight. No Keras here: the processes that make them start at once."""

import numpy as np

from training.fitting.feed import Batch


def plain_batch(step: int) -> Batch:
    return Batch(np.ones((1, 1), np.float32), {"levels": np.ones((1, 1), np.float32)}, ("study-a",))


def bad_batch(step: int) -> Batch:
    value = np.nan if step == 4 else 1.0
    return Batch(np.full((1, 1), value, np.float32), {"levels": np.ones((1, 1), np.float32)}, ("study-b",))


def steep_batch(step: int) -> Batch:
    value = np.float32(3e38 if step == 4 else 1.0)
    return Batch(np.full((1, 1), value), {"levels": np.ones((1, 1), np.float32)}, ("study-c",))
