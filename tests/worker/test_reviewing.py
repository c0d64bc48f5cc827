"""A reader's edit on its way home: by C-STORE to the spool, read, into the timeline, out as training labels."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom import Dataset, dcmread
from sqlalchemy import select, update

from dicom_node import codes
from dicom_node.review import Verdict
from model.findings import Vertebra
from tests.dicom_node import edits
from tests.peers import wait_until
from tests.worker.scripted import Workplace, workplace, write_boxes
from worker.clerk import Reviewer
from worker.cli import main
from worker.records import Instance, NoteKind, ResultObject, Review, ReviewState, Run
from worker.review_export import ExportReport, export_reviews
from worker.review_list import review_lines
from worker.reviewing import SCRATCH_PREFIX, ReviewReader, read_again
from worker.states import StudyState
from worker.storage import ResultStore

CANARY = "CANARY^READER"
C2, C5, C6 = Vertebra.C2, Vertebra.C5, Vertebra.C6


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of an installation that has analyzed the small study: C5 is suspected."""
    folder = tmp_path_factory.mktemp("analyzed")
    write_boxes(folder / "boxes")
    with workplace(folder / "data") as made:
        made.receive(folder / "boxes")
        made.analyzer().analyze(*made.complete())
        assert made.state() is StudyState.SENDING
    return folder / "data"


@pytest.fixture
def home(analyzed: Path, tmp_path: Path) -> Iterator[Workplace]:
    """A copy of that installation."""
    shutil.copytree(analyzed, tmp_path / "data")
    with workplace(tmp_path / "data") as made:
        yield made


def ours(place: Workplace, kind: str) -> Dataset:
    """One of our results as it was sent."""
    with place.database.reading() as session:
        row = session.scalars(select(ResultObject).where(ResultObject.kind == kind)).one()
    return dcmread(ResultStore(place.settings.results_dir).verified(row.path, row.sha256))


def come_back(place: Workplace, *datasets: Dataset) -> None:
    """The PACS sends these objects to the listener."""
    folder = place.settings.data_dir / "from-pacs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number, dataset in enumerate(datasets):
        edits.written(dataset, folder / f"{number}.dcm")
    place.receive(folder)


def reader(place: Workplace) -> ReviewReader:
    return ReviewReader(place.database, place.settings, place.clock)


def rows(place: Workplace) -> Sequence[Review]:
    with place.database.reading() as session:
        return session.scalars(select(Review).order_by(Review.id)).all()


def told(place: Workplace) -> list[str]:
    """What the timeline says of reviews."""
    return [event.detail for event in place.view().events if event.kind == NoteKind.REVIEW]


def stored(place: Workplace) -> int:
    return len(list(place.settings.spool_dir.glob("store/*/*/*.dcm")))


def verified_report(place: Workplace) -> Dataset:
    """Our report, verified by a radiologist who took the suspicion at C5 back."""
    report = edits.edited(ours(place, "report"), verified=True)
    edits.change(edits.group_of(report, C5), codes.FRACTURE, codes.ABSENT)
    observer = Dataset()
    observer.VerifyingObserverName, observer.VerifyingOrganization = CANARY, "Hospital"
    observer.VerificationDateTime = "20260301120000"
    observer.VerifyingObserverIdentificationCodeSequence = []
    report.VerifyingObserverSequence = [observer]
    return report


def test_an_edited_report_comes_home_as_a_review_and_moves_nothing(home: Workplace) -> None:
    before = home.view().line
    come_back(home, verified_report(home))
    assert [row.state for row in rows(home)] == [ReviewState.RECEIVED]
    assert reader(home).run() == 1
    assert reader(home).run() == 0
    [row] = rows(home)
    assert (row.state, row.verdict) == (ReviewState.READ, Verdict.REJECTED)
    with home.database.reading() as session:
        assert session.get_one(Run, row.run_id).generation == 1
        assert session.scalars(select(Instance).where(Instance.sop_class_uid == row.sop_class_uid)).all() == []
    assert home.view().line == before
    said = "C5 rejected, fracture absent; C1, C2, C3, C4, C6, C7 accepted (verified)"
    assert told(home) == [f"report from SENDER of the results of generation 1: {said}"]
    shown = CliRunner().invoke(main, ["study", before.study_instance_uid, "--data", str(home.settings.data_dir)])
    assert f"generation 1: {said}" in shown.output
    [line] = review_lines(home.database, 10)
    assert line.says.startswith("C5 rejected, fracture absent")
    assert CANARY not in json.dumps(home.view().as_json()) + line.as_line()


