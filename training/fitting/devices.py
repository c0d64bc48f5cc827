"""What a training computes on and in: seeds, precision and devices, set for a run and set back after it.

Only Keras' own functions are used, so that every backend works that ``KERAS_BACKEND`` may name.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import keras

from training.fitting.fit_config import FitConfig

logger = logging.getLogger(__name__)

DISTRIBUTING = ("jax",)
"""Backends on which ``keras.distribution`` trains on several devices; Keras' own code warns against the others."""


@contextmanager
def computing(config: FitConfig) -> Iterator[str]:
    """Seeds, precision and devices of a run; gives a sentence on the devices.

    Raises ValueError where the devices cannot share a batch.
    """
    keras.utils.set_random_seed(config.seed)
    policy, distribution = keras.config.dtype_policy(), keras.distribution.distribution()
    keras.config.set_dtype_policy(config.precision.value)
    try:
        said = _distributed(config.batch)
        logger.info("%s", said)
        yield said
    finally:
        keras.config.set_dtype_policy(policy)
        keras.distribution.set_distribution(distribution)


def _distributed(batch: int) -> str:
    """Share every batch among all accelerators where the backend can; what is used, as a sentence."""
    backend = keras.backend.backend()
    accelerators = [name for kind in ("gpu", "tpu") for name in _devices(kind)]
    if len(accelerators) < 2:
        return f"{backend} on one device ({accelerators[0] if accelerators else 'cpu'})"
    if backend not in DISTRIBUTING:
        return (
            f"{backend} on one of {len(accelerators)} devices: keras.distribution shares batches among several only"
            f" with KERAS_BACKEND={DISTRIBUTING[0]}"
        )
    if batch % len(accelerators):
        raise ValueError(f"batch: {batch} samples cannot be shared by {len(accelerators)} devices: use a multiple")
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=accelerators))
    return f"{backend} on {len(accelerators)} devices, each with {batch // len(accelerators)} samples of a batch"


def _devices(kind: str) -> list[str]:
    """The devices of a kind; none where the backend does not know the kind, or does not tell."""
    try:
        return list(keras.distribution.list_devices(kind))
    except (RuntimeError, NotImplementedError, AttributeError):
        return []
