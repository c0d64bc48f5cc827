"""What the child hands over is fit for results: headers of any source make valid objects, masks land on its slices."""

import resource
import subprocess
import sys

import numpy as np
import pytest
from pydicom import Dataset, config
from pydicom.pixels import apply_rescale

from dicom_node.reading import read_study
from dicom_node.reading_answer import parse_answer
from dicom_node.reading_exchange import ReadingLimits, ReadingRequest
from dicom_node.result_context import ResultContext, ResultKind
from model.findings import Vertebra
from tests.dicom_node.necks import ANALYZED_AT, DEVICE, findings_of, written
from tests.dicom_node.small_series import (
    SPACING_MM,
    files_of,
    read_here,
    reread,
    small_hu,
    write_changed,
)
from tests.peers import dciodvfy
from training.synthesis.phantom_encoding import TransferSyntax
from training.synthesis.phantom_series import Encoding, Geometry, SeriesForm, SeriesOptions, write_series

LEVELS = (Vertebra.C1, Vertebra.C2)


def marked(standard):
    labels = np.zeros(standard.shape, dtype=np.uint8)
    labels[standard > 500] = 1
    labels[40:44, 20:28, 10:16] = 2
    return labels


def context_of(series):
    labels = series.mask_to_native(marked(series.to_standard()[0]))
    return ResultContext(series, labels, findings_of(LEVELS, LEVELS[:1]), DEVICE, "b", "1", "0" * 64, ANALYZED_AT)


def marked_points(segmentation: Dataset):
    """Every marked voxel of a SEG as (segment, position of the frame, row, column), read with pydicom alone."""
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    points = set()
    for item, frame in zip(segmentation.PerFrameFunctionalGroupsSequence, frames, strict=True):
        number = int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        position = tuple(round(float(v), 2) for v in item.PlanePositionSequence[0].ImagePositionPatient)
        points |= {(number, position, int(row), int(column)) for row, column in np.argwhere(frame)}
    return points


def expected_points(context):
    headers = context.series.headers
    if len(headers) == 1:
        groups = headers[0].PerFrameFunctionalGroupsSequence
        positions = [group.PlanePositionSequence[0].ImagePositionPatient for group in groups]
    else:
        positions = [header.ImagePositionPatient for header in headers]
    where = [tuple(round(float(value), 2) for value in position) for position in positions]
    return {(int(context.labels[s, r, c]), where[s], int(r), int(c)) for s, r, c in np.argwhere(context.labels)}


CASES = {
    "plain": SeriesOptions(),
    "sagittal, oblique": SeriesOptions(Geometry(orientation="LFP", oblique_degrees=(4.0, -3.0, 6.0))),
    "slices missing": SeriesOptions(Geometry(missing_slices=frozenset({14, 30, 31}))),
    "gantry tilt": SeriesOptions(Geometry(gantry_tilt_degrees=18.0)),
    "enhanced": SeriesOptions(form=SeriesForm.ENHANCED),
    "legacy converted": SeriesOptions(form=SeriesForm.LEGACY_CONVERTED),
}


@pytest.mark.peer
@pytest.mark.parametrize("name", CASES)
def test_results_are_valid_and_the_mask_lies_on_the_source_slices(tmp_path, name):
    paths = write_series(small_hu(), SPACING_MM, tmp_path / "in", CASES[name])
    context = context_of(read_here(paths, tmp_path / "scratch").series)
    results = written(context, tmp_path / "out")
    for path in results.values():
        assert dciodvfy(path).errors == (), path.name
    assert marked_points(reread(results[ResultKind.SEGMENTATION])) == expected_points(context)


