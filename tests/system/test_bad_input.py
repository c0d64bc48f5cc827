"""What strangers send ends in a DICOM status or in a state with a reason, and the next good study goes its way."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from tests.worker.scripted import Workplace, workplace, write_boxes
from worker.queries import list_studies
from worker.states import StudyState
from worker.sweeps import Sweeps


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of a good study."""
    return sorted(write_boxes(tmp_path_factory.mktemp("good")))


def changed(files: list[Path], folder: Path, change: Callable[[int, Dataset], None]) -> Path:
    """The files with a change to each, in a new folder."""
    folder.mkdir()
    for number, path in enumerate(files):
        dataset = dcmread(path)
        change(number, dataset)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(folder / path.name, enforce_file_format=True)
    return folder


def mixed_patients(number: int, dataset: Dataset) -> None:
    dataset.PatientID = "A" if number % 2 else "B"


def localizer(_number: int, dataset: Dataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def interleaved(number: int, dataset: Dataset) -> None:
    if number % 2:
        dataset.ImagePositionPatient = [value + 0.5 for value in dataset.ImagePositionPatient]
        dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


def no_rescale(_number: int, dataset: Dataset) -> None:
    dataset.RescaleSlope = "0"


@pytest.mark.parametrize(
    ("change", "states", "word"),
    [
        (mixed_patients, {StudyState.FAILED}, "patient"),
        (localizer, {StudyState.SKIPPED}, ""),
        (no_rescale, {StudyState.FAILED}, "rescale"),
        (interleaved, {StudyState.SENDING, StudyState.FAILED}, ""),
    ],
)
def test_a_study_that_cannot_be_analyzed_ends_with_a_reason(
    tmp_path: Path, good: list[Path], change: Callable[[int, Dataset], None], states: set[StudyState], word: str
) -> None:
    folder = changed(good, tmp_path / "bad", change)
    with workplace(tmp_path / "data") as place:
        place.receive(folder)
        place.analyzer().analyze(*place.complete())
        view = place.view()
    assert view.state in states
    if view.state is StudyState.SENDING:
        assert sum(series.instances for series in view.series) == len(good)
        return
    assert view.reason
    assert word in view.reason.lower()
    assert view.next_step
    assert view.series[0].verdict or view.state is StudyState.FAILED


def test_the_same_sop_instance_uid_with_other_bytes_is_kept_noted_and_used(tmp_path: Path, good: list[Path]) -> None:
    folder = tmp_path / "again"
    folder.mkdir()
    dataset = dcmread(good[0])
    dataset.PixelData = bytes(reversed(dataset.PixelData))
    dataset.save_as(folder / "other.dcm", enforce_file_format=True)
    with workplace(tmp_path / "data") as place:
        place.receive(good[0].parent)
        place.analyzer().analyze(*place.complete())
        assert place.state() is StudyState.SENDING
        place.receive(folder)
        view = place.view()
        assert view.state is StudyState.RECEIVING
        assert view.line.generation == 2
        assert any(event.kind == "REVISED_INSTANCE" for event in view.events)
        assert view.line.instances == len(good) + 1


def test_a_bad_study_does_not_hold_up_a_good_one(tmp_path: Path, good: list[Path]) -> None:
    def other_study(number: int, dataset: Dataset) -> None:
        dataset.StudyInstanceUID = bad_uid
        mixed_patients(number, dataset)
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=["bad", str(number)])

    bad_uid = generate_uid()
    bad = changed(good, tmp_path / "bad", other_study)
    with workplace(tmp_path / "data") as place:
        senders = [threading.Thread(target=place.receive, args=(folder,)) for folder in (bad, good[0].parent)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        complete_and_analyze_all(place)
        states = {line.study_instance_uid == bad_uid: line.state for line in list_studies(place.database)}
    assert states == {True: StudyState.FAILED, False: StudyState.SENDING}


def complete_and_analyze_all(place: Workplace) -> None:
    """Let the real sweeps find the quiet studies, and analyze what they ring for."""
    later = datetime.now(UTC) + timedelta(hours=1)
    Sweeps(place.database, place.settings, place.bell, lambda: later).run()
    analyzer = place.analyzer()
    for study_id, generation in place.bell.analyses:
        analyzer.analyze(study_id, generation)
