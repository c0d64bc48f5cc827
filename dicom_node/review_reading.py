"""The parent's side of reading a review: a child process parses and decodes, the parent waits and checks its answer.

No byte of what came back is parsed in this process.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from dicom_node.child_process import epitaph, run_child
from dicom_node.errors import DicomNodeError, InvalidInstance, ReadingAborted
from dicom_node.review import Review
from dicom_node.review_exchange import ANSWER_NAME, ResultFile, ResultVersion, ReviewLimits, ReviewRequest

__all__ = ["ResultFile", "ResultVersion", "ReviewLimits", "read_review"]

_MAXIMUM_ANSWER_BYTES = 1 << 20
_MAXIMUM_SENTENCE = 300
_MAXIMUM_LEVELS = 1000


def read_review(
    path: Path, versions: Sequence[ResultVersion], scratch: Path, limits: ReviewLimits | None = None
) -> Review | None:
    """Read an object that came back and return what it says of our results; None when it does not speak of them.

    ``versions`` are our results of its study, newest first; of several that it speaks of the first one counts.
    ``scratch`` is an empty folder. Raises ``InvalidInstance`` (it cannot be read) or ``ReadingAborted`` (limits).
    """
    limits = limits or ReviewLimits()
    request = ReviewRequest(str(path.absolute()), tuple(versions), str(scratch.absolute()), limits)
    status = run_child("dicom_node.review_child", request.to_json(), scratch.absolute(), limits.wall_seconds)
    answer = scratch / ANSWER_NAME
    if not answer.exists():
        raise ReadingAborted(epitaph(status))
    return _checked(answer, len(versions))


def _checked(path: Path, versions: int) -> Review | None:
    """The review out of a child's answer, or the error that it tells of; nothing of it is taken on trust."""
    try:
        if path.stat().st_size > _MAXIMUM_ANSWER_BYTES:
            raise ValueError("the answer is too long")  # noqa: TRY301 - told like the others
        answer = json.loads(path.read_text("utf-8"))
        error = _error(answer)
        review = None if error is not None or answer["review"] is None else Review.from_json(answer["review"])
        if review is not None and not (0 <= review.version < versions and len(review.levels) <= _MAXIMUM_LEVELS):
            raise ValueError("the review is out of proportion")  # noqa: TRY301 - told like the others
    except (ValueError, TypeError, LookupError, AttributeError, OSError, RecursionError) as cause:
        raise ReadingAborted("The reading process gave no usable answer.") from cause
    if error is not None:
        raise error
    return review


def _error(answer: dict[str, dict[str, str]]) -> DicomNodeError | None:
    """The error that the answer tells of, its sentence cut and free of control characters."""
    if "error" not in answer:
        return None
    told = answer["error"]
    sentence = "".join(character for character in str(told["message"])[:_MAXIMUM_SENTENCE] if character.isprintable())
    return {"InvalidInstance": InvalidInstance, "ReadingAborted": ReadingAborted}[told["kind"]](sentence)
