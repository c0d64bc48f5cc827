"""Every object of every profile before independent readers: dicom3tools, dcmtk, dcmqi and highdicom.

The objects of each case are built once for all tests of this file.
"""

import gzip
import json
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.encode import encode
from dicom_node.profiles import PROFILES, Switch
from dicom_node.result_context import ResultContext
from dicom_node.result_kind import RETRACTION_SERIES_NUMBER, ResultKind
from dicom_node.segmentation import segment_numbers
from tests.dicom_node.necks import EXPLAINED, LIMITED, NEGATIVE, NOTHING_FOUND, every_object
from tests.dicom_node.test_conformance import table
from tests.peers import TOLERATED_ERRORS, dciodvfy, dcmqi_program, require

TOLERATED_WARNINGS = {
    # IHE AIR asks for it; Debian's dicom3tools knows Contributing Equipment without it
    "Attribute is not present in standard DICOM IOD - (0x0018,0x1002) UI Device UID",
    "Dicom dataset contains attributes not present in standard DICOM IOD - this is a Standard Extended SOP Class",
}

CASES = {"suspected": EXPLAINED, "negative": NEGATIVE, "limited": LIMITED, "nothing found": NOTHING_FOUND}
CONTEXTS: dict[str, ResultContext] = {name: case.context() for name, case in CASES.items()}
WITH_LEVELS = ("suspected", "negative", "limited")
MEASUREMENTS = ("report", "report-labelmap", "air-report", "air-report-labelmap")
UNKNOWN_TO_DCMTK = "air-report-labelmap"
"""dcmtk does not know the SOP Class of label maps and takes a reference to its segments for a mistake."""


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """The file of every object by case and variant."""
    files: dict[str, dict[str, Path]] = {}
    for name, context in CONTEXTS.items():
        folder = tmp_path_factory.mktemp("objects")
        files[name] = {}
        for variant, dataset in every_object(context).items():
            files[name][variant] = folder / f"{variant}.dcm"
            files[name][variant].write_bytes(encode(dataset))
    return files


def test_every_profile_has_its_objects_where_something_is_suspected_and_fewer_where_not(objects):
    counts = {name: len(files) for name, files in objects.items()}
    assert counts == {"suspected": 12, "negative": 9, "limited": 12, "nothing found": 5}


@pytest.mark.peer
@pytest.mark.parametrize("name", CASES)
def test_dciodvfy_has_nothing_against_any_object(name, objects):
    for variant, path in objects[name].items():
        verdict = dciodvfy(path)
        assert verdict.errors == (), variant
        assert {line.strip() for line in verdict.warnings} <= TOLERATED_WARNINGS, variant
        assert not verdict.tolerated or "labelmap" in variant, variant


@pytest.mark.peer
def test_every_line_of_the_allow_list_is_still_needed(objects):
    files = objects["suspected"]
    said = {line for variant in ("labelmap", "air-report-labelmap") for line in dciodvfy(files[variant]).tolerated}
    assert said == set(TOLERATED_ERRORS)


@pytest.mark.peer
@pytest.mark.parametrize("name", CASES)
def test_dcmtk_dumps_every_document_without_complaint(name, objects):
    for variant, path in objects[name].items():
        if variant not in {*MEASUREMENTS, "arrows", "narrative", "key-objects"} or variant == UNKNOWN_TO_DCMTK:
            continue
        dumped = subprocess.run([require("dsrdump"), path], check=True, capture_output=True, text=True, timeout=60)
        assert "<contains CONTAINER:" in dumped.stdout or "<contains IMAGE:" in dumped.stdout
        assert not [line for line in dumped.stderr.splitlines() if line.startswith("E:")]


@pytest.mark.peer
@pytest.mark.parametrize("name", WITH_LEVELS)
def test_dcmqi_reads_a_measurement_group_of_every_segment(name, objects, tmp_path):
    """The Tracking UIDs of all reports are those of the segments, as two programs read them."""
    files = objects[name]
    segments = highdicom.seg.segread(files["segmentation"]).SegmentSequence
    uids = [str(segment.TrackingUID) for segment in segments]
    for variant in (*MEASUREMENTS, *(["arrows"] if "arrows" in files else [])):
        output = tmp_path / f"{variant}.json"
        command = [dcmqi_program("tid1500reader"), "--inputDICOM", files[variant], "--outputMetadata", output]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        read = [item["TrackingUniqueIdentifier"] for item in json.loads(output.read_text("utf-8"))["Measurements"]]
        suspected = [str(CONTEXTS[name].tracking_uid(level)) for level in CASES[name].fractured]
        assert read == (suspected if variant == "arrows" else uids), variant


