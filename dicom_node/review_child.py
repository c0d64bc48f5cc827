"""The process that reads a review: ``python -m dicom_node.review_child``, within hard limits.

It reads one request as JSON from standard input, limits itself before it opens the first file, and leaves its answer in
the scratch folder (see `dicom_node.review_reading`).
"""

import errno
import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from dicom_node.child_process import limit_process, unexpected
from dicom_node.encoded_file import read_encoded_file
from dicom_node.errors import DicomNodeError, InvalidInstance, ReadingAborted
from dicom_node.frames import text
from dicom_node.malformed import MALFORMED
from dicom_node.review import Review
from dicom_node.review_document import Document, read_document
from dicom_node.review_exchange import ANSWER_NAME, ResultVersion, ReviewRequest
from dicom_node.review_mask import OurMask, compare, our_mask, read_segmentation
from dicom_node.review_rules import (
    Version,
    review_of_document,
    review_of_segmentation,
    version_of_document,
    version_of_segmentation,
)
from dicom_node.transfer_syntaxes import DOCUMENT_CLASSES, SEGMENTATION_CLASSES
from model.findings import Vertebra


def review_of(request: ReviewRequest) -> Review | None:
    """The review that the object is, None when it does not speak of our results; InvalidInstance when it is broken."""
    file = read_encoded_file(Path(request.path))
    versions = [read_version(version) for version in request.versions]
    if text(file.dataset, "SOPClassUID") in DOCUMENT_CLASSES:
        document = read_document(file.dataset)
        index = version_of_document(document, versions)
        return None if index is None else review_of_document(document, index, versions[index])
    segmentation = read_segmentation(file)
    index = version_of_segmentation(segmentation, versions)
    if index is None:
        return None
    ours = mask_of(request.versions[index])
    return review_of_segmentation(segmentation, index, versions[index], ours, compare(segmentation, ours))


def read_version(version: ResultVersion) -> Version:
    """What one version of our results says, from its own objects."""
    documents: dict[str, Document] = {}
    tracked: dict[str, Vertebra] = {}
    for item in version.objects:
        if item.sop_class_uid in DOCUMENT_CLASSES:
            document = read_document(read_encoded_file(Path(item.path)).dataset)
            documents[item.sop_instance_uid] = document
            named = [(group.tracking_uid, group.level) for group in document.groups]
        elif item.sop_class_uid in SEGMENTATION_CLASSES:
            segments = read_segmentation(read_encoded_file(Path(item.path))).segments
            named = [(segment.tracking_uid, segment.level) for segment in segments]
        else:
            continue
        tracked |= {uid: level for uid, level in named if uid and level is not None}
    instances = frozenset(item.sop_instance_uid for item in version.objects)
    return Version(instances, tracked, frozenset(version.suspected), documents)


def mask_of(version: ResultVersion) -> OurMask:
    """The mask of one version of our results; an empty one where it has no segmentation."""
    for item in version.objects:
        if item.sop_class_uid in SEGMENTATION_CLASSES:
            return our_mask(read_segmentation(read_encoded_file(Path(item.path))))
    return OurMask()


def answer(request: ReviewRequest) -> dict[str, Any]:
    """The answer to a request: the review or null, or the error that ended the reading."""
    try:
        review = review_of(request)
    except DicomNodeError as error:
        return error_answer(error)
    except (MemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.ENOMEM:
            return error_answer(InvalidInstance(f"A file cannot be read ({error.strerror})"))
        return error_answer(ReadingAborted("Reading needs more memory than is allowed."))
    except MALFORMED as error:  # the text of such an error may hold a patient's data
        return error_answer(InvalidInstance(f"The object is malformed ({type(error).__name__})"))
    return {"review": None if review is None else review.as_json()}


def error_answer(error: DicomNodeError) -> dict[str, Any]:
    """An error as JSON values: the reading was aborted, or else the object is invalid."""
    kind = ReadingAborted if isinstance(error, ReadingAborted) else InvalidInstance
    return {"error": {"kind": kind.__name__, "message": str(error)}}


def main() -> None:
    """Serve one request."""
    request = ReviewRequest.from_json(sys.stdin.read())
    limits = request.limits
    limit_process(limits.address_space_bytes, limits.cpu_seconds, 1 << 20)
    path = Path(request.scratch) / ANSWER_NAME

    def say_how_it_ended(kind: type[BaseException], _: BaseException, __: TracebackType | None) -> None:
        """The name of what ended the process."""
        path.write_text(json.dumps(error_answer(unexpected(kind))), "utf-8")

    sys.excepthook = say_how_it_ended
    path.write_text(json.dumps(answer(request)), "utf-8")


if __name__ == "__main__":
    main()
