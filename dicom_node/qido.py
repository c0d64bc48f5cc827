"""Queries to a DICOMweb service by QIDO-RS (PS3.18 10.6): what it says of a study, and which instances it has."""

from collections.abc import Collection, Sequence

from dicom_node.attributes import ATTRIBUTES
from dicom_node.dicomweb import DEFAULT_HTTP_TIMEOUTS, HttpTimeouts, dicomweb_service
from dicom_node.dicomweb_target import StowTarget
from dicom_node.sanitize import MAXIMUM_VALUES, Header
from dicom_node.study_attributes import STUDY_KEYWORDS, StudyAttributes, is_of, the_study

_MAX_STUDIES = 100  # of one Study Instance UID
_MAX_INSTANCES = 10  # of one SOP Instance UID


def study_attributes(
    study_instance_uid: str, target: StowTarget, timeouts: HttpTimeouts = DEFAULT_HTTP_TIMEOUTS
) -> StudyAttributes | None:
    """Return what ``target`` says of the study and its patient, None when it does not know the study.

    Raises ``PeerError`` when there is no answer, ``AmbiguousStudy`` when answers differ.
    """
    with dicomweb_service(target, timeouts) as service:
        found = service.search_studies(
            search_filters={"StudyInstanceUID": study_instance_uid}, fields=list(STUDY_KEYWORDS), limit=_MAX_STUDIES
        )
    answers = [_header(answer, ("StudyInstanceUID", *STUDY_KEYWORDS)) for answer in found[:_MAX_STUDIES]]
    return the_study(answers, study_instance_uid)


def instances_there(
    study_instance_uid: str,
    sop_instance_uids: Collection[str],
    target: StowTarget,
    timeouts: HttpTimeouts = DEFAULT_HTTP_TIMEOUTS,
) -> frozenset[str]:
    """Return which of these instances of the study ``target`` knows; raises ``PeerError`` when there is no answer.

    Each is asked for on its own: not every service takes a list of UIDs.
    """
    there = set()
    with dicomweb_service(target, timeouts) as service:
        for uid in sop_instance_uids:
            found = service.search_instances(
                study_instance_uid, search_filters={"SOPInstanceUID": uid}, limit=_MAX_INSTANCES
            )
            answers = [_header(answer, ("SOPInstanceUID",)) for answer in found[:_MAX_INSTANCES]]
            if any(is_of(answer, "SOPInstanceUID", uid) for answer in answers):
                there.add(uid)
    return frozenset(there)


def _header(answer: object, keywords: Sequence[str]) -> Header:
    """These attributes of a DICOM JSON data set (PS3.18 F.2) that have values of a kind that headers have."""
    header: dict[str, list[str | int | float]] = {}
    for keyword in keywords:
        element = answer.get(f"{ATTRIBUTES[keyword].tag:08X}") if isinstance(answer, dict) else None
        values = element.get("Value") if isinstance(element, dict) else None
        if isinstance(values, list):
            header[keyword] = [_plain(value) for value in values[:MAXIMUM_VALUES]]
    return header


def _plain(value: object) -> str | int | float:
    """One value; a person name as its groups in one text (PS3.18 F.2.2)."""
    if isinstance(value, dict):
        groups = [value.get(name) for name in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(group if isinstance(group, str) else "" for group in groups).rstrip("=")
    return value if isinstance(value, str | int | float) else ""
