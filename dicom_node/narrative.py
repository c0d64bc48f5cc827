"""The findings as readable sentences in an Enhanced SR (PS3.16 TID 2000; PS3.3 A.35.2).

Titled (18748-4, LN, "Diagnostic Imaging Report"), which viewers show as text; it holds no coordinates.
"""

from highdicom.sr import ContainerContentItem, ContentSequence, EnhancedSR, RelationshipTypeValues, TextContentItem
from pydicom import Dataset
from pydicom.sr.coding import Code

from dicom_node import codes
from dicom_node.provenance import report_arguments, stamp
from dicom_node.report_content import document, evidence, opening
from dicom_node.result_context import ResultContext
from dicom_node.result_kind import ResultKind
from dicom_node.sentences import DISCLAIMER, SUPERSEDES, conclusion, level_sentence, limitation_sentences, percent


def build_narrative(context: ResultContext) -> Dataset:
    """The narrative of any outcome: suspected, negative, or nothing found."""
    header = context.header
    root = ContainerContentItem(name=codes.DIAGNOSTIC_IMAGING_REPORT, template_id="2000", is_content_continuous=False)
    root.ContentSequence = ContentSequence(
        [
            *opening(context, header),
            _section(codes.SECTION_CURRENT_PROCEDURE, codes.PROCEDURE_DESCRIPTION, _procedure(context)),
            _section(codes.SECTION_FINDINGS, codes.FINDING, _findings(context)),
            _section(codes.SECTION_CONCLUSIONS, codes.CONCLUSION, _conclusions(context)),
        ]
    )
    sources = evidence(context, header, (context.labels.shape[0] // 2,))
    arguments = report_arguments(context, header, ResultKind.NARRATIVE, "Narrative")
    dataset = document(EnhancedSR, root, sources, arguments)
    stamp(dataset, context, header)
    return dataset


def _section(title: Code, name: Code, texts: list[str]) -> ContainerContentItem:
    """A section (CID 7001) of text items."""
    contains = RelationshipTypeValues.CONTAINS
    section = ContainerContentItem(name=title, is_content_continuous=False, relationship_type=contains)
    section.ContentSequence = ContentSequence(
        [TextContentItem(name=name, value=text, relationship_type=contains) for text in texts]
    )
    return section


def _procedure(context: ResultContext) -> list[str]:
    """What was done, with what."""
    device = context.device
    sentence = (
        f"CT of the cervical spine, {context.labels.shape[0]} slices, analyzed by {device.manufacturer} "
        f"{device.software_version}, model {context.bundle_name} {context.bundle_version}."
    )
    return [sentence]


def _findings(context: ResultContext) -> list[str]:
    """One sentence a level, the study's probability, and the limitations."""
    findings = context.findings
    sentences = [level_sentence(finding) for finding in findings.vertebrae]
    if findings.vertebrae:
        sentences.append(
            f"Probability of any cervical fracture: {percent(findings.probability)}; "
            f"a level is suspected from {percent(findings.threshold)}."
        )
    sentences += [f"Limitation: {text}" for text in limitation_sentences(findings)]
    return sentences or ["No limitation."]


def _conclusions(context: ResultContext) -> list[str]:
    """The answer, what it replaces, and the disclaimer."""
    return [conclusion(context.findings), *([SUPERSEDES] if context.supersedes else []), DISCLAIMER]
