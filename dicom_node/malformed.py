"""What parsing and decoding libraries raise on malformed input, by name: pydicom promises no single exception type."""

import struct
from collections.abc import Iterator
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    RuntimeError,  # also RecursionError and NotImplementedError
    TypeError,
    ValueError,
    struct.error,
)


def value_of(dataset: Dataset, keyword: str) -> Any:
    """The attribute's value, or None when it is missing or its bytes are no value of its VR."""
    try:
        return dataset.get(keyword)
    except MALFORMED:
        return None


def elements_of(dataset: Dataset) -> Iterator[DataElement]:
    """The elements whose bytes are values of their VRs, in the order of their tags."""
    for tag in sorted(dataset.keys()):
        try:
            element = dataset[tag]
        except MALFORMED:
            continue
        yield element
