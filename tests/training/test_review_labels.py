"""Reviewed results become a data set: what readers said is truth, and both sides agree on the layout."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from dicom_node import codes
from model.findings import Vertebra
from tests.dicom_node import edits
from tests.training.dicom_trees import Results, analyzed, write_reviewed
from tests.training.trees import TreeStudy, small_anatomy
from tests.worker.scripted import boxes, workplace, write_boxes
from training.datasets.data_sets import DataSetKind, DataSourceConfig, open_data_set
from training.datasets.review_labels import ReviewDataSet
from training.datasets.studies import DataSetError
from worker.records import ResultObject, Review
from worker.review_export import export_reviews
from worker.reviewing import ReviewReader
from worker.storage import ResultStore

C1, C2, C3, C5, C6, C7 = (Vertebra[name] for name in ("C1", "C2", "C3", "C5", "C6", "C7"))
STUDY = TreeStudy("1", small_anatomy(4), frozenset({C5}), orientation="HPL")
SAID: Mapping[Vertebra, Mapping[str, Any]] = {
    C2: {"verdict": "REJECTED", "fracture": "PRESENT"},
    C5: {"suspected": True, "probability": 0.9, "verdict": "REJECTED", "fracture": "ABSENT", "verified": True},
    C6: {"fracture": "UNDETERMINED"},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A study's CT and our results."""
    folder = tmp_path_factory.mktemp("analyzed")
    return analyzed(folder / "ct", STUDY, folder / "scratch")


def redrawn(ours: Dataset, *, without: tuple[Vertebra, ...] = ()) -> Dataset:
    """Our segmentation as a viewer saves it, some segments taken out."""
    names = {level.name for level in without}
    drawn = edits.edited(ours, manufacturer="Viewer")
    gone = {int(s.SegmentNumber) for s in drawn.SegmentSequence if s.SegmentLabel in names}
    for group in drawn.PerFrameFunctionalGroupsSequence:
        identification = group.SegmentIdentificationSequence[0]
        if int(identification.ReferencedSegmentNumber) in gone:
            identification.ReferencedSegmentNumber = 99
    drawn.SegmentSequence = [s for s in drawn.SegmentSequence if int(s.SegmentNumber) not in gone]
    return drawn


def mask_of(level: Vertebra, number: int = 1) -> Mapping[str, Any]:
    return {"mask": {"file": f"review-{number}.dcm", "segment": int(level), "overlap": 0.9}}


def only(folder: Path) -> tuple[Any, ReviewDataSet]:
    data = ReviewDataSet(folder, "reviews")
    (study,) = data.studies()
    return study, data


@pytest.mark.parametrize("copy_images", [True, False])
def test_what_readers_said_is_truth_and_what_our_network_said_alone_is_not(results, tmp_path, copy_images):
    made = write_reviewed(tmp_path / "export", results, SAID, copy_images=copy_images)
    data = open_data_set(DataSourceConfig(DataSetKind.REVIEWS, tmp_path / "export", site="here"))
    (study,) = data.studies()
    assert (study.key, study.patient, study.site) == (made.name, "P1", "here")
    assert study.fractures == {C2: True, C5: False, C6: None}
    assert study.mask is None
    volume = data.read(study, tmp_path / "scratch")
    assert np.array_equal(volume.hu, STUDY.anatomy.hu)
    assert volume.labels is None


def test_a_corrected_mask_brings_every_level_that_the_reader_saved(results, tmp_path):
    said = {**SAID, C3: mask_of(C3)}
    write_reviewed(tmp_path / "export", results, said, [redrawn(results.segmentation)])
    study, data = only(tmp_path / "export")
    assert np.array_equal(data.read(study, tmp_path / "scratch").labels, STUDY.anatomy.cervical)


def test_a_mask_that_lacks_levels_of_our_result_is_left_out_for_they_would_count_as_no_bone(results, tmp_path):
    drawn = redrawn(results.segmentation, without=(C7,))
    write_reviewed(tmp_path / "export", results, {C3: mask_of(C3)}, [drawn])
    assert only(tmp_path / "export")[0].mask is None


def test_a_level_moved_by_the_reader_counts_under_its_new_name(results, tmp_path):
    drawn = redrawn(results.segmentation, without=(C7,))
    moved = {"verdict": "WRONG_LEVEL", "corrected_level": "C6"}
    said = {C6: mask_of(C3), C7: moved, C3: {"probability": None, "suspected": None}}
    write_reviewed(tmp_path / "export", results, said, [drawn])
    study, data = only(tmp_path / "export")
    labels = data.read(study, tmp_path / "scratch").labels
    expected = STUDY.anatomy.cervical.copy()
    expected[expected == 3] = 6
    expected[expected == 7] = 0
    assert np.array_equal(labels, expected)


