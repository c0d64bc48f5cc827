"""Reading a study through the child process: real necks, every kind of bad input, and children that die."""

import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from dicom_node.errors import Ineligible, ReadingAborted, UnusableSeries
from dicom_node.reading import ReadingLimits, read_study
from model.findings import Limitation
from tests.conftest import SHARED_DATA
from tests.dicom_node.small_series import SPACING_MM, files_of, read_here, small_hu, write, write_changed
from training.synthesis.phantom_encoding import TransferSyntax
from training.synthesis.phantom_series import Encoding, Geometry, Identity, SeriesOptions, make_series, write_series

FEMALE_NECK = SHARED_DATA / "visible-human-female-neck"
HARVARD_HEAD = SHARED_DATA / "harvard-head"


def needs(folder: Path):
    return pytest.mark.skipif(not folder.exists(), reason=f"shared data {folder.name} is not here")


def refused(folder: Path, tmp_path: Path, error=UnusableSeries):
    with pytest.raises(error) as raised:
        read_here(files_of(folder), tmp_path / "scratch")
    return raised.value


# ---- what is read ----


def test_a_series_comes_through_the_child_whole(tmp_path):
    hu = small_hu()
    reading = read_study(write_series(hu, SPACING_MM, tmp_path / "in"), tmp_path / "scratch")
    assert np.array_equal(reading.series.hu, hu)
    assert np.array_equal(reading.series.to_standard()[0], hu)
    assert reading.series.spacing_mm == pytest.approx(SPACING_MM)
    assert reading.warnings == ()
    assert [verdict.chosen for verdict in reading.verdicts] == [True]
    assert str(reading.series.headers[0].PatientName) == "Çelik^Zoë"
    assert len({header.SOPInstanceUID for header in reading.series.headers}) == len(hu)


@pytest.mark.parametrize("syntax", [syntax for syntax in TransferSyntax if syntax is not TransferSyntax.HTJ2K_LOSSLESS])
def test_every_transfer_syntax_comes_through_the_child(tmp_path, syntax):
    hu = small_hu()
    options = SeriesOptions(encoding=Encoding(syntax))
    reading = read_study(write_series(hu, SPACING_MM, tmp_path / "in", options), tmp_path / "scratch")
    assert np.array_equal(reading.series.hu, hu)
    assert reading.series.transfer_syntax_uid == syntax.value


@needs(FEMALE_NECK)
def test_the_female_neck_is_read_head_first(tmp_path):
    reading = read_study(files_of(FEMALE_NECK), tmp_path)
    series = reading.series
    heights = [float(header.ImagePositionPatient[2]) for header in series.headers]
    assert heights == sorted(heights, reverse=True)
    assert series.hu.shape == (134, 512, 512)
    assert (int(series.hu.min()), int(series.hu.max())) == (-1024, 3063)
    standard, spacing_mm = series.to_standard()
    assert spacing_mm == pytest.approx((1.0, 1.0, 1.0))
    bone = standard > 300
    assert bone[:40].sum() > 3 * bone[-40:].sum()  # the skull lies at the head end
    assert reading.warnings == ()
    marked = bone.astype(np.uint8)
    assert np.array_equal(series.mask_to_native(marked), (series.hu > 300).astype(np.uint8))


@needs(HARVARD_HEAD)
def test_the_harvard_head_is_refused_for_its_scale(tmp_path):
    with pytest.raises(UnusableSeries, match="not Hounsfield units") as raised:
        read_study(files_of(HARVARD_HEAD), tmp_path)
    assert raised.value.code == "HU_SCALE"
    assert "HARVARD" not in str(raised.value)


@needs(HARVARD_HEAD)
def test_the_harvard_head_put_on_the_right_scale_is_read_with_clean_headers(tmp_path):
    def corrected(path: Path) -> Path:
        content = path.read_bytes().replace(b"-1200.000000", b"-1690.000000")
        (tmp_path / path.name).write_bytes(content)
        return tmp_path / path.name

    series = read_study([corrected(path) for path in files_of(HARVARD_HEAD)], tmp_path / "scratch").series
    assert series.hu.shape == (200, 512, 512)
    header = series.headers[0]
    assert header.PatientBirthDate is None or header.PatientBirthDate == ""
    assert header.StudyDescription == "HARVARD 02 EH ANATOMIE"
    assert not any(element.tag.is_private for element in header)


