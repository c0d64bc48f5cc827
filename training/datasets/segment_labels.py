"""DICOM segmentations of cervical levels laid on the CT series that they were drawn on (PS3.3 C.8.20).

A frame belongs to the slice at whose place it lies, to a hundredth of a millimeter; one that lies on no slice, or has
other pixels, is a mask of another geometry. Frames are taken one by one.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.encoded_file import read_encoded_file
from dicom_node.errors import DicomNodeError
from dicom_node.malformed import MALFORMED
from dicom_node.review_mask import Key, Segmentation, planes, read_segmentation
from dicom_node.series import CTSeries
from model.findings import Vertebra
from training.datasets.studies import DataSetError

SAME_SLICE = 0.1
"""So far (in slices) may a frame lie from its slice."""
SAME_PIXEL = 0.75
"""So far (in pixels) in its plane: slices of a tilted gantry are shifted by whole pixels."""
SAME_DIRECTION = 0.003


def open_segmentation(path: Path) -> Segmentation:
    """The segmentation in a file, its frames not yet read; ``DataSetError`` when it is none."""
    try:
        return read_segmentation(read_encoded_file(path))
    except (DicomNodeError, OSError, *MALFORMED) as error:
        raise _unreadable(path) from error


def named_levels(segmentation: Segmentation) -> dict[int, Vertebra]:
    """The level that each segment names, by segment number; segments that name none are left out."""
    return {segment.number: segment.level for segment in segmentation.segments if segment.level is not None}


def native_labels(path: Path, series: CTSeries, levels: Mapping[int, Vertebra]) -> NDArray[np.uint8]:
    """The labels of some segments on the native slices of their series.

    Raises ``DataSetError`` when frames cannot be read or lie elsewhere.
    """
    labels = np.zeros(series.hu.shape, dtype=np.uint8)
    segmentation = open_segmentation(path)
    elsewhere = False
    try:
        for number, key, plane in planes(segmentation):
            if number not in levels or not plane.any():
                continue
            index = _slice_of(key, series)
            if index is None:
                elsewhere = True
                break
            labels[index][plane] = levels[number]
    except (DicomNodeError, OSError, *MALFORMED) as error:
        raise _unreadable(path) from error
    if elsewhere:
        advice = "segment that series itself, or name the study in leave_out"
        raise DataSetError(f"{path} is a mask of another geometry than the CT that is read: {advice}")
    return labels


def _slice_of(key: Key, series: CTSeries) -> int | None:
    """The native slice that a frame lies on; None where it lies on none."""
    if key[:2] != series.hu.shape[1:]:
        return None
    position, orientation, spacing = np.array(key[2:5]) / 100, np.array(key[5:11]) / 1000, np.array(key[11:]) / 1000
    geometry, placement = series.geometry, series.placement
    _, down, right = geometry.unit_vectors()
    turned = np.abs(orientation - [*right, *down]).max() > SAME_DIRECTION
    if turned or np.abs(spacing - geometry.spacing[1:]).max() > SAME_DIRECTION:
        return None
    place = geometry.map_reference_to_indices(position[np.newaxis])[0]
    index = int(np.abs(np.array(placement.slices) - place[0]).argmin())
    away = place - (placement.slices[index], placement.rows[index], placement.columns[index])
    near = abs(away[0]) <= SAME_SLICE and np.abs(away[1:]).max() <= SAME_PIXEL
    return index if near else None


def _unreadable(path: Path) -> DataSetError:
    return DataSetError(f"{path} cannot be read as a segmentation: export it again, or name its study in leave_out")
