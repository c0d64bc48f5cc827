"""Headers of 300 slices that are not in memory: the product beside the same walk, one file after the other.

Both read the same files from the disk in turns in this one run; each round begins with the kernel's copies dropped.
``make bench ARGS="-k headers"`` prints the median ratio. Time never fails it.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from dicom_node.instance_file import read_instance
from dicom_node.study_files import read_files
from training.synthesis.phantom_series import make_series

SLICES = 300
SIDE = 512
ROUNDS = 5


def drop_from_memory(paths: Sequence[Path]) -> None:
    """Give the kernel's copies of the files back; what was just written is flushed first."""
    for path in paths:
        descriptor = os.open(path, os.O_RDWR)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def seconds(work: Callable[[], object], paths: Sequence[Path]) -> float:
    drop_from_memory(paths)
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@pytest.mark.slow
def test_headers_from_a_cold_disk_in_parallel_and_one_after_the_other(tmp_path, capsys):
    paths = []
    for number, dataset in enumerate(make_series(np.zeros((SLICES, SIDE, SIDE), np.int16), (1.0, 0.5, 0.5))):
        paths.append(tmp_path / f"{number:04d}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    assert sum(len(files) for files in read_files(paths).series.values()) == SLICES
    pairs = [
        (seconds(lambda: read_files(paths), paths), seconds(lambda: [read_instance(path) for path in paths], paths))
        for _ in range(ROUNDS)
    ]
    with capsys.disabled():
        ratio = statistics.median(ours / plain for ours, plain in pairs)
        print(f"\n{SLICES} headers from a cold disk: {ratio:.2f} x the time of one file after the other")  # noqa: T201
