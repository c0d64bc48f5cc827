"""What a run and a bundle tell of where they come from: data sets, split and versions."""

import hashlib
import importlib.metadata
import platform
from collections import Counter
from collections.abc import Sequence
from typing import Any

from training.preparation.prepared import Prepared, PreparedStudy, Split

DISTRIBUTIONS = ("cspine", "keras", "tensorflow-cpu", "tensorflow", "jax", "torch", "numpy", "scipy")


def versions() -> dict[str, str]:
    """The versions of what computes, as far as it is installed."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def split_sha256(studies: Sequence[PreparedStudy]) -> str:
    """The SHA-256 of which study is in which split: the same for the same split, whatever the folder."""
    lines = sorted(f"{study.name} {study.split}\n" for study in studies)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def data_record(folders: Sequence[Prepared]) -> list[dict[str, Any]]:
    """What each prepared folder holds: its data sets, how many studies and patients each split has, the split's hash.

    Folder names are left out: they are of this machine.
    """
    return [
        {
            "data_sets": dict(sorted(Counter(study.data_set for study in folder.studies).items())),
            "studies": {str(split): len(folder.of(split)) for split in Split},
            "patients": {str(split): len({study.patient for study in folder.of(split)}) for split in Split},
            "split_sha256": split_sha256(folder.studies),
        }
        for folder in folders
    ]
