"""Processes that parse and decode what strangers sent: how a parent runs one, and how one limits itself.

The parent gives its request as text and waits; the child leaves its answer in a folder. However a child dies, the
parent knows a sentence about it.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from dicom_node.errors import ReadingAborted

_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PATH": os.defpath,
    "PYTHONDONTWRITEBYTECODE": "1",
}
_PR_SET_PDEATHSIG = 1


def run_child(module: str, request: str, folder: Path, wall_seconds: float) -> int:
    """Run ``python -m module`` in ``folder`` to its end and return its exit status.

    Raises ``ReadingAborted`` when ``wall_seconds`` are over. Of our environment the child gets nothing.
    """
    package_root = str(Path(__file__).resolve().parent.parent)
    child = subprocess.Popen(
        [sys.executable, "-P", "-s", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={**_ENVIRONMENT, "PYTHONPATH": package_root, "HOME": str(folder), "TMPDIR": str(folder)},
        start_new_session=True,
    )
    try:
        child.communicate(request.encode(), timeout=wall_seconds)
    except subprocess.TimeoutExpired as error:
        raise ReadingAborted("Reading took too long.", code="READING_TIMEOUT") from error
    except BrokenPipeError:
        child.wait(timeout=wall_seconds)
    finally:
        _end(child)
    return child.returncode


def epitaph(status: int) -> str:
    """A sentence about a child that left no answer."""
    if status in {-signal.SIGXCPU, -signal.SIGKILL}:
        return "The reading process used more processor time or memory than is allowed."
    if status < 0:
        return f"The reading process was ended by signal {-status}."
    return f"The reading process ended with status {status} and without an answer."


def limit_process(address_space_bytes: int, cpu_seconds: int, file_bytes: int) -> None:
    """Bind this process to its limits, without core files, and to its parent's life (Linux)."""
    for kind, value in (
        (resource.RLIMIT_AS, address_space_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, file_bytes),
    ):
        resource.setrlimit(kind, (value, value))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def unexpected(kind: type[BaseException]) -> ReadingAborted:
    """What to tell of an error that nobody foresaw: its name, for its text may hold a patient's data."""
    name = "".join(character for character in kind.__name__ if character.isalnum())
    return ReadingAborted(f"The reading process ended on an unexpected error ({name}).")


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Kill the child and whatever it started, if anything is left, and collect it."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
