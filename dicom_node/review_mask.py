"""Segmentations as far as they may speak of our results: segments, and how their masks share ours (PS3.3 C.8.20).

The bytes come from strangers: numbers of frames and pixels are checked before anything is decoded, and planes are kept
packed, one bit a pixel.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from dicom_node.encoded_data_set import EncodedDataSet
from dicom_node.encoded_file import EncodedFile
from dicom_node.errors import InvalidInstance
from dicom_node.frames import numbers, text
from dicom_node.review_document import code_of, level_of, predecessors_of
from dicom_node.transfer_syntaxes import ENCAPSULATED_SYNTAXES
from model.findings import Vertebra

MAX_FRAMES = 50_000
MAX_MATRIX = 4096

Key = tuple[int, ...]
"""Matrix, position, orientation and spacing of a plane, rounded: equal for planes of one grid."""
Packed = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment: its number, Tracking UID, and the level that its property type or else its label names."""

    number: int
    tracking_uid: str
    level: Vertebra | None


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A segmentation: who made it, its segments, and SOP Instance UIDs of its predecessors."""

    sop_instance_uid: str
    manufacturer: str
    segments: tuple[Segment, ...]
    predecessors: frozenset[str]
    file: EncodedFile


@dataclass(slots=True)
class OurMask:
    """The planes of our segmentation by place and level, and how many voxels each level has."""

    planes: dict[Key, dict[Vertebra, Packed]] = field(default_factory=dict)
    voxels: Counter[Vertebra] = field(default_factory=Counter)


@dataclass(slots=True)
class Comparison:
    """The voxels of each segment, how many it shares with each of our levels, and whether there is a common slice."""

    voxels: Counter[int] = field(default_factory=Counter)
    shared: Counter[tuple[int, Vertebra]] = field(default_factory=Counter)
    same_grid: bool = False

    def overlaps(self, number: int, ours: OurMask) -> dict[Vertebra, float]:
        """The Dice coefficient of a segment with each of our levels; 1.0 only where they are identical."""
        return {
            level: 2 * self.shared[number, level] / (voxels + self.voxels[number])
            for level, voxels in ours.voxels.items()
            if self.same_grid
        }


def read_segmentation(file: EncodedFile) -> Segmentation:
    """The segmentation that a file holds."""
    dataset = file.dataset
    segments = tuple(
        Segment(number, text(item, "TrackingUID"), _level(item))
        for item in dataset.items("SegmentSequence")
        if (number := item.integer("SegmentNumber")) is not None
    )
    return Segmentation(
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        manufacturer=text(dataset, "Manufacturer"),
        segments=segments,
        predecessors=predecessors_of(dataset),
        file=file,
    )


def our_mask(segmentation: Segmentation) -> OurMask:
    """The mask of a segmentation of ours."""
    levels = {segment.number: segment.level for segment in segmentation.segments}
    mask = OurMask()
    for number, key, plane in planes(segmentation):
        level = levels.get(number)
        if level is not None and key:
            mask.planes.setdefault(key, {})[level] = np.packbits(plane)
            mask.voxels[level] += int(np.count_nonzero(plane))
    return mask


def compare(segmentation: Segmentation, ours: OurMask) -> Comparison:
    """What a segmentation shares with ours; InvalidInstance when its frames cannot be read."""
    found = Comparison()
    seen: set[tuple[int, Key]] = set()
    for number, key, plane in planes(segmentation):
        if key and (number, key) in seen:
            raise InvalidInstance("A segment has two frames in one place")
        seen.add((number, key))
        found.voxels[number] += int(np.count_nonzero(plane))
        if key in ours.planes:
            found.same_grid = True
            packed = np.packbits(plane)
            for level, our_plane in ours.planes[key].items():
                found.shared[number, level] += int(np.bitwise_count(packed & our_plane).sum())
    return found


def planes(segmentation: Segmentation) -> Iterator[tuple[int, Key, NDArray[np.bool_]]]:
    """Each segment number with the place (empty where it is unknown) and the pixels of a frame that it is in."""
    dataset = segmentation.file.dataset
    groups = _frame_groups(dataset)
    shared = next(iter(dataset.items("SharedFunctionalGroupsSequence")), None)
    kind = text(dataset, "SegmentationType")
    numbers_wanted = {segment.number for segment in segmentation.segments}
    half = (dataset.integer("MaximumFractionalValue") or 255) / 2
    for group, frame in zip(groups, _frames(segmentation.file, len(groups)), strict=True):
        key = _key(group, shared, frame.shape)
        if kind == "LABELMAP":
            present = np.flatnonzero(np.bincount(frame.ravel()))
            yield from ((number, key, frame == number) for number in numbers_wanted.intersection(present.tolist()))
        else:
            number = _segment_number(group, shared)
            if number in numbers_wanted:
                yield number, key, frame >= half if kind == "FRACTIONAL" else frame.astype(bool)


def _level(segment: EncodedDataSet) -> Vertebra | None:
    """The level that a segment's property type names, or else its label: viewers that edit a mask keep only that."""
    named = level_of(code_of(segment, "SegmentedPropertyTypeCodeSequence"))
    label = text(segment, "SegmentLabel").upper()
    return named or (Vertebra[label] if label in Vertebra.__members__ else None)


