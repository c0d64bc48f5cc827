"""A series as a volume: to the standard frame and home again, voxel for voxel, in every orientation."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicom_node.series import STANDARD_ORIENTATION
from model.findings import Limitation
from tests.dicom_node.small_series import SPACING_MM, read_here, small_hu
from training.synthesis.phantom_series import (
    Geometry,
    SeriesForm,
    SeriesOptions,
    all_orientations,
    native_volume,
    write_series,
)


def comes_home(series):
    standard, _ = series.to_standard()
    marked = (standard > 500).astype(np.uint8)
    home = series.mask_to_native(marked)
    assert home.dtype == np.uint8
    assert np.array_equal(home, (series.hu > 500).astype(np.uint8))
    assert home.any()


@pytest.mark.parametrize("orientation", all_orientations())
def test_every_orientation_is_brought_to_the_standard_and_masks_come_home(tmp_path, orientation):
    hu = small_hu()
    paths = write_series(hu, SPACING_MM, tmp_path / "in", SeriesOptions(Geometry(orientation=orientation)))
    series = read_here(paths, tmp_path / "scratch").series
    standard, spacing_mm = series.to_standard()
    assert np.array_equal(standard, hu)
    assert spacing_mm == pytest.approx(SPACING_MM)
    comes_home(series)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    orientation=st.sampled_from(all_orientations()),
    shape=st.tuples(st.integers(20, 40), st.integers(20, 40), st.integers(20, 40)),
    spacing_mm=st.tuples(*[st.floats(1.6, 1.9).map(lambda value: round(value, 4))] * 3),
    oblique=st.tuples(*[st.floats(-14.0, 14.0).map(lambda value: round(value, 3))] * 3),
    tilt=st.sampled_from([0.0, 0.0, -20.0, 8.0, 25.0]),
    form=st.sampled_from([SeriesForm.SINGLE_FRAME, SeriesForm.SINGLE_FRAME, SeriesForm.ENHANCED]),
    seed=st.integers(0, 1000),
)
def test_masks_come_home_from_any_geometry(tmp_path_factory, orientation, shape, spacing_mm, oblique, tilt, form, seed):
    folder = tmp_path_factory.mktemp("any")
    geometry = Geometry(orientation=orientation, oblique_degrees=oblique, gantry_tilt_degrees=tilt)
    paths = write_series(small_hu(shape, seed), spacing_mm, folder / "in", SeriesOptions(geometry, form=form))
    series = read_here(paths, folder / "scratch").series
    comes_home(series)
    assert (Limitation.GANTRY_TILT in series.warnings) == bool(tilt)


@pytest.mark.parametrize("form", SeriesForm)
def test_multi_frame_instances_read_like_single_frames(tmp_path, form):
    hu = small_hu()
    series = read_here(write_series(hu, SPACING_MM, tmp_path / "in", SeriesOptions(form=form)), tmp_path / "s").series
    assert np.array_equal(series.to_standard()[0], hu)
    assert len(series.headers) == (len(hu) if form is SeriesForm.SINGLE_FRAME else 1)
    comes_home(series)


def test_native_slices_and_headers_are_sorted_by_position(tmp_path):
    hu = small_hu()
    series = read_here(write_series(hu, SPACING_MM, tmp_path / "in"), tmp_path / "s").series
    positions = np.array([header.ImagePositionPatient for header in series.headers], dtype=float)
    first = native_volume(hu, SPACING_MM)
    expected = first.map_indices_to_reference(np.array([[index, 0, 0] for index in range(len(hu))]))
    assert np.allclose(positions, expected)
    assert np.array_equal(series.hu, hu)


def test_a_gap_is_interpolated_in_the_standard_frame_and_never_marked_at_home(tmp_path):
    hu = small_hu()
    geometry = Geometry(missing_slices=frozenset({20, 21}))
    series = read_here(write_series(hu, SPACING_MM, tmp_path / "in", SeriesOptions(geometry)), tmp_path / "s").series
    standard, _ = series.to_standard()
    kept = [index for index in range(len(hu)) if index not in geometry.missing_slices]
    assert standard.shape == hu.shape
    assert np.array_equal(standard[kept], hu[kept])
    assert np.abs(standard[20].astype(int) - (2 * hu[19].astype(int) + hu[22]) / 3).max() <= 0.51
    assert series.warnings == (Limitation.MISSING_SLICES,)
    home = series.mask_to_native(np.arange(len(hu), dtype=np.uint8)[:, None, None] * np.ones_like(hu, dtype=np.uint8))
    assert [int(plane[0, 0]) for plane in home] == kept
    assert len(series.headers) == len(kept)


def test_tilted_slices_are_put_where_they_belong_in_the_patient(tmp_path):
    hu = np.full((60, 64, 40), -1000, dtype=np.int16)
    hu[:, 20:44, 8:32] = 40
    hu[:, 30:36, 18:24] = 900  # a rod along the table
    options = SeriesOptions(Geometry(gantry_tilt_degrees=15.0))
    series = read_here(write_series(hu, (1.0, 1.0, 1.0), tmp_path / "in", options), tmp_path / "s").series
    assert series.warnings == (Limitation.GANTRY_TILT,)
    grid = series.geometry
    standard, _ = series.to_standard()
    where = np.argwhere(standard > 600)
    volume = grid.with_array(series.placement.to_grid(series.hu)).to_patient_orientation(STANDARD_ORIENTATION)
    points = volume.map_indices_to_reference(where)
    truth = native_volume(hu, (1.0, 1.0, 1.0)).map_reference_to_indices(points)
    assert np.abs(truth[:, 1] - 32.5).max() <= 4.0  # rows 30..35, interpolation and half a pixel
    comes_home(series)


def test_a_mask_of_another_shape_is_refused(tmp_path):
    series = read_here(write_series(small_hu(), SPACING_MM, tmp_path / "in"), tmp_path / "s").series
    with pytest.raises(ValueError, match="shape"):
        series.mask_to_native(np.zeros((3, 3, 3), dtype=np.uint8))


def test_every_label_value_survives_the_way_home(tmp_path):
    options = SeriesOptions(Geometry(orientation="RHP"))
    series = read_here(write_series(small_hu(), SPACING_MM, tmp_path / "in", options), tmp_path / "s").series
    standard, _ = series.to_standard()
    labels = np.random.default_rng(3).integers(0, 8, standard.shape, dtype=np.uint8)
    home = series.mask_to_native(labels)
    assert sorted(np.bincount(home.ravel())) == sorted(np.bincount(labels.ravel()))
    assert [np.count_nonzero(home == value) for value in range(8)] == [np.count_nonzero(labels == v) for v in range(8)]
