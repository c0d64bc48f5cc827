"""Memory and use of the NVIDIA GPUs of this machine, as ``nvidia-smi`` tells them; none where that is not installed."""

import logging
import shutil
import subprocess
from dataclasses import dataclass

logger = logging.getLogger(__name__)

_QUERY = ("--query-gpu=index,name,memory.used,memory.total,utilization.gpu", "--format=csv,noheader,nounits")
_SECONDS = 5.0
_MEBIBYTE = 1024**2


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; ``busy_ratio`` is the share of the last moments in which it computed, None where it does not tell."""

    index: int
    name: str
    used_bytes: int
    total_bytes: int
    busy_ratio: float | None


def read_gpus(program: str = "nvidia-smi") -> tuple[Gpu, ...]:
    """Ask once; empty where there is no GPU, no program, or no answer in time."""
    path = shutil.which(program)
    if path is None:
        return ()
    try:
        asked = subprocess.run([path, *_QUERY], capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        logger.warning("nvidia-smi does not answer: the figures of the GPUs are missing")
        return ()
    return tuple(gpu for line in asked.stdout.splitlines() if (gpu := _parsed(line)) is not None)


def _parsed(line: str) -> Gpu | None:
    """One line; None where it is no GPU's, or the GPU does not tell its memory (``[N/A]``)."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != 5 or not (fields[0].isdigit() and fields[2].isdigit() and fields[3].isdigit()):
        return None
    busy = float(fields[4]) / 100 if fields[4].isdigit() else None
    return Gpu(int(fields[0]), fields[1], int(fields[2]) * _MEBIBYTE, int(fields[3]) * _MEBIBYTE, busy)