def test_three_hundred_slices_are_read_fast(tmp_path):
    hu = np.tile(np.kron(small_hu((1, 64, 64)), np.ones((1, 8, 8), dtype=np.int16)), (300, 1, 1))
    paths = write_series(hu, (0.6, 0.4, 0.4), tmp_path / "in")
    started = time.monotonic()
    reading = read_here(paths, tmp_path / "scratch")
    seconds = time.monotonic() - started
    assert reading.series.hu.shape == (300, 512, 512)
    assert seconds < 10.0  # 0.5 s on a quiet machine; see tests/benchmarks for figures


# ---- what else lies in the folder ----


def test_other_files_are_ignored_and_counted(tmp_path):
    paths = list(write_series(small_hu(), SPACING_MM, tmp_path / "in"))
    others = {"empty": b"", "zero": b"", "readme.txt": b"a text that is long enough to be looked at"}
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    gone = tmp_path / "gone"
    reading = read_study([*paths, *(tmp_path / name for name in others), gone], tmp_path / "scratch")
    assert reading.notes == (
        "1 file was left out: The file cannot be read.",
        "2 files were left out: The file is empty.",
        "1 file was left out: The file is not in the DICOM file format.",
    )


def test_only_other_files_are_ineligible(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "zero").write_bytes(b"")
    with pytest.raises(Ineligible) as raised:
        read_study(files_of(tmp_path / "in"), tmp_path / "scratch")
    assert raised.value.notes == ("1 file was left out: The file is empty.",)


def test_no_files_at_all_are_ineligible(tmp_path):
    with pytest.raises(Ineligible):
        read_study([], tmp_path / "scratch")


def test_the_better_of_two_series_is_read_and_the_other_told_why(tmp_path):
    bone = make_series(small_hu(), SPACING_MM)
    soft_identity = Identity(series="2", series_number=3, kernel="B30s", series_description="C-Spine soft")
    soft = make_series(small_hu(), SPACING_MM, SeriesOptions(identity=soft_identity))
    reading = read_study(write([*soft, *bone], tmp_path / "in"), tmp_path / "scratch")
    assert reading.series.series_instance_uid == bone[0].SeriesInstanceUID
    reasons = {verdict.series_instance_uid: verdict.reason for verdict in reading.verdicts}
    assert reasons[soft[0].SeriesInstanceUID] == "It is not reconstructed with a bone kernel."


# ---- bad input, by name ----


def change(keyword, value):
    def to(_, dataset):
        setattr(dataset, keyword, value)

    return to


def remove(keyword):
    def to(_, dataset):
        del dataset[keyword]

    return to


