"""Synthetic series as DICOM: valid for dciodvfy, true to their voxels, deterministic."""

import io

import numpy as np
import pydicom
import pytest

from tests.peers import dciodvfy
from training.synthesis.phantom_encoding import EncodingError, TransferSyntax
from training.synthesis.phantom_series import (
    Encoding,
    Geometry,
    Identity,
    SeriesForm,
    SeriesOptions,
    SliceOrder,
    all_orientations,
    make_series,
    native_volume,
    write_series,
)

SPACING_MM = (1.25, 0.5, 0.75)
UNKNOWN_TO_DCIODVFY = {TransferSyntax.HTJ2K_LOSSLESS}


@pytest.fixture(scope="module")
def hu():
    values = np.random.default_rng(1).integers(-1024, 3071, (5, 40, 36), dtype=np.int16)
    values.setflags(write=False)
    return values


def encodable(hu, options):
    try:
        return make_series(hu, SPACING_MM, options)
    except EncodingError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("form", SeriesForm)
@pytest.mark.parametrize("syntax", TransferSyntax)
@pytest.mark.parametrize(("bits", "signed", "intercept"), [(12, False, -1024.0), (16, True, 0.0), (16, True, -1024.0)])
def test_voxels_come_back_from_every_transfer_syntax(hu, form, syntax, bits, signed, intercept):
    encoding = Encoding(syntax, bits_stored=bits, signed=signed, rescale_intercept=intercept)
    datasets = encodable(hu, SeriesOptions(Geometry(order=SliceOrder.POSITION), encoding, form=form))
    decoded = []
    for dataset in datasets:
        file = io.BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        file.seek(0)
        decoded.append(pydicom.dcmread(file).pixel_array.reshape(-1, 40, 36).astype(float) + intercept)
    assert np.array_equal(np.concatenate(decoded), hu)


@pytest.mark.peer
@pytest.mark.parametrize("form", SeriesForm)
@pytest.mark.parametrize("syntax", [syntax for syntax in TransferSyntax if syntax not in UNKNOWN_TO_DCIODVFY])
def test_dciodvfy_finds_no_error_in_any_form_and_transfer_syntax(hu, tmp_path, form, syntax):
    paths = write_series(hu, SPACING_MM, tmp_path, SeriesOptions(encoding=Encoding(syntax), form=form))
    assert [error for path in paths for error in dciodvfy(path).errors] == []


@pytest.mark.peer
def test_dciodvfy_finds_no_error_in_any_orientation_oblique_and_tilted(hu, tmp_path):
    for orientation in all_orientations():
        geometry = Geometry(orientation=orientation, oblique_degrees=(3.0, -2.0, 5.0), gantry_tilt_degrees=15.0)
        paths = write_series(hu, SPACING_MM, tmp_path / orientation, SeriesOptions(geometry))
        assert list(dciodvfy(paths[0]).errors) == [], orientation


def test_there_are_forty_eight_orientations():
    assert len(set(all_orientations())) == 48


def test_the_same_options_make_the_same_bytes(hu, tmp_path):
    first = write_series(hu, SPACING_MM, tmp_path / "a")
    second = write_series(hu, SPACING_MM, tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_seed_study_and_series_change_the_uids_they_should(hu):
    def uids(**names):
        dataset = make_series(hu, SPACING_MM, SeriesOptions(identity=Identity(**names)))[0]
        return dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID

    base = uids()
    assert not set(base) & set(uids(seed=1))
    assert uids(series="2")[0] == base[0]
    assert uids(series="2")[1] != base[1]
    assert not set(base) & set(uids(study="2"))
    assert all(uid.startswith("1.2.3.") for uid in uids(uid_prefix="1.2.3."))


def test_a_shuffled_series_is_neither_in_position_nor_in_reverse_order(hu):
    heights = [float(dataset.ImagePositionPatient[2]) for dataset in make_series(hu, SPACING_MM)]
    assert sorted(heights) not in (heights, heights[::-1])


def test_slice_orders_run_as_named(hu):
    def heights(order):
        datasets = make_series(hu, SPACING_MM, SeriesOptions(Geometry(order=order)))
        return [float(dataset.ImagePositionPatient[2]) for dataset in datasets]

    assert heights(SliceOrder.POSITION) == sorted(heights(SliceOrder.POSITION), reverse=True)  # toward the feet
    assert heights(SliceOrder.REVERSED) == sorted(heights(SliceOrder.REVERSED))


def test_missing_slices_are_left_out(hu):
    datasets = make_series(hu, SPACING_MM, SeriesOptions(Geometry(missing_slices=frozenset({2}))))
    assert len(datasets) == 4


def test_the_patient_name_is_not_ascii_by_default(hu, tmp_path):
    dataset = pydicom.dcmread(write_series(hu, SPACING_MM, tmp_path)[0])
    assert not str(dataset.PatientName).isascii()
    assert dataset.SpecificCharacterSet == "ISO_IR 192"


def test_tilted_planes_keep_what_lies_at_a_point_of_the_patient():
    hu = np.full((30, 40, 20), -1000, dtype=np.int16)
    hu[10:20, 15:25] = 40
    options = SeriesOptions(Geometry(gantry_tilt_degrees=20.0, order=SliceOrder.POSITION))
    straight = native_volume(hu, (1.0, 1.0, 1.0))
    tilted = make_series(hu, (1.0, 1.0, 1.0), options)[15]
    values = tilted.pixel_array.astype(int) - 1024
    row = 20
    down = np.array(tilted.ImageOrientationPatient[3:], dtype=float)
    point = np.array(tilted.ImagePositionPatient, dtype=float) + row * down
    index = straight.map_reference_to_indices(point[None])[0]
    assert np.rint(index).astype(int).tolist()[:2] == [15, 20]
    assert values[row, 10] == 40


def test_values_beyond_the_stored_bits_are_clipped():
    hu = np.array([[[-3000, 5000]]], dtype=np.int16)
    dataset = make_series(hu, (1.0, 1.0, 1.0))[0]
    assert dataset.pixel_array.tolist() == [[0, 4095]]
