"""Headers as plain values, sanitized once more, made data sets that results may copy (PS3.5 6.2)."""

from collections.abc import Sequence

from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from dicom_node.attributes import ATTRIBUTES
from dicom_node.sanitize import Header, HeaderValue, sanitize

KnownElements = dict[tuple[str, str], DataElement]
"""Elements by keyword and values: those that the slices of a series have in common are made once and shared."""


def data_set_of(header: Header, attributes: Sequence[str], known: KnownElements) -> Dataset:
    """The sanitized header as a data set in UTF-8; its elements are shared with other headers: never assign to them."""
    elements: dict[BaseTag, DataElement | RawDataElement] = {}
    charset: Header = {"SpecificCharacterSet": ["ISO_IR 192"]}
    for keyword, values in {**charset, **sanitize(header, attributes)}.items():
        key = keyword, repr(values)
        if key not in known:
            known[key] = _element(keyword, values)
        elements[known[key].tag] = known[key]
    return Dataset(elements)


def _element(keyword: str, values: HeaderValue) -> DataElement:
    """The sanitized values of an attribute as an element."""
    tag, vr = ATTRIBUTES[keyword]
    if vr == "SQ":
        return DataElement(tag, vr, [_item(item) for item in values if not isinstance(item, str | int | float)])
    return DataElement(tag, vr, (values[0] if len(values) == 1 else values) if values else None)


def _item(item: Header) -> Dataset:
    """The sanitized header of a sequence's item as a data set."""
    dataset = Dataset()
    for keyword, values in item.items():
        dataset.add(_element(keyword, values))
    return dataset
