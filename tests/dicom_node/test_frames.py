"""Frame facts out of headers, with the odd values that headers hold."""

import pytest
from pydicom import DataElement, Dataset, config

from dicom_node.errors import InvalidInstance
from dicom_node.frames import frames_of, numbers, text
from dicom_node.instance_file import read_instance
from tests.dicom_node.small_series import SPACING_MM, encoded, small_hu
from training.synthesis.phantom_series import SeriesForm, SeriesOptions, make_series


def odd(keyword, vr, value):
    dataset = Dataset()
    dataset.add(DataElement(keyword, vr, value, validation_mode=config.IGNORE))
    return encoded(dataset)


def frames(tmp_path, options=None, **changes):
    dataset = make_series(small_hu()[:12], SPACING_MM, options)[0]
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    path = tmp_path / "one.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return frames_of(read_instance(path), 100)


@pytest.mark.parametrize(
    ("dataset", "count"),
    [
        (encoded(Dataset()), 2),
        (odd("PixelSpacing", "DS", ["0.5"]), 2),
        (odd("PixelSpacing", "DS", ["0.5", "0.5", "0.5"]), 2),
        (odd("PixelSpacing", "DS", ["NaN", "0.5"]), 2),
        (odd("PixelSpacing", "DS", ["inf", "0.5"]), 2),
        (odd("PixelSpacing", "DS", ["1e99", "0.5"]), 2),
        (odd("PixelSpacing", "DS", ""), 2),
    ],
)
def test_what_is_not_so_many_finite_numbers_is_none(dataset, count):
    assert numbers(dataset, "PixelSpacing", count) is None


def test_numbers_and_texts_are_read():
    assert numbers(odd("PixelSpacing", "DS", [" 0.5", "0.25 "]), "PixelSpacing", 2) == (0.5, 0.25)
    assert text(odd("ImageType", "CS", ["ORIGINAL", "PRIMARY "]), "ImageType") == "ORIGINAL PRIMARY"
    assert text(encoded(Dataset()), "ImageType") == ""


@pytest.mark.parametrize("form", [SeriesForm.ENHANCED, SeriesForm.LEGACY_CONVERTED])
def test_multi_frame_instances_give_their_frames(tmp_path, form):
    found = frames(tmp_path, SeriesOptions(form=form))
    assert [frame.index for frame in found] == list(range(12))
    assert all(frame.multi_frame and frame.plane and frame.rescale and frame.kernel == "BONE" for frame in found)
    assert len({frame.plane.position for frame in found}) == 12


@pytest.mark.parametrize("count", [0, 11, 101, 1_000_000_000])
def test_a_number_of_frames_that_cannot_be_is_refused(tmp_path, count):
    with pytest.raises(InvalidInstance):
        frames(tmp_path, SeriesOptions(form=SeriesForm.ENHANCED), NumberOfFrames=count)


@pytest.mark.parametrize(
    "changes",
    [
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        {"ImageOrientationPatient": [2, 0, 0, 0, 2, 0]},
        {"PixelSpacing": [0, 1]},
        {"PixelSpacing": [100, 100]},
    ],
)
def test_impossible_planes_are_none(tmp_path, changes):
    assert frames(tmp_path, **changes)[0].plane is None


def test_rounded_cosines_are_made_orthonormal(tmp_path):
    plane = frames(tmp_path, ImageOrientationPatient=[0.999, 0.001, 0, 0.001, 0.998, 0])[0].plane
    rows, columns = plane.orientation[:3], plane.orientation[3:]
    assert sum(value**2 for value in rows) == pytest.approx(1.0)
    assert sum(a * b for a, b in zip(rows, columns, strict=True)) == pytest.approx(0.0)