@pytest.mark.parametrize(
    ("alter", "code"),
    [
        (remove("PixelData"), "NO_PIXEL_DATA"),
        (remove("ImageOrientationPatient"), "NO_POSITION"),
        (remove("ImagePositionPatient"), "NO_POSITION"),
        (change("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]), "NO_POSITION"),
        (remove("PixelSpacing"), "NO_POSITION"),
        (change("PixelSpacing", [0, 0]), "NO_POSITION"),
        (change("PixelSpacing", [-1, -1]), "NO_POSITION"),
        (remove("FrameOfReferenceUID"), "NO_FRAME_OF_REFERENCE"),
        (remove("RescaleIntercept"), "NO_RESCALE"),
        (remove("RescaleSlope"), "NO_RESCALE"),
        (change("RescaleSlope", 0), "NO_RESCALE"),
        (change("RescaleIntercept", 0), "HU_SCALE"),
        (change("RescaleSlope", -1), "HU_SCALE"),
        (change("Rows", 5000), "TOO_LARGE"),
        (change("SOPInstanceUID", "1.2.3.4"), "DUPLICATE_UID"),
    ],
)
def test_a_series_that_cannot_be_used_is_refused_by_name(tmp_path, alter, code):
    assert refused(write_changed(tmp_path / "in", alter), tmp_path).code == code


def test_positions_that_are_no_numbers_are_refused(tmp_path):
    folder = write_changed(tmp_path / "in", change("PixelSpacing", [0.875, 0.875]))
    for path in files_of(folder):
        path.write_bytes(path.read_bytes().replace(b"0.875\\0.875", b"NaN  \\1e999"))
    assert refused(folder, tmp_path).code == "NO_POSITION"


def test_truncated_files_are_left_out_and_the_gap_is_named(tmp_path):
    paths = write_series(small_hu(), SPACING_MM, tmp_path / "in")
    paths[20].write_bytes(paths[20].read_bytes()[:-500])
    assert read_here(paths, tmp_path / "scratch").warnings == (Limitation.MISSING_SLICES,)
    for path in paths:
        path.write_bytes(path.read_bytes()[:-500])
    assert refused(tmp_path / "in", tmp_path).code == "NO_PIXEL_DATA"


@pytest.mark.parametrize("uid", ["../../../../etc/cron.d/x", "1.2/3", "1." + "3" * 64, "1.2\n3", "", "1.2\\3.4"])
def test_malformed_uids_leave_the_file_out(tmp_path, uid):
    folder = write_changed(tmp_path / "in", lambda *_: None)
    for path in files_of(folder):
        content = path.read_bytes()
        at = content.index(struct.pack("<HH2s", 0x0020, 0x000E, b"UI"))
        length = int.from_bytes(content[at + 6 : at + 8], "little")
        value = uid.encode() + b"\0" * (len(uid) % 2)
        path.write_bytes(content[: at + 6] + struct.pack("<H", len(value)) + value + content[at + 8 + length :])
    error = refused(folder, tmp_path, Ineligible)
    assert "UID is missing or malformed" in str(error)
    assert uid not in str(error) or not uid


def test_an_mr_sent_as_ct_is_ineligible(tmp_path):
    error = refused(write_changed(tmp_path / "in", change("Modality", "MR")), tmp_path, Ineligible)
    assert "modality is MR" in str(error)


def test_another_sop_class_is_ineligible(tmp_path):
    folder = write_changed(tmp_path / "in", change("SOPClassUID", "1.2.840.10008.5.1.4.1.1.88.67"))
    assert "not CT images" in str(refused(folder, tmp_path, Ineligible))


def test_a_localizer_is_ineligible(tmp_path):
    folder = write_changed(tmp_path / "in", change("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    assert "LOCALIZER" in str(refused(folder, tmp_path, Ineligible))


def test_a_localizer_inside_the_series_is_left_aside(tmp_path):
    scout = make_series(small_hu()[:1], SPACING_MM, SeriesOptions(Geometry(orientation="LFP")))
    for number, dataset in enumerate(scout):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        dataset.SOPInstanceUID = f"1.2.3.{number}"
    paths = write([*make_series(small_hu(), SPACING_MM), *scout], tmp_path / "in")
    reading = read_here(paths, tmp_path / "scratch")
    assert np.array_equal(reading.series.hu, small_hu())
    assert any("LOCALIZER" in verdict.reason for verdict in reading.verdicts if not verdict.chosen)


def test_one_slice_is_ineligible(tmp_path):
    write(make_series(small_hu(), SPACING_MM)[:1], tmp_path / "in")
    assert "one slice" in str(refused(tmp_path / "in", tmp_path, Ineligible))


@pytest.mark.parametrize("attributes", [{"PatientID": "OTHER"}, {"PatientName": "Someone^Else"}])
def test_two_patients_in_one_study_are_refused(tmp_path, attributes):
    def strangers(index, dataset):
        if index == 7:
            for keyword, value in attributes.items():
                setattr(dataset, keyword, value)

    error = refused(write_changed(tmp_path / "in", strangers), tmp_path)
    assert error.code == "MIXED_PATIENTS"
    assert "OTHER" not in str(error)


def test_the_same_patient_written_differently_is_one_patient(tmp_path):
    def spelled(index, dataset):
        dataset.PatientName = "ÇELIK^ZOË^^^" if index % 2 else "Çelik Zoë"

    assert read_here(files_of(write_changed(tmp_path / "in", spelled)), tmp_path / "scratch").series.hu.size


def test_two_studies_in_one_folder_are_refused(tmp_path):
    def strangers(index, dataset):
        dataset.StudyInstanceUID = f"1.2.{index % 2}"

    assert refused(write_changed(tmp_path / "in", strangers), tmp_path).code == "MIXED_STUDIES"


@pytest.mark.parametrize(
    ("keyword", "values"), [("AcquisitionNumber", (1, 2)), ("ConvolutionKernel", ("BONE", "B30s"))]
)
def test_two_interleaved_acquisitions_or_kernels_are_told_apart(tmp_path, keyword, values):
    first = make_series(small_hu(), SPACING_MM)
    second = make_series(small_hu(seed=9), SPACING_MM)
    for number, dataset in enumerate(second):
        dataset.SOPInstanceUID = f"1.2.9.{number}"
    for datasets, value in zip((first, second), values, strict=True):
        for dataset in datasets:
            setattr(dataset, keyword, value)
    reading = read_here(write([*first, *second], tmp_path / "in"), tmp_path / "scratch")
    assert np.array_equal(reading.series.hu, small_hu())
    assert sorted(verdict.chosen for verdict in reading.verdicts) == [False, True]


def test_acquisition_numbers_that_count_slices_do_not_split_a_series(tmp_path):
    folder = write_changed(tmp_path / "in", lambda index, dataset: setattr(dataset, "AcquisitionNumber", index))
    assert np.array_equal(read_here(files_of(folder), tmp_path / "scratch").series.hu, small_hu())


def test_two_different_volumes_at_the_same_positions_are_refused(tmp_path):
    second = make_series(small_hu(seed=9), SPACING_MM)
    for number, dataset in enumerate(second):
        dataset.SOPInstanceUID = f"1.2.9.{number}"
    write([*make_series(small_hu(), SPACING_MM), *second], tmp_path / "in")
    assert refused(tmp_path / "in", tmp_path).code == "DUPLICATE_POSITIONS"


def test_the_same_instance_with_other_pixels_is_refused(tmp_path):
    first = make_series(small_hu(), SPACING_MM)
    write([*first, make_series(small_hu(seed=9), SPACING_MM)[4]], tmp_path / "in")
    assert refused(tmp_path / "in", tmp_path).code == "DUPLICATE_POSITIONS"


def test_repeated_slices_are_dropped_with_a_note(tmp_path):
    datasets = make_series(small_hu(), SPACING_MM)
    reading = read_here(write([*datasets, *datasets[:3]], tmp_path / "in"), tmp_path / "scratch")
    assert np.array_equal(reading.series.hu, small_hu())
    assert reading.notes == ("3 repeated slices were dropped.",)


def test_too_many_missing_slices_are_refused(tmp_path):
    options = SeriesOptions(Geometry(missing_slices=frozenset(range(20, 30))))
    write_series(small_hu(), SPACING_MM, tmp_path / "in", options)
    assert refused(tmp_path / "in", tmp_path).code == "MISSING_SLICES"


def test_irregular_spacing_is_refused(tmp_path):
    def stretched(index, dataset):
        dataset.ImagePositionPatient = [0, 0, -(index + 0.3 * (index % 3))]

    assert refused(write_changed(tmp_path / "in", stretched), tmp_path).code == "IRREGULAR_SPACING"


def test_rounded_positions_are_regular(tmp_path):
    def rounded(index, dataset):
        dataset.ImagePositionPatient = [0, 0, round(-0.625 * index, 1)]

    series = read_here(files_of(write_changed(tmp_path / "in", rounded)), tmp_path / "scratch").series
    assert series.spacing_mm[0] == pytest.approx(0.625, abs=0.005)
    assert series.warnings == ()


def test_slices_shifted_sideways_are_refused(tmp_path):
    def shifted(index, dataset):
        dataset.ImagePositionPatient = [30 * (index % 2), 0, -index]

    assert refused(write_changed(tmp_path / "in", shifted), tmp_path).code == "SHIFTED_SLICES"


def test_thick_slices_are_named(tmp_path):
    paths = write_series(small_hu(), (3.0, 0.9, 0.8), tmp_path / "in")
    assert read_here(paths, tmp_path / "scratch").warnings == (Limitation.THICK_SLICES,)


def test_values_in_other_units_are_ineligible(tmp_path):
    folder = write_changed(tmp_path / "in", change("RescaleType", "Z_EFF"))
    assert "not in Hounsfield" in str(refused(folder, tmp_path, Ineligible))


# ---- hostile pixels and children that die ----


def bomb(folder: Path, fragment: bytes, rows: int, columns: int, frames: int | None = None) -> Path:
    def arm(_, dataset):
        dataset.Rows, dataset.Columns = rows, columns
        dataset.PixelData = encapsulate([fragment])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = RLELossless
        if frames:
            dataset.NumberOfFrames = frames
            dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"

    return write_changed(folder, arm)


RLE_HEADER = struct.pack("<16I", 2, 64, 66, *[0] * 13)


@pytest.mark.parametrize(
    ("fragment", "rows", "columns", "frames", "code"),
    [
        (RLE_HEADER + b"\x81\0\x81\0", 65535, 65535, None, "TOO_LARGE"),
        (RLE_HEADER + b"\x81\0\x81\0", 4096, 4096, None, "UNDECODABLE"),
        (RLE_HEADER + b"\x81\0\x81\0", 512, 512, 1_000_000_000, "UNUSABLE_SERIES"),
        (
            b"\xff\x4f\xff\x51\0\x29\0\0" + struct.pack(">4I", 20000, 20000, 0, 0) + b"\0" * 64,
            44,
            40,
            None,
            "UNDECODABLE",
        ),
    ],
    ids=["65535 squared", "4096 squared", "a billion frames", "another size"],
)
def test_pixel_bombs_are_refused_within_limits(tmp_path, fragment, rows, columns, frames, code):
    folder = bomb(tmp_path / "in", fragment, rows, columns, frames)
    started = time.monotonic()
    with pytest.raises(UnusableSeries) as raised:
        read_study(files_of(folder), tmp_path / "scratch")
    assert raised.value.code == code
    assert time.monotonic() - started < 30.0


def test_a_child_out_of_memory_is_an_aborted_reading(tmp_path):
    paths = write_series(small_hu(), SPACING_MM, tmp_path / "in")
    with pytest.raises(ReadingAborted) as raised:
        read_study(paths, tmp_path / "scratch", ReadingLimits(address_space_bytes=64 << 20))
    assert raised.value.code == "READING_MEMORY"


def test_a_child_out_of_processor_time_is_an_aborted_reading(tmp_path):
    folder = tmp_path / "in"
    paths = write_series(small_hu(), SPACING_MM, folder)
    with pytest.raises(ReadingAborted):
        read_study(list(paths) * 400, tmp_path / "scratch", ReadingLimits(cpu_seconds=1))


def test_a_child_that_takes_too_long_is_ended(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ReadingAborted) as raised:
        read_study([tmp_path / "fifo"], tmp_path / "scratch", ReadingLimits(wall_seconds=1.5))
    assert raised.value.code == "READING_TIMEOUT"


def test_more_files_than_the_limit_are_refused(tmp_path):
    paths = write_series(small_hu(), SPACING_MM, tmp_path / "in")
    with pytest.raises(UnusableSeries) as raised:
        read_here(paths, tmp_path / "scratch", ReadingLimits(files=10))
    assert raised.value.code == "TOO_LARGE"


def test_more_voxels_than_the_limit_are_refused(tmp_path):
    write_series(small_hu(), SPACING_MM, tmp_path / "in")
    with pytest.raises(UnusableSeries) as raised:
        read_here(files_of(tmp_path / "in"), tmp_path / "scratch", ReadingLimits(voxels=1000))
    assert raised.value.code == "TOO_LARGE"


def test_answers_of_an_earlier_reading_do_not_survive(tmp_path):
    read_study(write_series(small_hu(), SPACING_MM, tmp_path / "in"), tmp_path / "scratch")
    with pytest.raises(Ineligible):
        read_study([tmp_path / "gone"], tmp_path / "scratch")
