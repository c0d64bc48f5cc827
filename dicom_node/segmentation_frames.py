"""The frames of a BINARY segmentation, put into a data set that highdicom made of one slice (PS3.3 C.7.6.16, C.8.20.3).

highdicom makes every item of every frame anew, which takes longer than all other results together. What frames have in
common is made once here; a test holds the outcome against what highdicom makes of all slices.
"""

from collections.abc import Sequence

import numpy as np
from highdicom import PlanePositionSequence
from numpy.typing import NDArray
from pydicom import DataElement, Dataset

from dicom_node.result_context import ResultContext

_REFERENCED_SOP_INSTANCE_UID = 0x00081155
_SOURCE_IMAGE_SEQUENCE = 0x00082112
_DERIVATION_IMAGE_SEQUENCE = 0x00089124
_FRAME_CONTENT_SEQUENCE = 0x00209111
_PLANE_POSITION_SEQUENCE = 0x00209113
_DIMENSION_INDEX_VALUES = 0x00209157
_SEGMENT_IDENTIFICATION_SEQUENCE = 0x0062000A
_REFERENCED_SEGMENT_NUMBER = 0x0062000B


def marked_slices(context: ResultContext) -> list[int]:
    """The native slices that show a level, in their order."""
    spans = [region[0] for region in context.regions.values()]
    first, last = min(span.start for span in spans), max(span.stop for span in spans)
    marked = np.flatnonzero(context.labels[first:last].any(axis=(1, 2)))
    return [first + int(index) for index in marked]


def with_frames(template: Dataset, context: ResultContext) -> Dataset:
    """The segmentation of every level in a series of single-frame images; there must be two levels or more.

    ``template`` is the segmentation of one slice. Frames are ordered as highdicom orders them: by segment, then against
    the direction of the slices' normal.
    """
    ordered = _ordered(context, marked_slices(context))
    sources = [context.series.headers[index] for index in ordered]
    places = [_place(template.PerFrameFunctionalGroupsSequence[0], source) for source in sources]
    frames: list[Dataset] = []
    pixels: list[NDArray[np.bool_]] = []
    for number, (level, region) in enumerate(context.regions.items(), start=1):
        segment = _sequence(_SEGMENT_IDENTIFICATION_SEQUENCE, DataElement(_REFERENCED_SEGMENT_NUMBER, "US", number))
        for rank, index in enumerate(ordered, start=1):
            if not region[0].start <= index < region[0].stop:
                continue
            mask = context.labels[index] == level
            if mask.any():
                indices = DataElement(_DIMENSION_INDEX_VALUES, "UL", [number, rank])
                frames.append(_data_set(*places[rank - 1], _sequence(_FRAME_CONTENT_SEQUENCE, indices), segment))
                pixels.append(mask.reshape(-1))
    dataset = Dataset()
    dataset.update(template)
    dataset.file_meta = template.file_meta
    _refer(dataset, sources)
    dataset.NumberOfFrames = len(frames)
    dataset.PerFrameFunctionalGroupsSequence = frames
    bits = np.packbits(np.concatenate(pixels), bitorder="little").tobytes()
    dataset.PixelData = bits + b"\0" * (len(bits) % 2)
    return dataset


def _ordered(context: ResultContext, indices: Sequence[int]) -> list[int]:
    """Native slices in the order of frames."""
    headers = [context.series.headers[index] for index in indices]
    cosines = np.array(headers[0].ImageOrientationPatient, dtype=float)
    positions = np.array([header.ImagePositionPatient for header in headers], dtype=float)
    distances = positions @ np.cross(cosines[:3], cosines[3:])
    return [indices[place] for place in np.argsort(-distances, kind="stable")]


def _place(example: Dataset, source: Dataset) -> tuple[DataElement, DataElement]:
    """Derivation Image and Plane Position Sequence of every frame of one slice, made after those of ``example``."""
    derivation = example.DerivationImageSequence[0]
    images = DataElement(_SOURCE_IMAGE_SEQUENCE, "SQ", [_referring(derivation.SourceImageSequence[0], source)])
    derived = _data_set(*derivation, images)
    position = PlanePositionSequence("PATIENT", source.ImagePositionPatient)
    return (
        DataElement(_DERIVATION_IMAGE_SEQUENCE, "SQ", [derived]),
        DataElement(_PLANE_POSITION_SEQUENCE, "SQ", position),
    )


def _refer(dataset: Dataset, sources: Sequence[Dataset]) -> None:
    """Name all source instances, in the order of the series, in place of the one that the template names."""
    in_series = sources[::-1]
    series = dataset.ReferencedSeriesSequence[0]
    example = series.ReferencedInstanceSequence[0]
    series.ReferencedInstanceSequence = [_referring(example, source) for source in in_series]
    if "SourceImageSequence" in dataset:
        example = dataset.SourceImageSequence[0]
        dataset.SourceImageSequence = [_referring(example, source) for source in in_series]


def _referring(example: Dataset, source: Dataset) -> Dataset:
    """A copy of a reference that names another instance of the same series."""
    return _data_set(*example, DataElement(_REFERENCED_SOP_INSTANCE_UID, "UI", source.SOPInstanceUID))


def _sequence(tag: int, element: DataElement) -> DataElement:
    """A sequence of one item with one element."""
    return DataElement(tag, "SQ", [_data_set(element)])


def _data_set(*elements: DataElement) -> Dataset:
    """A data set of these elements, which may be shared with others; of two with the same tag the later one."""
    return Dataset({element.tag: element for element in elements})
