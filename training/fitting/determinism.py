"""The same result each time on one machine: what backends must be told before they are imported. No Keras here."""

import os


def deterministic_environment() -> None:
    """Have the backend choose operations that give the same result each time; call it before Keras is imported.

    TensorFlow: ``TF_DETERMINISTIC_OPS``; JAX: the flag of XLA. On a CPU both are deterministic as they are.
    """
    os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")
    flags = os.environ.get("XLA_FLAGS", "")
    if os.environ.get("KERAS_BACKEND") == "jax" and "deterministic" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
