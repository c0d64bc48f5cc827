"""What a peer says of a study and its patient: the attributes that results carry, bounded and sanitized (PS3.5 6.2)."""

from collections.abc import Iterable
from dataclasses import dataclass

from dicom_node.errors import PeerError
from dicom_node.sanitize import Header, sanitize

STUDY_KEYWORDS = (
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)


class AmbiguousStudy(PeerError):
    """A peer that gives one study different attributes, for example while patients are being merged."""

    code = "STUDY_AMBIGUOUS"


@dataclass(frozen=True, slots=True)
class StudyAttributes:
    """The attributes of a study and its patient; each is empty where the peer has none or does not tell.

    Sanitized like the headers of received instances: identifiers are as they came or empty, texts cleaned, dates and
    times valid.
    """

    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    accession_number: str
    study_id: str
    study_date: str
    study_time: str
    referring_physician_name: str


def attributes_of(header: Header) -> StudyAttributes:
    """Return the attributes that a header holds."""
    clean = sanitize(header, STUDY_KEYWORDS)
    return StudyAttributes(*(_text(clean, keyword) for keyword in STUDY_KEYWORDS))


def the_study(answers: Iterable[Header], study_instance_uid: str) -> StudyAttributes | None:
    """Return the attributes of the study that was asked for, None when no answer is of it.

    Answers of other studies are passed over. Raises ``AmbiguousStudy`` when answers of the study differ.
    """
    found = {attributes_of(answer) for answer in answers if is_of(answer, "StudyInstanceUID", study_instance_uid)}
    if len(found) > 1:
        raise AmbiguousStudy("The peer gives different attributes for the same study")
    return found.pop() if found else None


def is_of(answer: Header, keyword: str, uid: str) -> bool:
    """Return whether this attribute of an answer has this UID as its only value."""
    return [str(value).strip(" \0") for value in answer.get(keyword, ())] == [uid]


def _text(header: Header, keyword: str) -> str:
    values = header.get(keyword, ())
    return str(values[0]) if values else ""
