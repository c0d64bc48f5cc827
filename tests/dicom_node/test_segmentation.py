"""The segmentation comes back voxel for voxel on the source grid, with one described segment a level."""

from dataclasses import replace

import highdicom
import numpy as np
import pytest
from highdicom.color import CIELabColor

from dicom_node import codes
from dicom_node.encode import encode
from dicom_node.provenance import algorithm_parameters
from dicom_node.result_context import ResultKind
from dicom_node.segmentation import LEVEL_RGB, build_segmentation, made_by_highdicom, segment_numbers
from dicom_node.segmentation_frames import marked_slices
from model.findings import Vertebra
from tests.dicom_node.necks import (
    DEVICE,
    LIMITED,
    NEGATIVE,
    NOTHING_FOUND,
    POSITIVE,
    copied_headers,
    with_headers,
    written,
)
from training.synthesis.phantom_series import Geometry, SeriesForm, SeriesOptions

ORIENTATIONS = ["HPL", "FPL", "FAR", "LPF", "RHA", "PFL", "AFR"]


def read_back(path, context):
    """The label map of the file on the native slices, segment numbers as values."""
    segmentation = highdicom.seg.segread(path)
    uids = [str(header.SOPInstanceUID) for header in context.series.headers]
    if len(uids) == 1:
        frames = list(range(1, context.labels.shape[0] + 1))
        return segmentation.get_pixels_by_source_frame(
            uids[0], frames, combine_segments=True, assert_missing_frames_are_empty=True, skip_overlap_checks=True
        )
    return segmentation.get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True, skip_overlap_checks=True
    )


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_voxel_comes_home_in_any_orientation(orientation, tmp_path):
    context = replace(LIMITED, options=SeriesOptions(geometry=Geometry(orientation=orientation))).context()
    path = written(context, tmp_path)[ResultKind.SEGMENTATION]
    assert np.array_equal(read_back(path, context), segment_numbers(context))


@pytest.mark.parametrize("orientation", ["HPL", "LPF"])
def test_the_volume_of_the_file_is_the_volume_of_the_mask_in_patient_coordinates(orientation, tmp_path):
    context = replace(POSITIVE, options=SeriesOptions(geometry=Geometry(orientation=orientation))).context()
    path = written(context, tmp_path)[ResultKind.SEGMENTATION]
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True, skip_overlap_checks=True)
    home = volume.match_geometry(context.series.geometry)
    assert np.array_equal(home.array, context.labels)


def test_a_tilted_series_keeps_its_mask_slice_by_slice(tmp_path):
    options = SeriesOptions(geometry=Geometry(orientation="HPL", gantry_tilt_degrees=12.0))
    context = replace(POSITIVE, options=options).context()
    path = written(context, tmp_path)[ResultKind.SEGMENTATION]
    assert np.array_equal(read_back(path, context), context.labels)


@pytest.mark.parametrize("form", [SeriesForm.ENHANCED, SeriesForm.LEGACY_CONVERTED])
def test_a_multi_frame_source_gets_its_mask_frame_by_frame(form, tmp_path):
    context = replace(POSITIVE, options=SeriesOptions(Geometry(orientation="HPL"), form=form)).context()
    path = written(context, tmp_path)[ResultKind.SEGMENTATION]
    assert np.array_equal(read_back(path, context), context.labels)


def with_odd_matrix(context):
    """The same series with a matrix whose frames do not end at whole bytes."""
    headers = copied_headers(context)
    for header in headers:
        header.Rows, header.Columns = 59, 61
    series = replace(context.series, hu=context.series.hu[:, :59, :61], headers=tuple(headers))
    return replace(context, series=series, labels=np.ascontiguousarray(context.labels[:, :59, :61]))


@pytest.mark.parametrize("case", [LIMITED, POSITIVE], ids=["limited", "positive"])
@pytest.mark.parametrize(
    "geometry",
    [*(Geometry(orientation=name) for name in ORIENTATIONS), Geometry(orientation="HPL", gantry_tilt_degrees=12.0)],
    ids=[*ORIENTATIONS, "tilted"],
)
def test_it_is_what_highdicom_makes_of_all_slices_to_the_byte(case, geometry):
    context = replace(case, options=SeriesOptions(geometry=geometry)).context()
    for one in (context, with_odd_matrix(context)) if geometry.orientation == "HPL" else (context,):
        expected = made_by_highdicom(one, ResultKind.SEGMENTATION, marked_slices(one))
        if len(np.packbits(expected.pixel_array)) % 2:
            expected.PixelData = expected.PixelData[:-1] + b"\0"  # where highdicom writes the letter 0
        assert encode(build_segmentation(one)) == encode(expected)


def test_segments_are_numbered_without_gaps_where_levels_are_missing():
    dataset = build_segmentation(LIMITED.context())
    assert [item.SegmentNumber for item in dataset.SegmentSequence] == [1, 2, 3]
    assert [item.SegmentLabel for item in dataset.SegmentSequence] == ["C1", "C2", "C4"]


def test_every_segment_says_what_it_is_who_found_it_and_how_to_draw_it():
    context = POSITIVE.context()
    dataset = build_segmentation(context)
    for level, item in zip(Vertebra, dataset.SegmentSequence, strict=True):
        assert item.SegmentedPropertyTypeCodeSequence[0].CodeValue == codes.VERTEBRA[level].value
        assert item.SegmentedPropertyCategoryCodeSequence[0].CodeValue == codes.ANATOMICAL_STRUCTURE.value
        assert item.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = item.SegmentationAlgorithmIdentificationSequence[0]
        assert algorithm.AlgorithmName == DEVICE.model_name
        assert algorithm.AlgorithmVersion == DEVICE.software_version
        assert algorithm.AlgorithmSource == DEVICE.manufacturer
        for value in algorithm_parameters(context).values():
            assert value in algorithm.AlgorithmParameters
        assert item.TrackingID == f"cspine {level.name}"
        assert item.TrackingUID == context.tracking_uid(level)
        assert list(item.RecommendedDisplayCIELabValue) == list(CIELabColor.from_rgb(*LEVEL_RGB[level]).value)
        assert ("SegmentDescription" in item) == (level in POSITIVE.fractured)


def test_colors_of_the_levels_are_all_different():
    assert len(set(LEVEL_RGB.values())) == len(Vertebra)


def test_it_is_binary_native_without_empty_frames_and_refers_to_its_source_series():
    context = LIMITED.context()
    dataset = build_segmentation(context)
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.4"
    assert dataset.SegmentationType == "BINARY"
    assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    frames = sum(np.count_nonzero((context.labels == level).any(axis=(1, 2))) for level in context.levels)
    assert dataset.NumberOfFrames == frames
    assert dataset.ReferencedSeriesSequence[0].SeriesInstanceUID == context.series.series_instance_uid
    assert dataset.FrameOfReferenceUID == context.series.headers[0].FrameOfReferenceUID
    assert len(encode(dataset)) < 1.6 * frames * dataset.Rows * dataset.Columns / 8 + 4000 * frames


def test_a_segmentation_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no level"):
        build_segmentation(NOTHING_FOUND.context())


def test_a_source_without_slice_thickness_gets_the_increment():
    context = NEGATIVE.context()
    headers = [header.copy() for header in context.series.headers]
    for header in headers:
        del header.SliceThickness
    dataset = build_segmentation(with_headers(context, headers))
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SliceThickness) == pytest.approx(context.series.spacing_mm[0])
