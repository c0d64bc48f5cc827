"""Stacks in a regular grid: what is regular, what is bridged, what is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from scipy.spatial.transform import Rotation

from dicom_node.errors import UnusableSeries
from dicom_node.frames import Frame, Plane, Rescale
from dicom_node.geometry import placement_of
from dicom_node.grid import Grid
from dicom_node.instance_file import InstanceFile
from dicom_node.stacks import indices_of, place, spread
from model.findings import Limitation
from tests.dicom_node.small_series import encoded

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def frame(number, position, orientation=AXIAL, thickness_mm=1.0, pixel_mm=0.5):
    dataset = Dataset()
    dataset.SOPInstanceUID = f"1.2.{number + 1}"
    file = InstanceFile(Path(str(number)), "1.2.840.10008.1.2.1", encoded(dataset), 1, 2, encapsulated=False)
    plane = Plane(tuple(float(value) for value in position), orientation, (pixel_mm, pixel_mm), thickness_mm)
    return Frame(file, 0, plane, Rescale(1.0, 0.0, "HU"), 40, 40, "1.2.3", "", "", ())


def axial(heights):
    return [frame(number, (-10.0, -20.0, height)) for number, height in enumerate(heights)]


@given(
    spacing=st.floats(0.3, 3.0),
    count=st.integers(2, 60),
    start=st.floats(-1000, 1000),
    random=st.randoms(use_true_random=False),
)
def test_frames_are_put_in_order_from_head_to_feet(spacing, count, start, random):
    frames = axial([start + spacing * index for index in range(count)])
    random.shuffle(frames)
    placed = place(frames)
    heights = [item.plane.position[2] for item in placed.frames]
    assert heights == sorted(heights, reverse=True)
    assert placed.grid.slices == tuple(range(count))
    assert placement_of(placed.grid).geometry.spacing[0] == pytest.approx(spacing)
    assert np.allclose(placement_of(placed.grid).geometry.position, placed.frames[0].plane.position)


@given(st.integers(2, 30), st.floats(-0.04, 0.04))
def test_small_jitter_is_regular(count, jitter):
    assert spread(axial([index + jitter * (-1) ** index for index in range(count)])).regular


def test_gaps_of_the_kind_the_harvard_head_once_had_are_bridged():
    heights = list(np.cumsum([0.5] * 80 + [1.0] + [0.5] * 60 + [1.5] + [0.5] * 58))
    placed = place(axial(heights))
    assert placed.warnings == (Limitation.MISSING_SLICES,)
    assert placement_of(placed.grid).geometry.spatial_shape[0] == len(heights) + 3
    assert len(placed.frames) == len(heights)


@pytest.mark.parametrize(
    ("heights", "code"),
    [
        ([*range(30), *range(34, 60)], "MISSING_SLICES"),
        ([*range(0, 60, 3), *range(63, 120, 6)], "MISSING_SLICES"),
        ([index + 0.3 * (index % 3) for index in range(40)], "IRREGULAR_SPACING"),
    ],
)
def test_what_cannot_be_bridged_is_refused(heights, code):
    with pytest.raises(UnusableSeries) as raised:
        place(axial([float(height) for height in heights]))
    assert raised.value.code == code


def test_frames_at_one_position_are_paired():
    placed = place(axial([0.0, 1.0, 1.0, 2.0, 3.0]))
    assert len(placed.frames) == 4
    assert [(kept.file.path.name, other.file.path.name) for kept, other in placed.duplicates] == [("1", "2")]


def test_tilt_moves_slices_by_whole_pixels_inside_a_larger_grid():
    frames = [frame(number, (0.0, -0.3 * number, -1.0 * number)) for number in range(30)]
    placed = place(frames)
    placement = placement_of(placed.grid)
    assert placed.warnings == (Limitation.GANTRY_TILT,)
    assert placement.geometry.spatial_shape == (30, 40 + 17, 40)
    first = placement.geometry.map_indices_to_reference(
        np.array([[s, r, c] for s, r, c in zip(placement.slices, placement.rows, placement.columns, strict=True)])
    )
    truth = np.array([item.plane.position for item in placed.frames])
    assert np.abs(first - truth).max() <= 0.25 + 1e-9  # half a pixel


def test_a_drift_below_half_a_pixel_is_no_tilt():
    placed = place([frame(number, (0.0, -0.005 * number, -1.0 * number)) for number in range(30)])
    assert placed.warnings == ()
    assert placement_of(placed.grid).geometry.spatial_shape == (30, 40, 40)


def test_too_much_tilt_is_refused():
    with pytest.raises(UnusableSeries) as raised:
        place([frame(number, (0.0, -0.9 * number, -1.0 * number)) for number in range(30)])
    assert raised.value.code == "GANTRY_TILT"


def test_thick_slices_are_named_even_when_they_overlap():
    frames = [frame(number, (0.0, 0.0, float(number)), thickness_mm=3.0) for number in range(12)]
    assert place(frames).warnings == (Limitation.THICK_SLICES,)


def test_wide_pixels_are_named():
    frames = [frame(number, (0.0, 0.0, float(number)), pixel_mm=2.2) for number in range(12)]
    assert place(frames).warnings == (Limitation.COARSE_PIXELS,)


def test_exactly_two_millimeters_are_no_limitation():
    frames = [frame(number, (0.0, 0.0, 0.1 + 2.0 * number), thickness_mm=2.0, pixel_mm=2.0) for number in range(40)]
    assert place(frames).warnings == ()


@given(
    angles=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    spacing_mm=st.tuples(*[st.floats(0.2, 4.0)] * 2),
    positions=st.lists(st.tuples(*[st.floats(-500.0, 500.0)] * 3), min_size=2, max_size=9),
)
def test_positions_along_the_normal_are_those_of_highdicoms_geometry(angles, spacing_mm, positions):
    rotation = Rotation.from_euler("xyz", angles).as_matrix()
    orientation = tuple(float(value) for value in (*rotation[0], *rotation[1]))
    planes = [Plane(position, orientation, spacing_mm, None) for position in positions]
    grid = Grid(positions[0], orientation, spacing_mm, 1.0, (40, 30), "1.2", (0,), (0,), (0,))
    expected = placement_of(grid).geometry.map_reference_to_indices(np.array(positions))
    assert np.allclose(indices_of(planes), expected, atol=1e-6)
