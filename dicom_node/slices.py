"""The parent's side of decoding single CT slices, each by itself, for training on and judging of single images.

No byte that a stranger wrote is parsed or decoded in this process.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.child_process import epitaph, run_child
from dicom_node.errors import ReadingAborted, UnusableSeries
from dicom_node.slice_child import ANSWER_NAME

_MAXIMUM_SENTENCE = 300
_MAXIMUM_SIDE = 4096

Slice = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class SliceLimits:
    """What decoding one call's slices may cost: the child's resource limits, and the parent's patience in seconds."""

    address_space_bytes: int = 4 << 30
    cpu_seconds: int = 120
    wall_seconds: float = 300.0


def read_slices(paths: Sequence[Path], limits: SliceLimits | None = None) -> list[Slice | UnusableSeries]:
    """HU (row, column) of each file, or why it has none; a few hundred files a call are decoded by one process.

    Raises ``ReadingAborted`` when that process ended without an answer.
    """
    limits = limits or SliceLimits()
    with tempfile.TemporaryDirectory(prefix="cspine-slices-") as folder:
        scratch = Path(folder)
        request = {
            "paths": [str(path.absolute()) for path in paths],
            "scratch": folder,
            "address_space_bytes": limits.address_space_bytes,
            "cpu_seconds": limits.cpu_seconds,
        }
        status = run_child("dicom_node.slice_child", json.dumps(request), scratch, limits.wall_seconds)
        try:
            problems = json.loads((scratch / ANSWER_NAME).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ReadingAborted(epitaph(status)) from error
        if not isinstance(problems, list) or len(problems) != len(paths):
            raise ReadingAborted("The reading process gave no usable answer.")
        return [_slice(scratch / f"{number}.npy", problem) for number, problem in enumerate(problems)]


def _slice(path: Path, problem: object) -> Slice | UnusableSeries:
    """What the child left of one file, not taken on trust."""
    if problem:
        sentence = "".join(character for character in str(problem)[:_MAXIMUM_SENTENCE] if character.isprintable())
        return UnusableSeries(sentence)
    try:
        hu = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ReadingAborted("The reading process gave no usable answer.") from error
    if hu.dtype != np.int16 or hu.ndim != 2 or max(hu.shape) > _MAXIMUM_SIDE:
        raise ReadingAborted("The reading process gave no usable answer.")
    return np.asarray(hu, dtype=np.int16)
