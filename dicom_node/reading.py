"""The parent's side of reading a study: a child process parses and decodes, the parent waits, checks and maps.

No byte that a stranger wrote is parsed or decoded in this process (reliability.md 3.5).
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dicom_node.errors import ReadingAborted
from dicom_node.reading_answer import StudyReading, parse_answer
from dicom_node.reading_exchange import ANSWER_NAME, VOLUME_NAME, ReadingLimits, ReadingRequest

_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PATH": os.defpath,
    "PYTHONDONTWRITEBYTECODE": "1",
}


def read_study(paths: Sequence[Path], scratch: Path, limits: ReadingLimits | None = None) -> StudyReading:
    """Read the files of one study and return the series to analyze; ``scratch`` (made if missing) holds its voxels.

    The volume is mapped from ``scratch``, which must stay until the reading is no longer used. Files that are no DICOM
    instances are ignored and counted in ``notes``. Raises ``Ineligible`` (nothing to analyze), ``UnusableSeries`` (the
    only candidates are broken), ``ReadingAborted`` (limits, crash) or ``OutOfResources``; each has ``verdicts`` and
    ``notes``.
    """
    limits = limits or ReadingLimits()
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in (ANSWER_NAME, VOLUME_NAME):
        (scratch / name).unlink(missing_ok=True)
    request = ReadingRequest(tuple(str(path.absolute()) for path in paths), str(scratch.absolute()), limits)
    status = _run_child(request)
    if not (scratch / ANSWER_NAME).exists():
        raise ReadingAborted(_epitaph(status))
    return parse_answer(scratch)


def _run_child(request: ReadingRequest) -> int:
    """Run the child to its end and return its exit status; ReadingAborted when the parent's patience ends."""
    package_root = str(Path(__file__).resolve().parent.parent)
    child = subprocess.Popen(
        [sys.executable, "-P", "-s", "-m", "dicom_node.reading_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=request.scratch,
        env={**_ENVIRONMENT, "PYTHONPATH": package_root, "HOME": request.scratch, "TMPDIR": request.scratch},
        start_new_session=True,
    )
    try:
        child.communicate(request.to_json().encode(), timeout=request.limits.wall_seconds)
    except subprocess.TimeoutExpired as error:
        raise ReadingAborted("Reading the study took too long.", code="READING_TIMEOUT") from error
    except BrokenPipeError:
        child.wait(timeout=request.limits.wall_seconds)
    finally:
        _end(child)
    return child.returncode


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Kill the child and whatever it started, if anything is left, and collect it."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _epitaph(status: int) -> str:
    """A sentence about a child that left no answer."""
    if status in {-signal.SIGXCPU, -signal.SIGKILL}:
        return "The reading process used more processor time or memory than is allowed."
    if status < 0:
        return f"The reading process was ended by signal {-status}."
    return f"The reading process ended with status {status} and without an answer."


__all__ = ["ReadingLimits", "StudyReading", "read_study"]
