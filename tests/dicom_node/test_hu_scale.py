"""The judge of the HU scale: right scales pass however air is padded, wrong ones do not."""

import numpy as np
import pytest

from dicom_node.hu_scale import HUScale, judge

RANDOM = np.random.default_rng(5)


def neck(air_hu=-1000.0, tissue_hu=40.0, air_noise=15.0, padding_hu=None):
    hu = np.full((20, 60, 60), air_hu) + RANDOM.normal(0, air_noise, (20, 60, 60))
    hu[:, 15:45, 15:45] = tissue_hu + RANDOM.normal(0, 15, (20, 30, 30))
    hu[:, 25:30, 25:30] = 800
    if padding_hu is not None:
        hu[:, :8] = padding_hu
        hu[:, -8:] = padding_hu
    return np.rint(hu).astype(np.int16)


@pytest.mark.parametrize("padding_hu", [None, -1024, -2000, -3024])
@pytest.mark.parametrize("air_hu", [-1024, -1000, -950, -900])
def test_air_near_minus_thousand_is_plausible_whatever_pads_it(air_hu, padding_hu):
    assert judge(neck(air_hu, padding_hu=padding_hu)) is HUScale.PLAUSIBLE


def test_constant_air_without_noise_is_plausible():
    assert judge(neck(air_noise=0.0)) is HUScale.PLAUSIBLE


@pytest.mark.parametrize("padding_hu", [None, -1200, -1024])
def test_air_near_minus_five_hundred_is_wrong(padding_hu):
    assert judge(neck(-510, padding_hu=padding_hu)) is HUScale.WRONG


def test_stored_values_taken_for_hu_are_wrong():
    assert judge((neck() + 1024).astype(np.int16)) is HUScale.WRONG


def test_a_scale_shifted_down_is_wrong():
    assert judge((neck() - 1024).astype(np.int16)) is HUScale.WRONG


def test_air_near_minus_750_is_doubtful():
    assert judge(neck(-750)) is HUScale.DOUBTFUL


def test_a_field_of_view_inside_the_neck_with_an_airway_is_plausible():
    hu = np.rint(RANDOM.normal(40, 20, (20, 80, 80))).astype(np.int16)
    hu[:, 10:16, 30:36] = np.rint(RANDOM.normal(-985, 20, (20, 6, 6)))
    assert judge(hu) is HUScale.PLAUSIBLE


def test_lungs_do_not_make_the_scale_doubtful():
    hu = neck()
    hu[:, 20:28, 18:42] = np.rint(RANDOM.normal(-830, 60, (20, 8, 24)))
    assert judge(hu) is HUScale.PLAUSIBLE


def test_a_constant_volume_is_wrong():
    assert judge(np.zeros((4, 4, 4), dtype=np.int16)) is HUScale.WRONG
    assert judge(np.full((4, 4, 4), -1000, dtype=np.int16)) is HUScale.WRONG
