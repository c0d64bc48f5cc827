"""Whose a result is, against what an archive says of its study now: compare, and write results under the new identity.

An instance never changes under its UID: the same result under another identity is another instance of another series
(PS3.3 C.7.3.1, C.12.1.1).
"""

from collections.abc import Sequence
from enum import Enum

from pydicom import Dataset
from pydicom.uid import UID

from dicom_node.node import deterministic_uid
from dicom_node.study_attributes import STUDY_KEYWORDS, StudyAttributes, attributes_of

_KEYWORDS = dict(zip(StudyAttributes.__dataclass_fields__, STUDY_KEYWORDS, strict=True))
_DEPENDENT = {
    "PatientID": ("IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "OtherPatientIDsSequence"),
    "PatientBirthDate": ("PatientAge",),
    "AccessionNumber": ("IssuerOfAccessionNumberSequence",),
}
"""What says more about an attribute, and may be wrong once that has another value."""


class Relation(Enum):
    """How the identity that a result names stands to the one that an archive tells."""

    SAME = "same"
    CHANGED = "changed"
    CONTRADICTORY = "contradictory"


def identity_of(header: Dataset) -> StudyAttributes:
    """The patient and study that a result names."""
    return attributes_of({keyword: [str(header[keyword].value)] for keyword in STUDY_KEYWORDS if header.get(keyword)})


def relation(ours: StudyAttributes, theirs: StudyAttributes) -> Relation:
    """Compare; what the archive does not tell says nothing.

    A patient who was merged or renamed keeps birth date and sex, and one whose data were corrected keeps the number:
    another Patient ID with another birth date or sex, or the same one with both, is another person.
    """
    changed = _changed(ours, theirs)
    contradicted = [name for name in ("patient_birth_date", "patient_sex") if name in changed and getattr(ours, name)]
    other_issuer = "issuer_of_patient_id" in changed and bool(ours.issuer_of_patient_id)
    same_number = bool(ours.patient_id) and "patient_id" not in changed and not other_issuer
    if len(contradicted) > same_number:
        return Relation.CONTRADICTORY
    return Relation.CHANGED if changed else Relation.SAME


def under_identity(results: Sequence[Dataset], identity: StudyAttributes, number: int) -> None:
    """Rewrite the results of one analysis, whole, for the ``number``-th identity that their study was given.

    What ``identity`` does not tell stays. Instances and series get new UIDs, the same ones however often this is done,
    and whatever refers to them follows.
    """
    uids: dict[str, UID] = {}
    for result in results:
        for uid in (str(result.SOPInstanceUID), str(result.SeriesInstanceUID)):
            uids[uid] = deterministic_uid("identity", str(number), uid)
    for result in results:
        result.decode()  # texts in the character set that they were written in
        result.SpecificCharacterSet = "ISO_IR 192"
        for name in _changed(identity_of(result), identity):
            for dependent in _DEPENDENT.get(_KEYWORDS[name], ()):
                result.pop(dependent, None)
        for name, keyword in _KEYWORDS.items():
            if value := getattr(identity, name):
                setattr(result, keyword, value)
        _refer(result, uids)
        result.file_meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID


def _refer(dataset: Dataset, uids: dict[str, UID]) -> None:
    """Put the new UIDs in the place of the old ones, at every depth."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _refer(item, uids)
        elif element.VR == "UI" and str(element.value) in uids:
            element.value = uids[str(element.value)]


def _changed(ours: StudyAttributes, theirs: StudyAttributes) -> frozenset[str]:
    """The attributes of which the archive tells another value."""
    return frozenset(
        name
        for name in _KEYWORDS
        if getattr(theirs, name) and _normal(name, getattr(theirs, name)) != _normal(name, getattr(ours, name))
    )


def _normal(name: str, value: str) -> str:
    """The value without what means nothing: fractions of a second that are zero, empty components of names."""
    if name == "study_time":
        seconds, _, fraction = value.partition(".")
        return f"{seconds:0<6}.{fraction.rstrip('0')}"
    if name in {"patient_name", "referring_physician_name"}:
        return "=".join(group.rstrip("^ ") for group in value.split("=")).rstrip("=")
    return value.strip()