def test_an_earlier_mask_holds_for_the_levels_that_were_last_drawn_in_it(results, tmp_path):
    earlier, later = redrawn(results.segmentation), redrawn(results.segmentation)
    shifted = next(group for group in earlier.PerFrameFunctionalGroupsSequence if segment_of(group) == C2)
    shifted.SegmentIdentificationSequence[0].ReferencedSegmentNumber = int(C1)
    said = {C1: mask_of(C1, 1), C3: mask_of(C3, 2)}
    write_reviewed(tmp_path / "export", results, said, [earlier, later])
    study, data = only(tmp_path / "export")
    labels = data.read(study, tmp_path / "scratch").labels
    assert (labels == C1).sum() > (STUDY.anatomy.cervical == C1).sum()
    assert np.array_equal(labels >= C3, STUDY.anatomy.cervical >= C3)


def segment_of(group: Dataset) -> int:
    return int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def problems_of(folder: Path) -> str:
    with pytest.raises(DataSetError) as caught:
        ReviewDataSet(folder, "reviews").studies()
    return "\n".join(caught.value.problems)


def test_studies_whose_ct_files_are_gone_are_named(results, tmp_path):
    made = write_reviewed(tmp_path / "export", results, SAID)
    content = json.loads((made / "labels.json").read_text())
    (made / "images" / "0003.dcm").unlink()
    assert f"{made / 'labels.json'}: 1 CT files of this study are gone: export again with --copy-images" in problems_of(
        tmp_path / "export"
    )
    content["images"].remove("images/0003.dcm")
    (made / "labels.json").write_text(json.dumps(content))
    assert "1 CT files of this study are gone" in problems_of(tmp_path / "export")
    (made / "labels.json").write_text(json.dumps(content | {"images": ["/nowhere/a.dcm"]}))
    assert "1 CT files of this study are gone" in problems_of(tmp_path / "export")
    (made / "labels.json").write_text(json.dumps(content | {"images": []}))
    told = problems_of(tmp_path / "export")
    assert "no CT files of this study were there" in told
    assert f"name {made.name} in leave_out" in told
    left = ReviewDataSet(tmp_path / "export", "reviews", leave_out=frozenset({made.name}))
    assert left.studies() == []


def test_labels_that_are_broken_of_another_format_or_that_name_paths_are_refused(results, tmp_path):
    made = write_reviewed(tmp_path / "export", results, {C3: mask_of(C3)}, [redrawn(results.segmentation)])
    path = made / "labels.json"
    whole = path.read_text()
    for bad in (
        "{",
        whole.replace("review-1.dcm", "../../review-1.dcm"),
        whole.replace("images/0001.dcm", "images/../../secret.dcm"),
        whole.replace('"C3"', '"L3"'),
    ):
        path.write_text(bad)
        assert f"{path} cannot be read" in problems_of(tmp_path / "export")
    path.write_text(whole.replace("cspine reviews 1", "cspine reviews 9"))
    assert "has another format than 'cspine reviews 1'" in problems_of(tmp_path / "export")
    path.write_text(whole)
    (made / "review-1.dcm").write_bytes(b"cut")
    assert "review-1.dcm cannot be read as a segmentation" in problems_of(tmp_path / "export")


def test_a_folder_without_reviews_says_how_to_make_one(tmp_path):
    assert "has no reviewed study: run `cspine reviews export`" in problems_of(tmp_path)
    assert "is missing: run `cspine reviews export" in problems_of(tmp_path / "nowhere")


def test_what_the_worker_exports_is_read_as_the_labels_that_readers_gave(tmp_path):
    write_boxes(tmp_path / "boxes")
    with workplace(tmp_path / "data") as place:
        place.receive(tmp_path / "boxes")
        place.analyzer().analyze(*place.complete())
        with place.database.reading() as session:
            rows = {row.kind: row for row in session.query(ResultObject)}
            store = ResultStore(place.settings.results_dir)
            paths = {str(kind): store.verified(row.path, row.sha256) for kind, row in rows.items()}
        report = edits.edited(edits.dcmread(paths["report"]), verified=True)
        edits.change(edits.group_of(report, C5), codes.FRACTURE, codes.ABSENT)
        drawn = edits.edited(edits.dcmread(paths["segmentation"]))
        drawn.SeriesInstanceUID = generate_uid()
        frame = next(group for group in drawn.PerFrameFunctionalGroupsSequence if segment_of(group) == C3)
        frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber = int(C2)
        back = tmp_path / "back"
        back.mkdir()
        edits.written(report, back / "report.dcm")
        edits.written(drawn, back / "mask.dcm")
        place.receive(back)
        assert ReviewReader(place.database, place.settings, place.clock).run() == 2
        with place.database.reading() as session:
            assert session.query(Review).count() == 2
        report_of_export = export_reviews(place.database, place.settings, tmp_path / "export", copy_images=True)
    assert report_of_export.studies == 1
    shutil.rmtree(tmp_path / "data")
    study, data = only(tmp_path / "export")
    assert study.fractures == dict.fromkeys(Vertebra, False)
    volume = data.read(study, tmp_path / "scratch")
    assert np.array_equal(volume.hu, boxes())
    expected = np.where((boxes() >= 600) & (boxes() <= 660), (boxes() - 590) // 10, 0)
    differ = volume.labels != expected
    assert set(np.unique(expected[differ])) == {C3}
    assert set(np.unique(volume.labels[differ])) == {C2}
