"""Instances to a DICOMweb service by STOW-RS (PS3.18 10.5), and what became of each."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.dicomweb import DEFAULT_HTTP_TIMEOUTS, DicomwebService, HttpTimeouts, decoded, dicomweb_service
from dicom_node.dicomweb_target import StowTarget
from dicom_node.errors import PeerError
from dicom_node.http_session import Answer
from dicom_node.http_statuses import concerns_service, describe_http_status, is_success, is_transient
from dicom_node.outcomes import SendOutcome, file_meta, unreadable
from dicom_node.statuses import describe_status, verdict

__all__ = ["HttpTimeouts", "SendOutcome", "StowTarget", "store"]

_REFERENCED_SOP_SEQUENCE, _FAILED_SOP_SEQUENCE = "00081199", "00081198"
_REFERENCED_SOP_INSTANCE, _FAILURE_REASON = "00081155", "00081197"
_OK = 200  # every instance of the request is stored (PS3.18 10.5.3)


def store(
    files: Sequence[Path], target: StowTarget, timeouts: HttpTimeouts = DEFAULT_HTTP_TIMEOUTS
) -> tuple[SendOutcome, ...]:
    """Send DICOM files to ``target`` as they are, one in each request, and return what became of each, in their order.

    Raises ``PeerError`` when the service gave no answer at all; where it stops answering later, or answers something
    that is true of every instance (no authority, too many requests), the remaining ones are not sent and share the
    outcome.
    """
    with dicomweb_service(target, timeouts) as service:
        return tuple(_outcomes(service, files))


def _outcomes(service: DicomwebService, files: Sequence[Path]) -> Iterator[SendOutcome]:
    answered = False
    ended: tuple[bool, str] | None = None  # permanent, why: for all that follow
    for path in files:
        meta, dataset = file_meta(path), _dataset(path)
        if meta is None or dataset is None:
            yield unreadable(path)
            continue
        if ended is None:
            try:
                answer = service.store(dataset)
            except PeerError as error:
                if not answered:
                    raise
                ended = error.permanent, str(error)
            else:
                answered = True
                yield _outcome(path, meta.sop_instance_uid, answer)
                if concerns_service(answer.status):
                    ended = not is_transient(answer.status), describe_http_status(answer.status)
                continue
        yield SendOutcome(path, meta.sop_instance_uid, None, False, *ended)


def _dataset(path: Path) -> Dataset | None:
    """Return the file's data set, its values left as they are; None when it is no DICOM file."""
    try:
        return dcmread(path)
    except (InvalidDicomError, OSError):
        return None


def _outcome(path: Path, uid: str, answer: Answer) -> SendOutcome:
    """Return what the answer says of the one instance that was sent (PS3.18 10.5.3, Store Instances Response)."""
    comment = describe_http_status(answer.status)
    response = decoded(answer.body)
    reasons = [_reason(item) for item in _items(response, _FAILED_SOP_SEQUENCE) if _is_of(item, uid)]
    if reasons:
        accepted, permanent = verdict(reasons[0])
        return SendOutcome(path, uid, reasons[0], accepted, permanent, f"{describe_status(reasons[0])}, {comment}")
    if not is_success(answer.status):
        return SendOutcome(path, uid, None, False, not is_transient(answer.status), comment)
    stored = any(_is_of(item, uid) for item in _items(response, _REFERENCED_SOP_SEQUENCE))
    if stored or (answer.status == _OK and not _names_instances(answer.body)):
        return SendOutcome(path, uid, None, True, True, f"Stored, {comment}")
    return SendOutcome(path, uid, None, False, False, f"The service does not say that it was stored, {comment}")


def _names_instances(body: bytes) -> bool:
    """Return whether the body speaks of stored or failed instances, in whatever encoding (JSON, XML)."""
    return any(tag.encode() in body for tag in (_REFERENCED_SOP_SEQUENCE, _FAILED_SOP_SEQUENCE))


def _items(response: object, tag: str) -> list[object]:
    """The items of a sequence of a DICOM JSON data set (PS3.18 F.2), none where it is something else."""
    if isinstance(response, list) and len(response) == 1:  # some services wrap it
        response = response[0]
    element = response.get(tag) if isinstance(response, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _value(item: object, tag: str) -> object:
    values = _items(item, tag)
    return values[0] if len(values) == 1 else None


def _is_of(item: object, uid: str) -> bool:
    return _value(item, _REFERENCED_SOP_INSTANCE) == uid


def _reason(item: object) -> int:
    """The Failure Reason, processing failure where there is none."""
    reason = _value(item, _FAILURE_REASON)
    return reason if isinstance(reason, int) and 0 <= reason <= 0xFFFF else 0x0110
