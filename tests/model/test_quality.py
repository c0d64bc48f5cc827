"""What voxels tell of a study that cannot be judged well: metal beside the spine and noise, both of them and fast."""

import time

import numpy as np
import pydicom
import pytest

from model.findings import Limitation
from model.quality import limitations_of, metal_mm3, noise_hu

SPACING_MM = (1.2, 0.6, 0.6)
SHAPE = (100, 220, 220)


def neck(noise=15.0):
    """A cylinder of muscle with stripes of fat around a column of seven blocks of bone, and their labels."""
    rng = np.random.default_rng(0)
    _, rows, columns = np.indices(SHAPE, np.float32)
    body = (rows - 110) ** 2 + (columns - 110) ** 2 < 95**2
    hu = np.where(body, 55.0, -1000.0)
    hu[body & (columns % 50 < 12)] = -95.0
    labels = np.zeros(SHAPE, np.uint8)
    for level in range(1, 8):
        labels[14 * level - 10 : 14 * level, 95:130, 90:130] = level
    hu[labels > 0] = 500.0
    hu[:, 40:52, 100:112][body[:, 40:52, 100:112]] = -1000.0
    hu += rng.normal(0.0, noise, SHAPE)
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16), labels


def test_a_quiet_neck_without_metal_has_no_limitation():
    hu, labels = neck()
    assert limitations_of(hu, SPACING_MM, labels) == ()
    assert limitations_of(hu, SPACING_MM) == ()


@pytest.mark.parametrize(
    ("place", "found"),
    [
        (np.s_[50:54, 100:130, 108:114], True),  # a screw in C4
        (np.s_[20:60, 86:92, 100:120], True),  # a plate in front of the bodies
        (np.s_[50:58, 180:190, 100:110], True),  # a wire 30 mm behind
        (np.s_[50:52, 100:104, 108:112], False),  # a bead of less than 100 mm3
        (np.s_[16:26, 24:66, 100:120], False),  # fillings, 17 mm and more in front of the spine
    ],
)
def test_metal_is_named_where_it_lies_beside_the_levels_and_is_more_than_a_bead(place, found):
    hu, labels = neck()
    hu[place] = 3071
    assert (Limitation.METAL in limitations_of(hu, SPACING_MM, labels)) == found


def test_metal_is_named_by_its_true_values_and_by_those_of_a_scanner_that_cuts_them():
    hu, labels = neck()
    for value in (2900, 3071, 9000, 30000):
        hu[50:54, 100:130, 108:114] = value
        assert limitations_of(hu, SPACING_MM, labels) == (Limitation.METAL,)


def test_fillings_count_where_no_level_was_found():
    hu, labels = neck()
    hu[16:26, 24:36, 100:120] = 3071
    assert limitations_of(hu, SPACING_MM, np.zeros_like(labels)) == (Limitation.METAL,)
    assert limitations_of(hu, SPACING_MM, None) == (Limitation.METAL,)


def test_the_volume_of_metal_is_that_of_its_largest_piece():
    hu, _ = neck()
    hu[50:60, 100:120, 100:120] = 3071
    hu[80:84, 100:110, 100:110] = 3071
    box = tuple(slice(0, count) for count in SHAPE)
    assert metal_mm3(hu, SPACING_MM, [box]) == pytest.approx(10 * 20 * 20 * 1.2 * 0.36, rel=0.15)


@pytest.mark.parametrize("noise", [20.0, 60.0, 150.0])
def test_noise_is_measured_in_voxels_of_one_millimeter_whatever_the_anatomy(noise):
    hu, labels = neck(noise=noise)
    averaged = noise / np.sqrt(2 * 2 * 1)  # of two by two pixels of 0.6 mm in one slice of 1.2 mm
    box = np.s_[40:60, 95:130, 90:130]
    assert noise_hu(hu, SPACING_MM, box) == pytest.approx(averaged, rel=0.25)
    assert limitations_of(hu, SPACING_MM, labels) == ()


def test_noise_in_which_no_fracture_can_be_seen_is_named():
    hu, labels = neck(noise=400.0)
    assert limitations_of(hu, SPACING_MM, labels) == (Limitation.HIGH_NOISE,)


def test_noise_at_one_level_alone_is_named():
    hu, labels = neck()
    rng = np.random.default_rng(1)
    shoulders = hu[85:].astype(float) + rng.normal(0.0, 400.0, hu[85:].shape)
    hu[85:] = np.clip(shoulders, -1024, 3071).astype(np.int16)
    assert limitations_of(hu, SPACING_MM, labels) == (Limitation.HIGH_NOISE,)


@pytest.mark.parametrize("spacing_mm", [(1.0, 4.0, 4.0), (0.1, 0.1, 0.1), (5.0, 0.4, 0.4), (0.5, 2.5, 0.3)])
def test_any_spacing_has_an_answer(spacing_mm):
    hu, labels = neck()
    assert set(limitations_of(hu, spacing_mm, labels)) <= {Limitation.HIGH_NOISE}


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 400), (300, 2, 2)])
@pytest.mark.parametrize("value", [-1024, 40, 3071])
def test_any_shape_has_an_answer(shape, value):
    hu = np.full(shape, value, np.int16)
    labels = np.ones(shape, np.uint8)
    for mask in (labels, labels * 0, None):
        assert set(limitations_of(hu, (1.0, 1.0, 1.0), mask)) <= {Limitation.METAL}


def test_a_level_at_the_edge_of_the_field_of_view_has_an_answer():
    hu, labels = neck()
    hu[-4:, -30:, -30:] = 3071
    labels[-3:, -20:, -20:] = 7
    assert limitations_of(hu, SPACING_MM, labels) == (Limitation.METAL,)


def test_a_full_study_is_judged_in_a_fraction_of_a_second():
    hu = np.full((300, 512, 512), 40, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    for level in range(1, 8):
        labels[40 * level - 30 : 40 * level, 180:330, 180:330] = level
    limitations_of(hu, (0.6, 0.4, 0.4), labels)
    started = time.process_time()
    limitations_of(hu, (0.6, 0.4, 0.4), labels)
    assert time.process_time() - started < 1.0  # 0.05 s on a quiet machine


def test_a_real_neck_is_quiet_and_has_no_metal(shared_data):
    files = sorted((shared_data / "visible-human-female-neck").glob("*.dcm"))
    datasets = [pydicom.dcmread(path) for path in files]
    datasets.sort(key=lambda dataset: -float(dataset.ImagePositionPatient[2]))
    hu = np.stack([dataset.pixel_array.astype(np.int16) - 1024 for dataset in datasets])
    assert limitations_of(hu, (1.0, 1.0, 1.0)) == ()
