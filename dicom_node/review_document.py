"""Structured reports and Key Objects as far as they may speak of our results (PS3.3 C.17.2, C.17.3; PS3.16 TID 1500).

The bytes come from strangers: the content tree is walked within bounds, and of texts only a hash is kept.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pydicom.sr.coding import Code

from dicom_node import codes
from dicom_node.elements import MAX_DEPTH
from dicom_node.encoded_data_set import EncodedDataSet
from dicom_node.errors import InvalidInstance
from dicom_node.frames import text
from dicom_node.review import Presence
from model.findings import Vertebra

MAX_CONTENT_ITEMS = 20_000
"""A report that refers to every slice has about 2,000."""

_EVIDENCE = (
    "CurrentRequestedProcedureEvidenceSequence",
    "PertinentOtherEvidenceSequence",
    "IdenticalDocumentsSequence",
)
_ANSWERS = (
    (codes.PRESENT, Presence.PRESENT),
    (codes.YES, Presence.PRESENT),
    (codes.ABSENT, Presence.ABSENT),
    (codes.NO, Presence.ABSENT),
    (codes.UNDETERMINED, Presence.UNDETERMINED),
)
REJECTING_TITLES = (codes.REJECTED_FOR_QUALITY_REASONS, codes.REJECTED_FOR_PATIENT_SAFETY_REASONS)
"""Titles of rejection notes that find fault with the object; others reject it for its worklist entry or its age."""


@dataclass(frozen=True, slots=True)
class Group:
    """A measurement group: its Tracking UID, the level that it names, and what it says of a fracture.

    ``finding_is_fracture`` and ``finding_is_level`` tell what its Finding is; ``stated`` is an explicit answer.
    """

    tracking_uid: str
    level: Vertebra | None
    finding_is_fracture: bool
    finding_is_level: bool
    stated: Presence | None


@dataclass(frozen=True, slots=True)
class Document:
    """A document: who made it, what it refers to and what it says.

    ``answer`` is its answer for the cervical spine, outside of groups. ``texts`` is a hash of all its texts.
    ``predecessors`` and ``references`` are SOP Instance UIDs.
    """

    sop_instance_uid: str
    manufacturer: str
    verified: bool
    title: Code
    groups: tuple[Group, ...]
    answer: Presence | None
    texts: str
    predecessors: frozenset[str]
    references: frozenset[str]


@dataclass(slots=True)
class _Found:
    """What the walk over the content tree collects."""

    items: int = 0
    groups: list[Group] = field(default_factory=list)
    answers: set[Presence] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)
    references: set[str] = field(default_factory=set)


def read_document(dataset: EncodedDataSet) -> Document:
    """The document that a data set holds; InvalidInstance when its content tree is beyond the bounds."""
    found = _Found()
    _walk(dataset, found)
    return Document(
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        manufacturer=text(dataset, "Manufacturer"),
        verified=text(dataset, "VerificationFlag") == "VERIFIED",
        title=code_of(dataset, "ConceptNameCodeSequence"),
        groups=tuple(found.groups),
        answer=_one(found.answers),
        texts=hashlib.sha256("\0".join(sorted(found.texts)).encode()).hexdigest(),
        predecessors=predecessors_of(dataset),
        references=frozenset(found.references.union(*(_referenced(dataset, keyword) for keyword in _EVIDENCE))),
    )


def predecessors_of(dataset: EncodedDataSet) -> frozenset[str]:
    """SOP Instance UIDs of Predecessor Documents (0040,A360), which viewers write into segmentations as well."""
    return frozenset(_referenced(dataset, "PredecessorDocumentsSequence"))


def code_of(dataset: EncodedDataSet, keyword: str) -> Code:
    """The first code of a code sequence, an empty one where it has none; equal to those of our table by pydicom's rule.

    That rule takes the older SNOMED RT for SNOMED CT. Meanings and versions are left out.
    """
    for item in dataset.items(keyword)[:1]:
        return Code(text(item, "CodeValue"), text(item, "CodingSchemeDesignator"), "")
    return Code(*[""] * 3)


def level_of(code: Code) -> Vertebra | None:
    """The level that a code names."""
    return next((level for level, known in codes.VERTEBRA.items() if code == known), None)


def _walk(item: EncodedDataSet, found: _Found, depth: int = 0, *, in_group: bool = False) -> None:
    """Collect from the content items below ``item``; what a group says of its level is no answer for the spine."""
    if depth > MAX_DEPTH:
        raise InvalidInstance("The content tree is nested too deeply")
    for child in item.items("ContentSequence"):
        found.items += 1
        if found.items > MAX_CONTENT_ITEMS:
            raise InvalidInstance("The content tree has too many items")
        found.references.update(_uids(child.items("ReferencedSOPSequence")))
        if text(child, "ValueType") == "TEXT":
            found.texts.append(text(child, "TextValue"))
        name = code_of(child, "ConceptNameCodeSequence")
        is_group = name == codes.MEASUREMENT_GROUP
        if is_group and not in_group:
            found.groups.append(_group(child))
        elif name == codes.FRACTURE and not in_group and _concerns_the_spine(child):
            found.answers.update(_presence(child))
        _walk(child, found, depth + 1, in_group=in_group or is_group)


def _group(item: EncodedDataSet) -> Group:
    """The measurement group that a content item is (TID 1410, 1411, 1501)."""
    tracking_uid = ""
    findings: list[Code] = []
    sites: list[Code] = []
    stated: set[Presence] = set()
    for child in item.items("ContentSequence"):
        name, value = (code_of(child, keyword) for keyword in ("ConceptNameCodeSequence", "ConceptCodeSequence"))
        if name == codes.TRACKING_UNIQUE_IDENTIFIER:
            tracking_uid = text(child, "UID")
        elif name == codes.FINDING:
            findings.append(value)
        elif name == codes.FINDING_SITE:
            sites.append(value)
        elif name == codes.FRACTURE:
            stated.update(_presence(child))
    levels = [level for level in map(level_of, [*sites, *findings]) if level is not None]
    return Group(
        tracking_uid=tracking_uid,
        level=levels[0] if levels else None,
        finding_is_fracture=any(code == codes.FRACTURE for code in findings),
        finding_is_level=any(level_of(code) is not None for code in findings),
        stated=_one(stated),
    )


def _presence(item: EncodedDataSet) -> set[Presence]:
    """The answer that a CODE item gives, if it gives one."""
    value = code_of(item, "ConceptCodeSequence")
    return {presence for code, presence in _ANSWERS if value == code}


def _concerns_the_spine(item: EncodedDataSet) -> bool:
    """Whether an answer has no finding site, or the cervical spine as such."""
    return all(
        code_of(child, "ConceptCodeSequence") == codes.CERVICAL_SPINE
        for child in item.items("ContentSequence")
        if code_of(child, "ConceptNameCodeSequence") == codes.FINDING_SITE
    )


def _one(answers: set[Presence]) -> Presence | None:
    """The one answer; contradicting ones leave it undetermined."""
    if len(answers) > 1:
        return Presence.UNDETERMINED
    return next(iter(answers), None)


def _referenced(dataset: EncodedDataSet, keyword: str) -> set[str]:
    """SOP Instance UIDs of a sequence of the SOP Instance Reference macro (PS3.3 C.17.2.1)."""
    return {
        uid
        for study in dataset.items(keyword)
        for series in study.items("ReferencedSeriesSequence")
        for uid in _uids(series.items("ReferencedSOPSequence"))
    }


def _uids(items: Iterable[EncodedDataSet]) -> Iterator[str]:
    yield from (text(item, "ReferencedSOPInstanceUID") for item in items)