def test_our_own_results_that_the_pacs_sends_back_are_kept_nowhere(home: Workplace) -> None:
    before = home.view().line, stored(home)
    come_back(home, ours(home, "segmentation"), ours(home, "report"), ours(home, "narrative"))
    assert rows(home) == []
    assert (home.view().line, stored(home)) == before


def test_a_document_that_does_not_speak_of_our_results_is_read_and_deleted(home: Workplace) -> None:
    before = stored(home)
    stranger = edits.edited(ours(home, "report"), verified=True, successor=False)
    stranger.ContentSequence = [item for item in stranger.ContentSequence if edits.named(item, codes.LANGUAGE)]
    del stranger.CurrentRequestedProcedureEvidenceSequence
    come_back(home, stranger)
    assert (len(rows(home)), stored(home)) == (1, before + 1)
    assert reader(home).run() == 1
    assert (rows(home), stored(home), told(home)) == ([], before, [])


def test_what_cannot_be_read_is_noted_and_not_lost_and_may_be_read_again(home: Workplace) -> None:
    come_back(home, verified_report(home))
    path = home.settings.spool_dir / rows(home)[0].path
    whole = path.read_bytes()
    path.write_bytes(whole[:2000])
    assert reader(home).run() == 1
    [row] = rows(home)
    assert (row.state, row.reason) == (ReviewState.UNREADABLE, "The data set is truncated")
    assert told(home) == ["report from SENDER cannot be read: The data set is truncated"]
    path.write_bytes(whole)
    assert read_again(home.database) == 1
    assert reader(home).run() == 1
    assert [row.state for row in rows(home)] == [ReviewState.READ]


def test_a_review_that_another_reader_recorded_first_is_told_once(home: Workplace) -> None:
    come_back(home, verified_report(home))
    [row] = rows(home)
    reader(home)._read(row)
    reader(home)._read(row)
    assert len(told(home)) == 1


def test_of_a_result_whose_bytes_are_lost_the_uid_still_counts(home: Workplace) -> None:
    report = edits.edited(ours(home, "report"), verified=True)
    shutil.rmtree(home.settings.results_dir)
    come_back(home, report)
    reader(home).run()
    assert [row.state for row in rows(home)] == [ReviewState.READ]


def test_the_clerk_reads_in_a_thread_of_its_own_and_clears_what_a_killed_one_left(home: Workplace) -> None:
    left = home.settings.scratch_dir / f"{SCRATCH_PREFIX}left"
    left.mkdir(parents=True)
    come_back(home, edits.edited(ours(home, "segmentation")))
    reviewer = Reviewer(home.settings, home.database)
    reviewer.start()
    wait_until(lambda: rows(home)[0].state is ReviewState.READ, 60, "the review")
    reviewer.stop()
    assert not reviewer._thread.is_alive()
    assert told(home) == ["segmentation from SENDER of the results of generation 1: no verdict (not verified)"]
    assert left.exists()
    place = ReviewReader(home.database, home.settings, lambda: home.clock().replace(year=home.clock().year + 1))
    assert place.sweep_scratch() == 1


def erased(segmentation: Dataset, level: Vertebra) -> Dataset:
    """The mask with one frame of a level erased."""
    groups = segmentation.PerFrameFunctionalGroupsSequence
    numbers = [group.SegmentIdentificationSequence[0].ReferencedSegmentNumber for group in groups]
    size = segmentation.Rows * segmentation.Columns // 8
    start = numbers.index(level) * size
    data = segmentation.PixelData
    segmentation.PixelData = data[:start] + bytes(size) + data[start + size :]
    return segmentation


