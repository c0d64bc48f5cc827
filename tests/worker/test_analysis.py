"""The analysis of one study: received for real, read by the real child, built and recorded; failures by name."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydicom import dcmread
from sqlalchemy import select

from model.errors import PredictorOutOfMemory, UnusableVolume
from tests.worker.scripted import ReadsTheBoxes, Workplace, workplace
from worker import studies
from worker.records import Run, Study
from worker.states import Cause, StudyState
from worker.studies import Move


def test_a_queued_study_becomes_results_and_waits_to_be_sent(place: Workplace) -> None:
    study_id, generation = place.complete()
    place.analyzer().analyze(study_id, generation)
    view = place.view()
    assert view.state is StudyState.SENDING
    assert place.bell.deliveries == [(study_id, generation)]
    assert [result.kind for result in view.results] == ["segmentation", "report", "narrative", "summary"]
    assert view.findings is not None
    levels = view.findings["levels"]
    assert isinstance(levels, list)
    assert [level["vertebra"] for level in levels] == ["C1", "C2", "C3", "C4", "C5", "C6", "C7"]
    assert [level["vertebra"] for level in levels if level["fractured"]] == ["C5"]
    assert view.series[0].chosen is True
    assert view.series[0].verdict
    assert view.manifest is not None
    assert view.manifest["bundle"] == {"name": "boxes", "sha256": "0" * 64}
    for result in view.results:
        dataset = dcmread(place.settings.results_dir / result.path)
        assert dataset.SOPInstanceUID == result.sop_instance_uid
        assert dataset.StudyInstanceUID == view.line.study_instance_uid


def test_a_message_that_comes_twice_or_late_changes_nothing(place: Workplace) -> None:
    study_id, generation = place.complete()
    analyzer = place.analyzer()
    analyzer.analyze(study_id, generation)
    analyzer.analyze(study_id, generation)
    analyzer.analyze(study_id, generation + 1)
    analyzer.analyze(study_id + 100, 1)
    assert place.network.calls == 1
    with place.database.reading() as session:
        assert len(session.scalars(select(Run)).all()) == 1


def test_two_workers_that_take_the_same_message_analyze_once(place: Workplace) -> None:
    study_id, generation = place.complete()
    threads = [threading.Thread(target=place.analyzer().analyze, args=(study_id, generation)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert place.network.calls == 1
    assert place.state() is StudyState.SENDING


def test_a_late_instance_during_the_analysis_voids_its_work(place: Workplace) -> None:
    study_id, generation = place.complete()

    def late_instance() -> None:
        with place.database.transaction() as session:
            position = studies.position_of(session, study_id)
            studies.transition(session, position, Move(Cause.LATE_INSTANCE, place.clock()))

    place.network = ReadsTheBoxes(before=late_instance)
    place.analyzer().analyze(study_id, generation)
    view = place.view()
    assert view.state is StudyState.RECEIVING
    assert view.line.generation == generation + 1
    assert view.results == ()


def crash() -> None:
    raise RuntimeError("secret of a data set")


def test_a_study_that_crashes_again_and_again_is_set_aside(place: Workplace) -> None:
    study_id, generation = place.complete()
    place.network = ReadsTheBoxes(before=crash)
    for _ in range(place.settings.max_attempts):
        assert place.state() is StudyState.QUEUED
        place.analyzer().analyze(study_id, generation)
    view = place.view()
    assert view.state is StudyState.FAILED
    assert view.reason is not None
    assert view.reason.startswith("POISON")
    assert "RuntimeError" in view.reason
    assert "secret" not in "".join(event.detail for event in view.events)
    assert view.next_step


def test_a_full_gpu_is_waited_for_and_not_for_ever(place: Workplace) -> None:
    study_id, generation = place.complete()

    def full() -> None:
        raise PredictorOutOfMemory("the accelerator's memory did not suffice")

    place.network = ReadsTheBoxes(before=full)
    place.analyzer().analyze(study_id, generation)
    with place.database.reading() as session:
        row = session.scalars(select(Study)).one()
        assert row.state is StudyState.QUEUED
        assert row.not_before is not None
        assert row.crashes == 0
    later = datetime.now(UTC) + timedelta(seconds=place.settings.retry_age_seconds + 1)
    place.clock = lambda: later
    place.analyzer().analyze(study_id, generation)
    assert place.state() is StudyState.FAILED
    assert "PREDICTOR_OUT_OF_MEMORY" in str(place.view().reason)


def test_a_volume_that_the_network_cannot_take_fails_with_the_reason(place: Workplace) -> None:
    study_id, generation = place.complete()

    def unusable() -> None:
        raise UnusableVolume("the volume is too flat")

    place.network = ReadsTheBoxes(before=unusable)
    place.analyzer().analyze(study_id, generation)
    assert place.view().reason == "PREDICTOR: the volume is too flat"


def test_stored_files_that_vanished_are_named(place: Workplace) -> None:
    study_id, generation = place.complete()
    for path in list(place.settings.spool_dir.rglob("*.dcm"))[:3]:
        path.unlink()
    place.analyzer().analyze(study_id, generation)
    assert place.view().reason == "INPUT_MISSING: 3 of 64 stored files are missing"


def test_one_slice_is_skipped_with_a_reason(tmp_path: Path, boxes_folder: Path) -> None:
    single = tmp_path / "single"
    single.mkdir()
    (single / "one.dcm").write_bytes(next(iter(sorted(boxes_folder.iterdir()))).read_bytes())
    with workplace(tmp_path / "data") as place:
        place.receive(single)
        place.analyzer().analyze(*place.complete())
        view = place.view()
    assert view.state is StudyState.SKIPPED
    assert view.reason
    assert view.series[0].chosen is False
    assert view.series[0].verdict


def test_an_unwritable_results_folder_is_transient(place: Workplace) -> None:
    study_id, generation = place.complete()
    place.settings.results_dir.write_text("a file where the folder should be")
    place.analyzer().analyze(study_id, generation)
    with place.database.reading() as session:
        row = session.scalars(select(Study)).one()
    assert row.state is StudyState.QUEUED
    assert row.failure_code == "OUT_OF_RESOURCES"


def test_the_same_study_analyzed_again_makes_the_same_uids(place: Workplace) -> None:
    study_id, generation = place.complete()
    place.analyzer().analyze(study_id, generation)
    first = [result.sop_instance_uid for result in place.view().results]
    with place.database.transaction() as session:
        position = studies.position_of(session, study_id)
        studies.transition(session, position, Move(Cause.LATE_INSTANCE, place.clock()))
    place.analyzer().analyze(*place.complete())
    assert [result.sop_instance_uid for result in place.view().results] == first


def test_what_a_killed_analysis_left_is_removed_once_it_belongs_to_nobody(place: Workplace) -> None:
    scratch = place.settings.scratch_dir
    (scratch / "analysis-dead").mkdir(parents=True)
    (scratch / "analysis-dead" / "volume.npy").write_bytes(b"voxels")
    assert place.analyzer().sweep_scratch() == 0
    later = datetime.now(UTC) + timedelta(hours=3)
    place.clock = lambda: later
    assert place.analyzer().sweep_scratch() == 1
    assert list(scratch.iterdir()) == []
