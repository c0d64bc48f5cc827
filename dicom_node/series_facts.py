"""What rules of a site may ask about a series: facts of one of its headers, cleaned, none of which names the patient.

Read from the encoded header within bounds; what is missing, malformed or no text of its character set is empty or
cleaned, never an error (PS3.3 C.7.2.1, C.7.3.1, C.7.5.1; codes: 8.8).
"""

from dataclasses import dataclass
from datetime import date

from dicom_node.attributes import ATTRIBUTES
from dicom_node.encoded_data_set import EncodedDataSet
from dicom_node.header import is_uid
from dicom_node.sanitize import clean_text
from dicom_node.timestamps import is_date

MAXIMUM_CODES = 32
DAYS_OF_YEAR = 365.25
_DAYS = {"D": 1.0, "W": 7.0, "M": DAYS_OF_YEAR / 12, "Y": DAYS_OF_YEAR}
_CODES = ("ProcedureCodeSequence", "RequestedProcedureCodeSequence", "PerformedProtocolCodeSequence")
_REQUESTED_CODES = ("RequestedProcedureCodeSequence", "ScheduledProtocolCodeSequence")
_KEYWORDS = (
    *("SpecificCharacterSet", "StudyDate", "Modality", "StationName", "StudyDescription"),
    *("SeriesDescription", "PatientBirthDate", "PatientAge", "BodyPartExamined", "ProtocolName"),
    *("StudyInstanceUID", "SeriesInstanceUID", "RequestAttributesSequence"),
)
FACT_TAGS = frozenset(ATTRIBUTES[keyword].tag for keyword in (*_KEYWORDS, *_CODES))
"""The elements that the facts are made of."""


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """The facts of one series; texts are cleaned and at most 64 characters, empty where the header says nothing.

    ``procedure_codes`` are ``SCHEME:VALUE``, of what was done and of what was asked for. ``age_years`` is None where
    the header tells neither the age nor the date of birth.
    """

    study_instance_uid: str = ""
    series_instance_uid: str = ""
    modality: str = ""
    body_part: str = ""
    study_description: str = ""
    series_description: str = ""
    protocol_name: str = ""
    procedure_codes: tuple[str, ...] = ()
    station_name: str = ""
    age_years: float | None = None


def facts_of(dataset: EncodedDataSet) -> SeriesFacts:
    """The facts of a header that was read with ``FACT_TAGS``."""
    return SeriesFacts(
        study_instance_uid=_uid(dataset, "StudyInstanceUID"),
        series_instance_uid=_uid(dataset, "SeriesInstanceUID"),
        modality=_text(dataset, "Modality", 16),
        body_part=_text(dataset, "BodyPartExamined", 16),
        study_description=_text(dataset, "StudyDescription"),
        series_description=_text(dataset, "SeriesDescription"),
        protocol_name=_text(dataset, "ProtocolName"),
        procedure_codes=_codes(dataset),
        station_name=_text(dataset, "StationName", 16),
        age_years=_age(dataset),
    )


def _text(dataset: EncodedDataSet, keyword: str, length: int = 64) -> str:
    """The attribute's values as one clean text."""
    return clean_text(" ".join(str(value)[: 4 * length] for value in (dataset.values(keyword) or ())[:8]), length)


def _uid(dataset: EncodedDataSet, keyword: str) -> str:
    text = str((dataset.values(keyword) or ("",))[0]).strip(" \0")
    return text if is_uid(text) else ""


def _codes(dataset: EncodedDataSet) -> tuple[str, ...]:
    """The codes of the procedure as it was done, then as it was requested; each once."""
    items = [item for keyword in _CODES for item in dataset.items(keyword)]
    for request in dataset.items("RequestAttributesSequence")[:MAXIMUM_CODES]:
        items += [item for keyword in _REQUESTED_CODES for item in request.items(keyword)]
    found: dict[str, None] = {}
    for item in items[:MAXIMUM_CODES]:
        scheme, value = _text(item, "CodingSchemeDesignator", 16), _text(item, "CodeValue", 16)
        if scheme and value:
            found[f"{scheme}:{value}"] = None
    return tuple(found)


def _age(dataset: EncodedDataSet) -> float | None:
    """Patient's Age in years; where it is not given, the time from the date of birth to that of the study."""
    text = _text(dataset, "PatientAge", 4)
    if len(text) == 4 and text[:3].isdecimal() and text.isascii() and text[3] in _DAYS:
        return int(text[:3]) * _DAYS[text[3]] / DAYS_OF_YEAR
    born, studied = _text(dataset, "PatientBirthDate", 8), _text(dataset, "StudyDate", 8)
    if not is_date(born) or not is_date(studied):
        return None
    days = (date.fromisoformat(studied) - date.fromisoformat(born)).days
    return days / DAYS_OF_YEAR if days >= 0 else None
