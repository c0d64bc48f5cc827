"""The files of a study: left out by reason, told apart by patient; however mangled, a named error."""

import numpy as np
import pytest

from dicom_node.errors import DicomNodeError, UnusableSeries
from dicom_node.instance_file import read_instance
from dicom_node.reading_exchange import ReadingLimits
from dicom_node.study_files import check_identity, read_files, stacks_of
from tests.dicom_node.small_series import SPACING_MM, read_here, small_hu, write
from training.synthesis.phantom_encoding import TransferSyntax
from training.synthesis.phantom_series import Encoding, Identity, SeriesForm, SeriesOptions, make_series, write_series


def test_files_are_counted_by_the_reason_they_were_left_out(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_bytes(b"x" * 500)
    (tmp_path / "cut").write_bytes(write_series(small_hu()[:1], SPACING_MM, tmp_path / "in")[0].read_bytes()[:200])
    study = read_files([tmp_path / name for name in ("empty", "text", "cut", "gone")])
    assert not study.series
    assert sum(study.left_out.values()) == 4
    assert all(note.startswith("1 file was left out: ") and note.endswith(".") for note in study.notes)


def test_a_patient_without_number_and_name_is_nobody_else(tmp_path):
    known = make_series(small_hu()[:2], SPACING_MM)
    known[0].PatientID, known[0].PatientName = "", ""
    check_identity(read_files(write(known, tmp_path)))


def test_two_patient_numbers_are_two_patients(tmp_path):
    one = make_series(small_hu()[:1], SPACING_MM)
    two = make_series(small_hu()[:1], SPACING_MM, SeriesOptions(identity=Identity(series="2", patient_id="4711")))
    with pytest.raises(UnusableSeries) as raised:
        check_identity(read_files(write([*one, *two], tmp_path)))
    assert raised.value.code == "MIXED_PATIENTS"
    assert "4711" not in str(raised.value)


def test_a_stack_carries_the_facts_of_its_headers(tmp_path):
    paths = write_series(small_hu(), SPACING_MM, tmp_path)
    (stack,), incomplete = stacks_of([read_instance(path) for path in paths], ReadingLimits())
    summary = stack.summary
    assert (summary.slices, summary.kernel, summary.body_part, summary.series_number) == (48, "BONE", "CSPINE", 2)
    assert summary.spacing_mm == pytest.approx(SPACING_MM)
    assert summary.degrees_from_axial == pytest.approx(0.0)
    assert not incomplete


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "options",
    [
        SeriesOptions(),
        SeriesOptions(encoding=Encoding(TransferSyntax.IMPLICIT_LE)),
        SeriesOptions(encoding=Encoding(TransferSyntax.RLE)),
        SeriesOptions(form=SeriesForm.ENHANCED),
    ],
    ids=["explicit", "implicit", "RLE", "enhanced"],
)
@pytest.mark.filterwarnings("ignore")  # pydicom complains of mangled values in passing
def test_mangled_bytes_end_in_a_volume_or_a_named_error(tmp_path, seed, options):
    generator = np.random.default_rng(seed)
    paths = write_series(small_hu(), SPACING_MM, tmp_path / "in", options)
    for _ in range(5):
        places = generator.integers((132, 0), (2500, 256), (int(generator.choice([1, 3, 12])), 2)).tolist()
        for path in paths:
            content = bytearray(path.read_bytes())
            for place, value in places:
                content[min(place, len(content) - 1)] = value
            path.write_bytes(content)
        try:
            series = read_here(paths, tmp_path / "scratch").series
        except DicomNodeError:
            continue
        standard, _ = series.to_standard()
        assert series.mask_to_native(np.zeros(standard.shape, dtype=np.uint8)).shape == series.hu.shape