@pytest.mark.peer
def test_results_of_a_hostile_header_are_valid_and_carry_nothing_of_it(tmp_path):
    def hostile(index, dataset):
        dataset.StudyDescription = "spine\n<script>"
        dataset.PatientName = "Canary^Name=" + "=".join(["^" * 8] * 5)
        dataset.PatientBirthDate = "20001532"
        dataset.PatientSex = "X"
        dataset.PatientID = "bad\\id"
        dataset.StudyTime = "9999"
        dataset.PatientComments = "secret-canary"
        dataset.private_block(0x0009, "EVIL", create=True).add_new(1, "LO", "secret-canary")
        dataset.preamble = b"MZ" + b"\x90" * 126
        for keyword in ("SliceThickness", "AccessionNumber", "StudyID", "Manufacturer", "ReferringPhysicianName"):
            del dataset[keyword]

    with config.disable_value_validation():
        folder = write_changed(tmp_path / "in", hostile)
    context = context_of(read_here(files_of(folder), tmp_path / "scratch").series)
    for path in written(context, tmp_path / "out").values():
        assert dciodvfy(path).errors == (), path.name
        content = path.read_bytes()
        assert b"secret-canary" not in content
        assert b"<script>" not in content
        assert content[:128] == bytes(128)


@pytest.mark.peer
def test_results_of_rounded_and_jittering_orientations_are_valid(tmp_path):
    def jitter(index, dataset):
        dataset.ImageOrientationPatient = [0.9995, 0.0101, 0, -0.0099, 0.9995, 0.0002 * (index % 2)]
        dataset.PixelSpacing = ["0.90001", "0.8"] if index % 3 else ["0.9", "0.80001"]

    folder = write_changed(tmp_path / "in", jitter)
    context = context_of(read_here(files_of(folder), tmp_path / "scratch").series)
    results = written(context, tmp_path / "out")
    assert all(dciodvfy(path).errors == () for path in results.values())
    assert marked_points(reread(results[ResultKind.SEGMENTATION])) == expected_points(context)


def test_the_child_binds_itself_before_it_reads(tmp_path):
    program = (
        "import resource; from dicom_node.reading_child import limit_resources;"
        "from dicom_node.reading_exchange import ReadingLimits;"
        "limit_resources(ReadingLimits(cpu_seconds=7));"
        "print(resource.getrlimit(resource.RLIMIT_CPU)[1], resource.getrlimit(resource.RLIMIT_CORE)[1],"
        " resource.getrlimit(resource.RLIMIT_AS)[1])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["7", "0", str(ReadingLimits().address_space_bytes)]
    assert resource.getrlimit(resource.RLIMIT_CPU)[1] != 7


def test_a_native_series_is_read_without_pydicom_and_highdicom(tmp_path):
    paths = write_series(small_hu(), SPACING_MM, tmp_path / "in")
    (tmp_path / "scratch").mkdir()
    request = ReadingRequest(tuple(str(path) for path in paths), str(tmp_path / "scratch"), ReadingLimits())
    program = (
        "import sys; from dicom_node.reading_child import main; main();"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & {'pydicom', 'highdicom', 'PIL', 'scipy'}))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input=request.to_json(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert np.array_equal(parse_answer(tmp_path / "scratch").series.hu, small_hu())


@pytest.mark.parametrize(
    "options",
    [
        SeriesOptions(encoding=Encoding(TransferSyntax.EXPLICIT_LE, bits_stored=12)),
        SeriesOptions(encoding=Encoding(TransferSyntax.EXPLICIT_LE, bits_stored=16, signed=True)),
        SeriesOptions(encoding=Encoding(TransferSyntax.IMPLICIT_LE)),
        SeriesOptions(encoding=Encoding(TransferSyntax.RLE)),
        SeriesOptions(Geometry(orientation="LFP")),
    ],
    ids=["unsigned", "signed", "implicit", "RLE", "sagittal"],
)
def test_a_series_is_voxel_for_voxel_the_usual_pydicom_stack(tmp_path, options):
    paths = write_series(small_hu(), SPACING_MM, tmp_path / "in", options)
    series = read_study(paths, tmp_path / "scratch").series
    slices = {dataset.SOPInstanceUID: dataset for dataset in map(reread, paths)}
    ordered = [slices[header.SOPInstanceUID] for header in series.headers]
    assert np.array_equal(series.hu, [apply_rescale(one.pixel_array, one) for one in ordered])
    for header, source in zip(series.headers, ordered, strict=True):
        assert np.allclose(header.ImagePositionPatient, source.ImagePositionPatient)
        assert np.allclose(header.ImageOrientationPatient, source.ImageOrientationPatient)
        for keyword in ("PatientName", "PatientID", "StudyDate", "InstanceNumber", "SeriesDescription", "Rows"):
            assert header[keyword].value == source[keyword].value
