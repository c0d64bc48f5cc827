"""A whole file as its encoded data set, mapped: nothing is decoded before it is asked for (PS3.10 7, PS3.5 7)."""

import mmap
from dataclasses import dataclass
from pathlib import Path

from dicom_node.elements import PIXEL_DATA, Walk
from dicom_node.encoded_data_set import EncodedDataSet, RawElement
from dicom_node.errors import InvalidInstance
from dicom_node.part10 import read_file_meta
from dicom_node.transfer_syntaxes import is_explicit


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """The data set of a file without its Pixel Data, whose value is ``pixels`` (empty where there is none)."""

    transfer_syntax_uid: str
    dataset: EncodedDataSet
    pixels: memoryview


def read_encoded_file(path: Path) -> EncodedFile:
    """The file's data set; InvalidInstance when it is none. The mapping lives as long as what was made of it."""
    with path.open("rb") as file:
        meta = read_file_meta(file)
        start = file.tell()
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # an empty file cannot be mapped
            raise InvalidInstance("The file is empty") from error
    view = memoryview(mapped)[start:]
    elements: dict[int, RawElement] = {}
    pixels = view[:0]
    for tag, begin, end, _, vr in Walk(view, meta.transfer_syntax_uid).elements(whole=True):
        if tag == PIXEL_DATA:
            pixels = view[begin:end]
        else:
            elements[tag] = (vr, view[begin:end])
    dataset = EncodedDataSet(elements, explicit=is_explicit(meta.transfer_syntax_uid))
    return EncodedFile(meta.transfer_syntax_uid, dataset, pixels)
