"""A PACS export becomes a data set: readers' masks and words are truth, our own unreviewed results are not."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from dicom_node import codes
from dicom_node.node import MANUFACTURER
from dicom_node.review import Presence
from dicom_node.review_document import Document, Group
from model.findings import Vertebra
from tests.dicom_node import edits
from tests.training.dicom_trees import Results, analyzed, write_ct
from tests.training.trees import TreeStudy, level_cells, small_anatomy, write_table
from training.datasets.data_sets import DataSetKind, DataSourceConfig, open_data_set
from training.datasets.dicom_labels import DicomDataSet, truth
from training.datasets.studies import DataSetError
from training.synthesis.phantom_series import write_series

C2, C5, C6 = Vertebra.C2, Vertebra.C5, Vertebra.C6
STUDY = TreeStudy("1", small_anatomy(4), frozenset({C5}), orientation="HPL")
LEVELS = tuple(Vertebra)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    """A folder with the CT of a study, and our results of it, which are not in the folder."""
    folder = tmp_path_factory.mktemp("export")
    return folder / "ct", analyzed(folder / "ct", STUDY, folder / "scratch")


@pytest.fixture
def export(made, tmp_path) -> tuple[Path, Results]:
    """A copy of that folder."""
    shutil.copytree(made[0], tmp_path / "export" / "patient" / "ct")
    return tmp_path / "export", made[1]


def problems_of(data: DicomDataSet) -> str:
    with pytest.raises(DataSetError) as caught:
        data.studies()
    return "\n".join(caught.value.problems)


def by_reader(ours: Dataset) -> Dataset:
    """A segmentation by another system, which knows nothing of ours."""
    drawn = edits.edited(ours, successor=False)
    edits.rename_segments(drawn, lambda segment: segment.SegmentLabel)
    return drawn


def test_masks_and_verified_reports_of_readers_are_the_labels(export, tmp_path):
    folder, results = export
    report = edits.edited(results.report, verified=True)
    edits.change(edits.group_of(report, C5), codes.FRACTURE, codes.UNDETERMINED)
    edits.written(report, folder / "report")
    edits.written(results.report, folder / "our report.dcm")
    edits.written(by_reader(results.segmentation), folder / "patient" / "mask.dcm")
    (folder / "README.txt").write_text("no DICOM")
    data = open_data_set(DataSourceConfig(DataSetKind.DICOM, folder, name="Our PACS", site="here"))
    (study,) = data.studies()
    assert (data.name, study.key, study.patient) == ("Our PACS", results.study_instance_uid, "P1")
    assert study.fractures == {level: None if level is C5 else False for level in LEVELS}
    volume = data.read(study, tmp_path / "scratch")
    assert np.array_equal(volume.hu, STUDY.anatomy.hu)
    assert np.array_equal(volume.labels, STUDY.anatomy.cervical)
    assert volume.lesion is None


def test_what_our_network_said_and_nobody_reviewed_is_no_label(export):
    folder, results = export
    edits.written(results.segmentation, folder / "mask.dcm")
    edits.written(results.report, folder / "report.dcm")
    assert f"study {results.study_instance_uid} has no label of a reader: add a segmentation" in problems_of(
        DicomDataSet(folder, "d")
    )


def test_our_report_that_was_verified_in_place_is_a_label(export):
    folder, results = export
    edits.written(edits.edited(results.report, verified=True, manufacturer=MANUFACTURER), folder / "report.dcm")
    (study,) = DicomDataSet(folder, "d").studies()
    assert study.fractures == {level: level is C5 for level in LEVELS}


def test_a_mask_is_laid_on_the_series_that_it_was_drawn_on(export, tmp_path):
    folder, results = export
    other = TreeStudy("1", small_anatomy(5))
    options = other.options()
    options = replace(options, identity=replace(options.identity, series="2", series_number=1))
    write_series(other.anatomy.hu, (2.0, 1.5, 1.25), folder / "finer", options)
    edits.written(by_reader(results.segmentation), folder / "mask.dcm")
    data = DicomDataSet(folder, "d")
    (study,) = data.studies()
    assert np.array_equal(data.read(study, tmp_path / "scratch").labels, STUDY.anatomy.cervical)


def test_of_several_masks_the_newest_holds(export, tmp_path):
    folder, results = export
    old, new = by_reader(results.segmentation), by_reader(results.segmentation)
    edits.rename_segments(old, lambda segment: "C1" if segment.SegmentLabel == "C2" else "C7")
    old.ContentDate, new.ContentDate = "20200101", "20260101"
    edits.written(old, folder / "z.dcm")
    edits.written(new, folder / "a.dcm")
    data = DicomDataSet(folder, "d")
    assert np.array_equal(data.read(data.studies()[0], tmp_path / "scratch").labels, STUDY.anatomy.cervical)


def test_a_mask_of_another_geometry_is_named(export, tmp_path):
    folder, results = export
    moved = by_reader(results.segmentation)
    for group in moved.PerFrameFunctionalGroupsSequence:
        plane = group.PlanePositionSequence[0]
        x, y, z = plane.ImagePositionPatient
        plane.ImagePositionPatient = [x, y, float(z) + 1.0]
    edits.written(moved, folder / "mask.dcm")
    data = DicomDataSet(folder, "d")
    with pytest.raises(DataSetError, match=r"mask\.dcm is a mask of another geometry .*: segment that series itself"):
        data.read(data.studies()[0], tmp_path / "scratch")


def test_a_table_of_fractures_goes_before_reports(export, tmp_path):
    folder, results = export
    edits.written(results.report, folder / "our report.dcm")
    edits.written(edits.edited(results.report, verified=True), folder / "report.dcm")
    row = {"study": results.study_instance_uid} | level_cells({C2}) | {"C7": ""}
    table = write_table(tmp_path / "f.csv", [row])
    (study,) = DicomDataSet(folder, "d", fractures=table).studies()
    assert study.fractures == {level: level is C2 for level in LEVELS}
    write_table(table, [row, {"study": "1.2.3"} | level_cells(())])
    assert "f.csv: study '1.2.3' is not in the folder" in problems_of(DicomDataSet(folder, "d", fractures=table))


def test_labels_without_ct_and_studies_of_two_patients_are_named_without_identities(export):
    folder, results = export
    edits.written(edits.edited(results.report, verified=True), folder / "report.dcm")
    for path in write_ct(folder / "more", replace(STUDY, anatomy=small_anatomy(6)), "SECRET-ID"):
        path.rename(path.with_name(f"other-{path.name}"))
    told = problems_of(DicomDataSet(folder, "d"))
    assert f"study {results.study_instance_uid} has images of several Patient IDs: correct the export" in told
    assert "SECRET-ID" not in told
    shutil.rmtree(folder / "more")
    shutil.rmtree(folder / "patient")
    told = problems_of(DicomDataSet(folder, "d"))
    assert f"report.dcm is of study {results.study_instance_uid}, whose CT is not there: export it" in told
    assert "has no DICOM study" in problems_of(
        DicomDataSet(folder, "d", leave_out=frozenset({results.study_instance_uid}))
    )
    assert "is missing: name the folder" in problems_of(DicomDataSet(folder / "nowhere", "d"))


def test_files_that_cannot_be_read_are_named(export):
    folder, results = export
    edits.written(edits.edited(results.report, verified=True), folder / "report.dcm")
    (folder / "broken.dcm").write_bytes(b"no DICOM at all")
    cut = by_reader(results.segmentation)
    path = edits.written(cut, folder / "mask.dcm")
    path.write_bytes(path.read_bytes()[:-3000])
    told = problems_of(DicomDataSet(folder, "d"))
    assert "broken.dcm cannot be read as DICOM" in told
    assert "mask.dcm cannot be read as a segmentation: export it again" in told


def document(*groups: Group, verified: bool = False, answer: Presence | None = None, **changes: object) -> Document:
    nothing = Document("1.2.3", "Hospital", verified, codes.IMAGING_MEASUREMENT_REPORT, groups, answer, "", *_NAMES)
    return replace(nothing, **changes)


_NAMES = (frozenset[str](), frozenset[str]())


def group(level: Vertebra, stated: Presence | None = None, *, fracture: bool = False) -> Group:
    return Group("1.2", level, fracture, not fracture, stated)


def test_verified_words_hold_before_others_and_different_ones_leave_a_level_unknown():
    present, absent = document(group(C2, Presence.PRESENT)), document(group(C2, Presence.ABSENT))
    assert truth([present]) == {C2: True}
    assert truth([present, absent]) == {C2: None}
    assert truth([present, replace(absent, verified=True)]) == {C2: False}
    assert truth([document(group(C2, Presence.UNDETERMINED))]) == {C2: None}
    assert truth([document(group(C2, Presence.PRESENT), group(C2, Presence.ABSENT))]) == {C2: None}


def test_a_fracture_as_finding_is_one_and_a_level_as_finding_is_intact_only_in_an_edited_report_of_ours():
    assert truth([document(group(C5, fracture=True))]) == {C5: True}
    assert truth([document(group(C5))]) == {}
    ours = document(group(C5, fracture=True), manufacturer=MANUFACTURER, sop_instance_uid="1.9")
    successor = document(group(C5), predecessors=frozenset({"1.9"}))
    assert truth([ours, successor]) == {C5: False}
    assert truth([ours]) == {}


def test_no_fracture_of_the_spine_holds_for_every_level_that_no_group_names():
    said = truth([document(group(C6, Presence.PRESENT), answer=Presence.ABSENT)])
    assert said == {level: level is C6 for level in LEVELS}
    assert truth([document(answer=Presence.PRESENT)]) == {}
