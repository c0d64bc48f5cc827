"""One instance in a file: the attributes that the product needs, and where its pixels lie (PS3.10 7, PS3.5 7).

The file is walked element by element within bounds; only the wanted elements are parsed, so that what else a stranger
put there (private data, bombs of empty items, values without end) costs nothing. Used in the reading child only.
"""

import io
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.allowed_attributes import COMMON_ATTRIBUTES, FRAME_ATTRIBUTES
from dicom_node.elements import PIXEL_DATA, Walk
from dicom_node.errors import InvalidInstance
from dicom_node.part10 import read_file_meta
from dicom_node.transfer_syntaxes import is_explicit

NEEDED_BESIDES = (
    "SpecificCharacterSet",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleType",
    "GantryDetectorTilt",
)
MAXIMUM_VALUE_BYTES = 64 * 1024
MAXIMUM_GROUPS_BYTES = 64 * 1024 * 1024
_SHARED_GROUPS, _FRAME_GROUPS, _NUMBER_OF_FRAMES = 0x52009229, 0x52009230, 0x00280008
_KEYWORDS = (*COMMON_ATTRIBUTES, *FRAME_ATTRIBUTES, *NEEDED_BESIDES)
WANTED = frozenset(tag for tag in map(tag_for_keyword, _KEYWORDS) if tag is not None)


class NotDicom(InvalidInstance):
    """The file is something else (an empty file, a text, a DICOMDIR): it is ignored and counted."""


@dataclass(frozen=True, slots=True)
class InstanceFile:
    """A file's wanted attributes (``dataset``) and the byte range of its Pixel Data value; 0, 0 when it has none."""

    path: Path
    transfer_syntax_uid: str
    dataset: Dataset
    pixels_start: int
    pixels_end: int
    encapsulated: bool


def read_instance(path: Path) -> InstanceFile:
    """Read the wanted attributes of a file; NotDicom or InvalidInstance when that is impossible."""
    with _mapped(path) as data:
        start, syntax = _data_set_start(data)
        explicit = is_explicit(syntax)
        wanted = io.BytesIO()
        pixels = (0, 0, False)
        begin = start
        with memoryview(data) as whole, whole[start:] as view:
            for element in Walk(view, syntax).elements(whole=False):
                end = start + element.end
                if element.tag == PIXEL_DATA:
                    pixels = (start + element.start, end, element.encapsulated)
                    break
                if element.tag in WANTED and end - begin <= _allowed_bytes(element.tag, wanted.tell()):
                    wanted.write(data[begin:end])
                begin = end
        wanted.seek(0)
        dataset = read_dataset(wanted, is_implicit_VR=not explicit, is_little_endian=True)
    return InstanceFile(path, syntax, dataset, *pixels)


def _allowed_bytes(tag: int, _: int) -> int:
    """How long an element with this tag may be before it is ignored."""
    return MAXIMUM_GROUPS_BYTES if tag in {_SHARED_GROUPS, _FRAME_GROUPS} else MAXIMUM_VALUE_BYTES


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    """The file's bytes without reading them; NotDicom when there are none."""
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # an empty file cannot be mapped
            raise NotDicom("The file is empty") from error
        with data:
            yield data


def _data_set_start(data: mmap.mmap) -> tuple[int, str]:
    """Offset of the data set and its transfer syntax; a file without preamble and file meta group is guessed at."""
    if data[128:132] == b"DICM":
        stream = io.BytesIO(data[: 128 * 1024])
        meta = read_file_meta(stream)
        if meta.sop_class_uid == "1.2.840.10008.1.3.10":
            raise NotDicom("The file is a DICOMDIR")
        return stream.tell(), meta.transfer_syntax_uid
    if len(data) < 16 or struct.unpack_from("<H", data, 0)[0] != 0x0008:
        raise NotDicom("The file is not in the DICOM file format")
    return 0, str(ExplicitVRLittleEndian if data[4:6].isalpha() and data[4:6].isupper() else ImplicitVRLittleEndian)