def test_reviews_become_training_labels_without_any_identity(home: Workplace, tmp_path: Path) -> None:
    late = edits.edited(ours(home, "report"))
    edits.change(edits.group_of(late, C5), codes.FINDING_SITE, codes.VERTEBRA[C6])
    nothing = edits.edited(ours(home, "report"))
    come_back(home, verified_report(home), late, nothing, erased(edits.edited(ours(home, "segmentation")), C2))
    reader(home).run()
    assert {row.state for row in rows(home)} == {ReviewState.READ}
    folder = tmp_path / "labels"
    assert export_reviews(home.database, home.settings, folder) == ExportReport(1, 3, 0)
    [study] = folder.iterdir()
    labels = json.loads((study / "labels.json").read_text())
    assert labels["format"] == "cspine reviews 1"
    assert {path.name for path in study.iterdir()} == {"labels.json", "review-1.dcm", "review-2.dcm", "review-3.dcm"}
    assert [(item["file"], item["kind"], item["verdict"], item["verified"]) for item in labels["reviews"]] == [
        ("review-1.dcm", "report", "REJECTED", True),
        ("review-2.dcm", "report", "WRONG_LEVEL", False),
        ("review-3.dcm", "segmentation", "CORRECTED_MASK", False),
    ]
    levels = {item["level"]: item for item in labels["levels"]}
    assert list(levels) == [level.name for level in Vertebra]
    assert levels["C5"]["suspected"] is True
    assert (levels["C5"]["fracture"], levels["C5"]["verdict"], levels["C5"]["verified"]) == ("ABSENT", "REJECTED", True)
    assert (levels["C6"]["fracture"], levels["C6"]["verified"]) == ("ABSENT", True)  # the unverified word does not hold
    mask = levels["C2"]["mask"]
    assert (mask["file"], mask["segment"], levels["C2"]["verdict"]) == ("review-3.dcm", 2, "ACCEPTED")
    assert 0.0 < mask["overlap"] < 1.0
    assert labels["result"]["generation"] == 1
    assert len(labels["images"]) == 64
    assert all(dcmread(path).SeriesInstanceUID == labels["series_instance_uid"] for path in labels["images"][:2])
    text = (study / "labels.json").read_text()
    assert not any(word in text for word in (CANARY, "SENDER", "PatientName", "Hospital", "Anonym"))
    spooled = {row.sop_instance_uid: (home.settings.spool_dir / row.path).read_bytes() for row in rows(home)}
    written = {dcmread(path).SOPInstanceUID: path.read_bytes() for path in study.glob("*.dcm")}
    assert written == {uid: data for uid, data in spooled.items() if uid != nothing.SOPInstanceUID}


def test_the_commands_list_export_and_say_what_stands_in_the_way(home: Workplace, tmp_path: Path) -> None:
    data = ("--data", str(home.settings.data_dir))
    come_back(home, verified_report(home))

    def cspine(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["reviews", *arguments, *data], catch_exceptions=False)
        return f"{result.exit_code} {result.output}"

    assert "RECEIVED" in cspine("list")
    reader(home).run()
    assert "C5 rejected" in cspine("list")
    assert json.loads(cspine("list", "--json").removeprefix("0 "))[0]["verdict"] == "REJECTED"
    with home.database.transaction() as session:
        session.execute(update(Instance).where(Instance.id == session.scalar(select(Instance.id))).values(path="gone"))
    said = cspine("export", str(tmp_path / "out"), "--copy-images")
    assert said.startswith("0 1 studies with 1 reviews")
    assert "1 CT files are not in the spool any more" in said
    assert "name patients and readers" in said
    [labels] = (tmp_path / "out").glob("study-*/labels.json")
    images = json.loads(labels.read_text())["images"]
    assert images[0] == "images/0002.dcm"
    assert len(list(labels.parent.glob("images/*.dcm"))) == len(images) == 63
    assert cspine("export", str(tmp_path / "out")).startswith("1 Error: ")
    (tmp_path / "file").write_text("")
    assert "name another folder" in cspine("export", str(tmp_path / "file" / "below"))
    assert "0 reviews wait" in cspine("retry")
