"""Single CT slices are decoded in a process of their own; what cannot be is told by a sentence, the others stay."""

import numpy as np
import pytest
from pydicom.uid import JPEGLosslessSV1, RLELossless

from dicom_node.errors import ReadingAborted, UnusableSeries
from dicom_node.slices import SliceLimits, read_slices
from tests.dicom_node.tiny_ct import make_ct, write_ct


def ct(number=1, **changes):
    dataset = make_ct(number)
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-1000"
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return dataset


def test_slices_come_back_in_hu_in_the_order_they_were_asked_for(tmp_path):
    paths = [write_ct(ct(number), tmp_path / f"{number}.dcm") for number in (3, 1)]
    slices = read_slices(paths)
    for hu, number in zip(slices, (3, 1), strict=True):
        stored = np.frombuffer(make_ct(number).PixelData, dtype="<i2").reshape(16, 16)
        assert np.array_equal(hu, np.clip(stored.astype(int) * 2 - 1000, -32768, 32767))


def test_a_compressed_slice_is_decoded(tmp_path):
    dataset = ct()
    dataset.compress(RLELossless)
    (hu,) = read_slices([write_ct(dataset, tmp_path / "rle.dcm")])
    assert hu.shape == (16, 16)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"RescaleSlope": None}, "Rescale"),
        ({"Rows": 0}, "Rows or Columns"),
        ({"Rows": 5000, "Columns": 5000}, "beyond the limit"),
        ({"PhotometricInterpretation": "RGB"}, "not gray"),
        ({"PixelData": b"\0" * 10}, "truncated"),
    ],
)
def test_a_slice_that_cannot_be_decoded_is_told_and_the_next_one_is_read(tmp_path, changes, sentence):
    paths = [write_ct(ct(**changes), tmp_path / "bad.dcm"), write_ct(ct(), tmp_path / "good.dcm")]
    bad, good = read_slices(paths)
    assert isinstance(bad, UnusableSeries)
    assert sentence in str(bad)
    assert good.shape == (16, 16)


def test_what_is_no_dicom_and_what_is_damaged_is_told(tmp_path):
    (tmp_path / "text.dcm").write_text("no image at all, but long enough to look at")
    dataset = make_ct(transfer_syntax=JPEGLosslessSV1)
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
    write_ct(dataset, tmp_path / "damaged.dcm")
    answers = read_slices([tmp_path / "text.dcm", tmp_path / "damaged.dcm", tmp_path / "absent.dcm"])
    assert all(isinstance(answer, UnusableSeries) for answer in answers)


def test_a_process_that_runs_out_of_time_leaves_no_answer(tmp_path):
    path = write_ct(ct(), tmp_path / "1.dcm")
    with pytest.raises(ReadingAborted):
        read_slices([path], SliceLimits(wall_seconds=0.01))
