"""Frames of one series sorted into stacks."""

from dataclasses import replace

from dicom_node.grouping import split
from tests.dicom_node.test_stacks import axial, frame

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def sizes(frames):
    return sorted(len(stack) for stack in split(frames))


def test_a_regular_series_is_one_stack_whatever_its_acquisition_numbers():
    frames = [replace(item, acquisition=str(number)) for number, item in enumerate(axial(range(20)))]
    assert sizes(frames) == [20]


def test_matrix_spacing_frame_of_reference_and_orientation_part_stacks():
    base = axial(range(10))
    assert sizes([*base, *(replace(item, rows=64) for item in axial(range(3)))]) == [3, 10]
    assert sizes([*base, *(replace(item, frame_of_reference_uid="9") for item in axial(range(4)))]) == [4, 10]
    assert sizes([*base, frame(99, (0.0, 0.0, 0.0), SAGITTAL)]) == [1, 10]
    assert sizes([*base, replace(frame(99, (0.0, 0.0, 0.0)), plane=None)]) == [1, 10]


def test_rounding_in_the_orientation_does_not_part_a_stack():
    tiny = (1.0, 0.0, 0.0, 0.0, 0.9999999, 0.0004)
    frames = [frame(n, (0, 0, n), tiny if n % 2 else (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)) for n in range(12)]
    assert sizes(frames) == [12]


def test_colliding_slices_are_parted_by_acquisition_then_kernel_then_image_type():
    def colliding(**one):
        return [*axial(range(10)), *(replace(item, **one) for item in axial(range(10)))]

    assert sizes(colliding(acquisition="2")) == [10, 10]
    assert sizes(colliding(kernel="B30s")) == [10, 10]
    assert sizes(colliding(image_type=("DERIVED",))) == [10, 10]
    assert sizes(colliding()) == [20]


def test_two_overlapping_slabs_of_one_series_are_parted():
    head = [replace(item, acquisition="1") for item in axial(range(40))]
    chest = [replace(item, acquisition="2") for item in axial([value + 0.5 for value in range(-30, 5)])]
    assert sizes([*head, *chest]) == [35, 40]
