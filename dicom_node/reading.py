"""The parent's side of reading a study: a child process parses and decodes, the parent waits, checks and maps.

No byte that a stranger wrote is parsed or decoded in this process (reliability.md 3.5).
"""

from collections.abc import Sequence
from pathlib import Path

from dicom_node.child_process import epitaph, run_child
from dicom_node.errors import ReadingAborted
from dicom_node.reading_answer import StudyReading, parse_answer
from dicom_node.reading_exchange import ANSWER_NAME, VOLUME_NAME, ReadingLimits, ReadingRequest


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
    status = run_child("dicom_node.reading_child", request.to_json(), scratch.absolute(), limits.wall_seconds)
    if not (scratch / ANSWER_NAME).exists():
        raise ReadingAborted(epitaph(status))
    return parse_answer(scratch)


__all__ = ["ReadingLimits", "StudyReading", "read_study"]