def _frame_groups(dataset: EncodedDataSet) -> list[EncodedDataSet]:
    """The functional groups of each frame."""
    groups = dataset.items("PerFrameFunctionalGroupsSequence")
    frames = numbers(dataset, "NumberOfFrames", 1)
    if frames is None or not 1 <= frames[0] <= MAX_FRAMES or len(groups) != frames[0]:
        raise InvalidInstance("There are not functional groups for each frame")
    return groups


def _frames(file: EncodedFile, count: int) -> Iterator[NDArray[np.integer]]:
    """The stored values (row, column) of each frame."""
    dataset = file.dataset
    rows, columns, bits = (dataset.integer(keyword) or 0 for keyword in ("Rows", "Columns", "BitsAllocated"))
    if not (1 <= rows <= MAX_MATRIX and 1 <= columns <= MAX_MATRIX) or bits not in {1, 8, 16}:
        raise InvalidInstance("The matrix or the depth of the mask is beyond the bounds")
    if file.transfer_syntax_uid in ENCAPSULATED_SYNTAXES:
        yield from _decoded(file, rows, columns, bits, count)
        return
    size = rows * columns
    if len(file.pixels) * 8 < size * bits * count:
        raise InvalidInstance("Pixel Data is truncated")
    values = np.frombuffer(file.pixels, np.uint8)
    for start in range(0, size * count, size):
        if bits == 1:
            packed = values[start // 8 : -(-(start + size) // 8)]
            frame = np.unpackbits(packed, bitorder="little")[start % 8 :][:size]
        else:
            frame = values[start * bits // 8 : (start + size) * bits // 8].view(f"<u{bits // 8}")
        yield frame.reshape(rows, columns)


def _decoded(file: EncodedFile, rows: int, columns: int, bits: int, count: int) -> Iterator[NDArray[np.integer]]:
    """The frames of encapsulated Pixel Data, by pydicom's decoders."""
    options: dict[str, Any] = {
        "rows": rows,
        "columns": columns,
        "number_of_frames": count,
        "samples_per_pixel": 1,
        "bits_allocated": bits,
        "bits_stored": file.dataset.integer("BitsStored") or bits,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
    }
    decoder = get_decoder(UID(file.transfer_syntax_uid))
    for frame, _ in decoder.iter_array(bytes(file.pixels), raw=True, **options):
        if frame.shape != (rows, columns):
            raise InvalidInstance("A compressed frame has another size than the header says")
        yield frame


def _segment_number(group: EncodedDataSet, shared: EncodedDataSet | None) -> int:
    """The segment that a frame belongs to; 0 where it is not said."""
    for source in (group, shared):
        for item in [] if source is None else source.items("SegmentIdentificationSequence")[:1]:
            return item.integer("ReferencedSegmentNumber") or 0
    return 0


_PLACE: Mapping[str, tuple[str, int, float]] = {
    "PlanePositionSequence": ("ImagePositionPatient", 3, 100.0),
    "PlaneOrientationSequence": ("ImageOrientationPatient", 6, 1000.0),
    "PixelMeasuresSequence": ("PixelSpacing", 2, 1000.0),
}


def _key(group: EncodedDataSet, shared: EncodedDataSet | None, shape: tuple[int, ...]) -> Key:
    """The place of a frame: hundredths of a millimeter, thousandths of cosines and spacings."""
    key = list(shape)
    for sequence, (keyword, count, scale) in _PLACE.items():
        found = None
        for source in (group, shared):
            for item in [] if source is None else source.items(sequence)[:1]:
                found = found or numbers(item, keyword, count)
        if found is None:
            return ()
        key += [round(value * scale) for value in found]
    return tuple(key)
