"""One instance in a file: the attributes that the product needs, and where its pixels lie (PS3.10 7, PS3.5 7).

The file is walked element by element within bounds; only the wanted elements are kept, so that what else a stranger
put there (private data, bombs of empty items, values without end) costs nothing. Used in the reading child only.
"""

import io
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicom_node.allowed_attributes import COMMON_ATTRIBUTES, FRAME_ATTRIBUTES
from dicom_node.attributes import ATTRIBUTES
from dicom_node.elements import PIXEL_DATA, Walk
from dicom_node.encoded_data_set import EncodedDataSet, RawElement
from dicom_node.errors import InvalidInstance
from dicom_node.part10 import MAXIMUM_META_BYTES, read_file_meta
from dicom_node.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, is_explicit

NEEDED_BESIDES = ("SpecificCharacterSet", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleType")
MAXIMUM_VALUE_BYTES = 64 * 1024
MAXIMUM_GROUPS_BYTES = 64 * 1024 * 1024
_GROUPS = frozenset(
    {ATTRIBUTES["SharedFunctionalGroupsSequence"].tag, ATTRIBUTES["PerFrameFunctionalGroupsSequence"].tag}
)
_KEYWORDS = (*COMMON_ATTRIBUTES, *FRAME_ATTRIBUTES, *NEEDED_BESIDES)
WANTED = frozenset(ATTRIBUTES[keyword].tag for keyword in _KEYWORDS)


class NotDicom(InvalidInstance):
    """The file is something else (an empty file, a text, a DICOMDIR): it is ignored and counted."""


@dataclass(frozen=True, slots=True)
class InstanceFile:
    """A file's wanted attributes (``dataset``) and the byte range of its Pixel Data value; 0, 0 when it has none."""

    path: Path
    transfer_syntax_uid: str
    dataset: EncodedDataSet
    pixels_start: int
    pixels_end: int
    encapsulated: bool


def read_instance(path: Path, wanted: frozenset[int] = WANTED) -> InstanceFile:
    """Read the wanted attributes (by their tags) of a file; NotDicom or InvalidInstance when that is impossible."""
    with _mapped(path) as data:
        offset, syntax = _data_set_start(data)
        elements: dict[int, RawElement] = {}
        pixels = (0, 0, False)
        with memoryview(data) as whole, whole[offset:] as view:
            for tag, start, end, encapsulated, vr in Walk(view, syntax).elements(whole=False):
                if tag == PIXEL_DATA:
                    pixels = (offset + start, offset + end, encapsulated)
                    break
                if tag in wanted and end - start <= (MAXIMUM_GROUPS_BYTES if tag in _GROUPS else MAXIMUM_VALUE_BYTES):
                    elements[tag] = (vr, bytes(view[start:end]))
    return InstanceFile(path, syntax, EncodedDataSet(elements, explicit=is_explicit(syntax)), *pixels)


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
        length = int.from_bytes(data[140:144], "little")  # of the file meta group, if the file is not malformed
        stream = io.BytesIO(data[: 144 + min(length, MAXIMUM_META_BYTES)])
        meta = read_file_meta(stream)
        if meta.sop_class_uid == "1.2.840.10008.1.3.10":
            raise NotDicom("The file is a DICOMDIR")
        return stream.tell(), meta.transfer_syntax_uid
    if len(data) < 16 or struct.unpack_from("<H", data, 0)[0] != 0x0008:
        raise NotDicom("The file is not in the DICOM file format")
    explicit = data[4:6].isalpha() and data[4:6].isupper()
    return 0, EXPLICIT_VR_LITTLE_ENDIAN if explicit else IMPLICIT_VR_LITTLE_ENDIAN
