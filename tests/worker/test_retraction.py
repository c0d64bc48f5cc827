"""Versions and their withdrawal: what supersedes what, Key Objects to whoever may have a result, nothing sent again."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import KeyObjectSelectionDocumentStorage, SegmentationStorage
from sqlalchemy import select

from dicom_node.profiles import profile_of
from dicom_node.retraction import RejectionReason
from tests.worker.scripted import FakeBundle, RecordsRings, ScriptedPacs, Workplace, analyzed
from worker import studies
from worker.destinations import Destination
from worker.devices import device_of
from worker.errors import StartupError
from worker.records import RETRACTION, Delivery, DeliveryState, ResultObject, Run
from worker.retraction import Retracted, Retraction
from worker.states import Cause, StudyState
from worker.storage import ResultStore
from worker.studies import Move
from worker.sweeps import Sweeps

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def place(tmp_path: Path, analyzed_template: Path) -> Iterator[Workplace]:
    """A study that waits to be sent."""
    with analyzed(analyzed_template, tmp_path / "data") as made:
        made.advance(0)
        yield made


@pytest.fixture
def pacs() -> Iterator[ScriptedPacs]:
    made = ScriptedPacs()
    yield made
    made.stop()


@pytest.fixture
def viewer() -> Iterator[ScriptedPacs]:
    made = ScriptedPacs()
    yield made
    made.stop()


def to(pacs: ScriptedPacs, name: str = "pacs", profile: str = "default") -> Destination:
    return Destination(name, peer=pacs.peer, profile=profile_of(profile))


def retract(place: Workplace, uid: str | None = None) -> Retracted:
    store = ResultStore(place.settings.results_dir)
    retraction = Retraction(place.database, store, device_of(place.settings), NOW, RejectionReason.QUALITY)
    return retraction.retract(uid or study_uid(place))


def study_uid(place: Workplace) -> str:
    return place.view().line.study_instance_uid


def key_objects(place: Workplace) -> dict[str, set[str]]:
    """SOP Instance UID of each Key Object, with the instances that it rejects."""
    with place.database.reading() as session:
        found = session.scalars(select(ResultObject).where(ResultObject.kind == RETRACTION)).all()
    notes = [dcmread(place.settings.results_dir / row.path) for row in found]
    return {
        str(note.SOPInstanceUID): {
            str(item.ReferencedSOPInstanceUID)
            for study in note.CurrentRequestedProcedureEvidenceSequence
            for series in study.ReferencedSeriesSequence
            for item in series.ReferencedSOPSequence
        }
        for note in notes
    }


def sweep(place: Workplace) -> RecordsRings:
    bell = RecordsRings()
    Sweeps(place.database, place.settings, bell, place.clock).run()
    return bell


def test_every_destination_is_told_what_of_its_own_is_rejected(
    place: Workplace, pacs: ScriptedPacs, viewer: ScriptedPacs
) -> None:
    destinations = [to(pacs), to(viewer, "viewer", "minimal")]
    place.deliver(destinations)
    had = {name: set(one.received) for name, one in (("pacs", pacs), ("viewer", viewer))}
    assert retract(place) == Retracted(1, 4, ("pacs", "viewer"), 0)
    assert place.state() is StudyState.SENDING
    assert place.deliver(destinations) is StudyState.WITHDRAWN
    notes = key_objects(place)
    for one, name in ((pacs, "pacs"), (viewer, "viewer")):
        assert [notes[uid] for uid in one.received if uid in notes] == [had[name]]
        assert set(one.received) - set(notes) == had[name]
    view = place.view()
    assert [event.kind for event in view.events if event.kind in {"RETRACTION", "WITHDRAWN"}] == [
        "RETRACTION",
        "WITHDRAWN",
    ]
    with pytest.raises(StartupError, match="withdrawn already"):
        retract(place)
    assert place.deliver(destinations) is StudyState.WITHDRAWN
    assert sweep(place).deliveries == []


def test_one_sop_instance_names_the_version_and_an_unknown_uid_is_told(place: Workplace, pacs: ScriptedPacs) -> None:
    place.deliver([to(pacs)])
    with pytest.raises(StartupError, match="neither a study"):
        retract(place, "2.25.99")
    assert retract(place, place.view().results[2].sop_instance_uid).objects == 4
    assert place.deliver([to(pacs)]) is StudyState.WITHDRAWN


def test_what_nobody_was_ever_offered_is_withdrawn_without_a_word(place: Workplace, pacs: ScriptedPacs) -> None:
    pacs.stop()
    place.deliver([to(pacs)])
    assert retract(place) == Retracted(1, 0, (), 0)
    with place.database.reading() as session:
        assert set(session.scalars(select(Delivery.state))) == {DeliveryState.WITHDRAWN}
    alive = ScriptedPacs()
    assert place.deliver([to(alive)]) is StudyState.WITHDRAWN
    alive.stop()
    assert alive.received == []


def test_what_a_destination_may_have_is_rejected_too_and_the_running_delivery_loses_the_study(
    place: Workplace, pacs: ScriptedPacs
) -> None:
    class RetractsWhileSending:
        def send(self, _: object) -> object:
            retract(place)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place.deliver([to(pacs)], lambda _: RetractsWhileSending())  # type: ignore[arg-type,return-value]
    assert place.deliver([to(pacs)]) is StudyState.WITHDRAWN
    [(note, rejected)] = key_objects(place).items()
    assert len(rejected) == 4
    assert pacs.received == [note]


def test_a_destination_that_is_down_is_told_when_it_is_back_and_one_that_refuses_is_told_to_the_operator(
    place: Workplace, pacs: ScriptedPacs, viewer: ScriptedPacs
) -> None:
    destinations = [to(pacs), to(viewer, "viewer")]
    place.deliver(destinations)
    retract(place)
    pacs.statuses[KeyObjectSelectionDocumentStorage] = 0xA700
    viewer.statuses[KeyObjectSelectionDocumentStorage] = 0x0122
    assert place.deliver(destinations) is StudyState.SENDING
    pacs.statuses.clear()
    place.advance(1)
    assert place.deliver(destinations) is StudyState.FAILED
    assert "DELIVERY_REFUSED" in str(place.view().reason)
    viewer.statuses.clear()
    with place.database.transaction() as session:
        studies.retry(session, 1, place.clock())
    assert place.deliver(destinations) is StudyState.WITHDRAWN
    assert len(pacs.received) == len(viewer.received) == 5


def test_a_destination_that_is_not_configured_any_more_is_named(place: Workplace, pacs: ScriptedPacs) -> None:
    place.deliver([to(pacs)])
    retract(place)
    assert place.deliver([]) is StudyState.WITHDRAWN
    assert "pacs is not configured any more" in "\n".join(place.view().as_lines())
    assert sweep(place).deliveries == []


def late_instance(place: Workplace) -> None:
    """The set of instances changes, and is complete again."""
    with place.database.transaction() as session:
        position = studies.position_of(session, 1)
        studies.transition(session, position, Move(Cause.LATE_INSTANCE, place.clock()))


def test_a_new_version_says_what_it_supersedes_and_the_old_one_can_be_withdrawn_alone(
    place: Workplace, pacs: ScriptedPacs
) -> None:
    place.deliver([to(pacs)])
    first = {result.kind: result.sop_instance_uid for result in place.view().results}
    late_instance(place)
    place.bundle = FakeBundle(version="2", sha256="1" * 64)
    place.analyzer().analyze(*place.complete())
    second = {result.kind: result.sop_instance_uid for result in place.view().results}
    assert set(first.values()).isdisjoint(second.values())
    report = dcmread(place.settings.results_dir / place.view().results[1].path)
    predecessors = {
        str(item.ReferencedSOPInstanceUID)
        for study in report.PredecessorDocumentsSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert predecessors == {first["report"], first["narrative"]}
    assert place.deliver([to(pacs)]) is StudyState.DELIVERED
    assert sorted(pacs.received) == sorted([*first.values(), *second.values()])
    retract(place, first["summary"])
    assert place.deliver([to(pacs)]) is StudyState.DELIVERED
    assert list(key_objects(place).values()) == [set(first.values())]
    with place.database.reading() as session:
        assert [run.withdrawn_at is not None for run in session.scalars(select(Run).order_by(Run.id))] == [True, False]


def test_the_same_results_again_are_taken_over_sent_once_and_stay_withdrawn(
    place: Workplace, pacs: ScriptedPacs
) -> None:
    pacs.statuses[SegmentationStorage] = 0xA700
    place.deliver([to(pacs)])
    late_instance(place)
    place.analyzer().analyze(*place.complete())
    pacs.statuses.clear()
    place.advance(1)
    assert place.deliver([to(pacs)]) is StudyState.DELIVERED
    assert len(pacs.received) == len(set(pacs.received)) == 4
    assert all(len(contents) == 1 for contents in pacs.held.values())
    late_instance(place)
    retract(place)  # while the next generation is being received
    assert place.state() is StudyState.RECEIVING
    place.analyzer().analyze(*place.complete())
    assert place.deliver([to(pacs)]) is StudyState.WITHDRAWN
    assert len(pacs.received) == 5
    assert place.view().line.generation == 3


def test_a_retraction_is_sent_also_when_the_next_generation_ends_without_results(
    place: Workplace, pacs: ScriptedPacs
) -> None:
    place.deliver([to(pacs)])
    late_instance(place)
    retract(place)
    assert sweep(place).deliveries == []
    with place.database.transaction() as session:
        position = studies.position_of(session, 1)
        queued = studies.transition(session, position, Move(Cause.COMPLETED, place.clock()))
        lease = studies.claim(session, queued, place.clock(), 60)
        studies.transition(session, lease.position, Move(Cause.INELIGIBLE, place.clock()))
    assert sweep(place).deliveries == [place.position()]
    assert place.deliver([to(pacs)]) is StudyState.WITHDRAWN
    assert len(pacs.received) == 5
