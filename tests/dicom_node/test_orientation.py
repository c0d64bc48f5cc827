"""Pictures see the volume as it lies in the patient, whatever the order of its slices."""

from dataclasses import replace

import numpy as np
import pytest

from dicom_node.orientation import hu_in_standard_frame, labels_in_standard_frame
from dicom_node.series import Placement
from model.findings import Vertebra
from tests.dicom_node.necks import LIMITED, SPACING_MM, labels_of
from training.synthesis.phantom_series import Geometry, SeriesOptions


@pytest.mark.parametrize("orientation", ["HPL", "FPL", "LPF", "AHR"])
def test_hu_and_labels_come_back_as_they_were_made(orientation):
    case = replace(LIMITED, options=SeriesOptions(Geometry(orientation=orientation)))
    context = case.context()
    hu, spacing_mm = hu_in_standard_frame(context.series)
    assert spacing_mm == pytest.approx(SPACING_MM)
    assert np.array_equal(labels_in_standard_frame(context.series, context.labels), labels_of(case.levels))
    assert np.array_equal(hu == 500, labels_of(case.levels) > 0)


def test_missing_slices_keep_their_place_and_take_the_mask_before_them():
    context = LIMITED.context()
    placement = context.series.placement
    kept = [index for index in range(context.labels.shape[0]) if index not in {20, 21}]
    count = len(kept)
    series = replace(
        context.series,
        hu=context.series.hu[kept],
        headers=tuple(context.series.headers[index] for index in kept),
        placement=Placement(placement.geometry, tuple(kept), (0,) * count, (0,) * count),
    )
    labels = labels_in_standard_frame(series, context.labels[kept])
    assert labels.shape == labels_of(LIMITED.levels).shape
    assert set(np.unique(labels)) == {0, *LIMITED.levels}
    native = context.labels[kept]
    assert np.count_nonzero(labels) == np.count_nonzero(native) + 2 * np.count_nonzero(native[kept.index(19)])


def test_frames_in_any_order_of_the_file_are_put_in_place():
    context = LIMITED.context()
    order = np.random.default_rng(1).permutation(context.labels.shape[0])
    placement = replace(context.series.placement, slices=tuple(int(index) for index in order))
    series = replace(context.series, hu=context.series.hu[order], placement=placement)
    labels = labels_in_standard_frame(series, context.labels[order])
    assert np.array_equal(labels == Vertebra.C4, labels_of(LIMITED.levels) == Vertebra.C4)
