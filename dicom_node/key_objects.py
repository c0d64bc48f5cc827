"""Key Object Selections: the slices that show a suspected fracture (PS3.3 A.35.4; PS3.16 TID 2010)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import (
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_node import codes
from dicom_node.contours import KeySlice
from dicom_node.node import Device
from dicom_node.provenance import common_arguments, stamp
from dicom_node.report_content import evidence, image_items, language_and_observer
from dicom_node.result_context import ResultContext
from dicom_node.result_kind import ResultKind, variant_name
from dicom_node.sentences import DISCLAIMER, conclusion
from dicom_node.source_headers import nameless, with_values
from model.findings import Vertebra


@dataclass(frozen=True, slots=True)
class Selection:
    """What a Key Object Selection says: its title (CID 7010), a description, the selected objects and their headers."""

    title: Code
    description: str
    items: Sequence[ContentItem]
    evidence: Sequence[Dataset]


def build_key_objects(context: ResultContext, slices: Mapping[Vertebra, KeySlice]) -> Dataset | None:
    """The key slices of suspected levels and the summary, "Of Interest"; None where nothing is suspected."""
    suspected = context.findings.fractured
    if not suspected:
        return None
    header = context.header
    indices = tuple(dict.fromkeys(slices[finding.vertebra].index for finding in suspected))
    summary = with_values(
        nameless(header),
        {
            "SOPClassUID": SecondaryCaptureImageStorage,
            "SOPInstanceUID": context.uid("instance", variant_name(ResultKind.SUMMARY, None)),
            "SeriesInstanceUID": context.uid("series", variant_name(ResultKind.SUMMARY, None)),
        },
    )
    selection = Selection(
        title=codes.OF_INTEREST,
        description=f"{conclusion(context.findings)} {DISCLAIMER}",
        items=[*image_items(context, indices), image_item(summary)],
        evidence=[*evidence(context, header, indices), summary],
    )
    arguments = common_arguments(context, ResultKind.KEY_OBJECTS, "Key images")
    dataset = key_object_document(selection, context.device, header, arguments)
    stamp(dataset, context, header)
    return dataset


def key_object_document(
    selection: Selection, device: Device, header: Dataset, arguments: Mapping[str, Any]
) -> KeyObjectSelectionDocument:
    """The document of a selection, still to be stamped."""
    description = TextContentItem(
        name=codes.KEY_OBJECT_DESCRIPTION,
        value=selection.description,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    root = ContainerContentItem(name=selection.title, template_id="2010")
    root.ContentSequence = ContentSequence([*language_and_observer(device), description, *selection.items])
    return KeyObjectSelectionDocument(
        evidence=selection.evidence,
        content=KeyObjectSelection.from_sequence([root]),
        specific_character_set=header.get("SpecificCharacterSet"),
        **arguments,
    )


def image_item(header: Dataset) -> ImageContentItem:
    """An IMAGE item for a whole instance."""
    return ImageContentItem(
        name=codes.SOURCE,
        referenced_sop_class_uid=header.SOPClassUID,
        referenced_sop_instance_uid=header.SOPInstanceUID,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