@pytest.mark.parametrize("name", WITH_LEVELS)
@pytest.mark.parametrize("variant", ["segmentation", "labelmap"])
def test_highdicom_reads_every_voxel_at_its_place_in_the_patient(name, variant, objects):
    context = CONTEXTS[name]
    segmentation = highdicom.seg.segread(objects[name][variant])
    volume = segmentation.get_volume(combine_segments=True, skip_overlap_checks=True)
    home = volume.match_geometry(context.series.geometry)
    assert np.array_equal(home.array, segment_numbers(context))


@pytest.mark.parametrize("name", WITH_LEVELS)
def test_both_segmentations_describe_the_same_segments(name, objects):
    described = [
        [
            (item.SegmentNumber, item.SegmentLabel, item.TrackingUID, list(item.RecommendedDisplayCIELabValue))
            for item in highdicom.seg.segread(objects[name][variant]).SegmentSequence
            if item.SegmentNumber > 0  # a label map describes its background too
        ]
        for variant in ("segmentation", "labelmap")
    ]
    assert described[0] == described[1]


def voxels_of(path: Path) -> dict[int, np.ndarray]:
    """The marked voxels of an NRRD file by value: positions in the patient (LPS, in 0.01 mm), sorted."""
    head, _, body = path.read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
    assert fields["space"] == "left-posterior-superior"
    raw = gzip.decompress(body) if fields["encoding"] == "gzip" else body
    kind = {"unsigned char": np.uint8, "short": np.int16}[fields["type"]]
    shape = [int(size) for size in fields["sizes"].split()]
    array = np.frombuffer(raw, kind).reshape(shape, order="F")
    directions = np.array([json.loads(f"[{one.strip('()')}]") for one in fields["space directions"].split()])
    origin = np.array(json.loads(f"[{fields['space origin'].strip('()')}]"))
    return {
        int(value): places(np.argwhere(array == value) @ directions + origin) for value in np.unique(array) if value
    }


def places(positions: np.ndarray) -> np.ndarray:
    """Positions in mm as sorted multiples of 0.01 mm."""
    return np.unique(np.rint(positions * 100).astype(int), axis=0)


@pytest.mark.peer
@pytest.mark.parametrize("variant", ["segmentation", "labelmap"])
def test_dcmqi_reads_the_same_voxels_at_the_same_places_with_the_same_names(variant, objects, tmp_path):
    context = CONTEXTS["limited"]
    command = [dcmqi_program("segimage2itkimage"), "--inputDICOM", objects["limited"][variant]]
    command += ["--outputDirectory", tmp_path, "--outputType", "nrrd"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    groups = json.loads((tmp_path / "meta.json").read_text("utf-8"))["segmentAttributes"]
    names = {item["labelID"]: item["SegmentLabel"] for group in groups for item in group}
    assert names == {number: level.name for number, level in enumerate(context.levels, start=1)}
    found: dict[int, np.ndarray] = {}
    for path in tmp_path.glob("*.nrrd"):
        found |= voxels_of(path)
    numbers = segment_numbers(context)
    for number in names:
        indices = np.argwhere(numbers == number)
        assert np.array_equal(found[number], places(context.series.geometry.map_indices_to_reference(indices)))


def test_every_object_warns_in_what_a_viewer_lists(objects):
    for files in objects.values():
        for variant, path in files.items():
            assert str(dcmread(path, stop_before_pixels=True).SeriesDescription).endswith("AI, not verified"), variant


def test_the_conformance_statement_says_what_each_profile_and_object_is(objects):
    profiles = table("#### Profiles of Destinations")
    assert {name: kinds.split(", ") for name, kinds, _ in profiles} == {
        name: [kind.value for kind in profile.kinds] for name, profile in PROFILES.items()
    }
    assert [name for name, _ in table("#### Profiles of Destinations", 1)] == list(Switch)
    stated = {name: (int(number), uid) for name, number, uid, _ in table("#### Objects of Results")}
    headers = {kind.value: dcmread(objects["suspected"][kind.value], stop_before_pixels=True) for kind in ResultKind}
    made = {name: (int(header.SeriesNumber), str(header.SOPClassUID)) for name, header in headers.items()}
    assert stated == {**made, "retraction": (RETRACTION_SERIES_NUMBER, made["key-objects"][1])}
    conditions = {name: when for name, _, _, when in table("#### Objects of Results") if name != "retraction"}
    for case, phrases in (("negative", {"Always", "Where a level"}), ("nothing found", {"Always"})):
        named = {name for name, when in conditions.items() if any(when.startswith(phrase) for phrase in phrases)}
        assert named == {variant for variant in objects[case] if not variant.endswith("-labelmap")}
