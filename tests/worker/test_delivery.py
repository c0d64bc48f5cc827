"""Delivery to a PACS over real associations: every status of PS3.4 B.2.3 that matters, and a PACS that is away."""

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage
from sqlalchemy import select

from tests.worker.scripted import ScriptedPacs, Workplace, workplace, write_boxes
from worker import studies
from worker.records import Delivery, DeliveryState, Study
from worker.states import StudyState


@pytest.fixture
def pacs() -> Iterator[ScriptedPacs]:
    made = ScriptedPacs()
    yield made
    made.stop()


@pytest.fixture
def place(tmp_path: Path, pacs: ScriptedPacs) -> Iterator[Workplace]:
    """A study that waits to be sent."""
    folder = tmp_path / "boxes"
    write_boxes(folder)
    with workplace(tmp_path / "data", pacs.peer) as made:
        made.receive(folder)
        made.analyzer().analyze(*made.complete())
        assert made.state() is StudyState.SENDING
        yield made


def deliver(place: Workplace) -> None:
    place.delivery().deliver(*place.bell.deliveries[0])


def test_delivered_only_when_every_object_was_accepted(place: Workplace, pacs: ScriptedPacs) -> None:
    deliver(place)
    view = place.view()
    assert view.state is StudyState.DELIVERED
    assert sorted(pacs.received) == sorted(result.sop_instance_uid for result in view.results)
    assert {sent for result in view.results for sent in result.deliveries} == {
        (str(pacs.peer), "ACCEPTED", None)
    } or all(state == "ACCEPTED" for result in view.results for _, state, _ in result.deliveries)
    deliver(place)
    assert len(pacs.received) == 4


def test_one_object_that_the_pacs_has_no_room_for_is_sent_again_alone(place: Workplace, pacs: ScriptedPacs) -> None:
    pacs.statuses[Comprehensive3DSRStorage] = 0xA700
    deliver(place)
    view = place.view()
    assert view.state is StudyState.SENDING
    assert "0xA700" in str(view.reason)
    assert len(pacs.received) == 3
    pacs.statuses.clear()
    after_the_pause = datetime.now(UTC) + timedelta(minutes=1)
    place.clock = lambda: after_the_pause
    deliver(place)
    assert place.state() is StudyState.DELIVERED
    assert len(pacs.received) == 4


def test_an_object_refused_for_good_fails_the_study_with_the_status(place: Workplace, pacs: ScriptedPacs) -> None:
    pacs.statuses[SegmentationStorage] = 0xA900
    deliver(place)
    view = place.view()
    assert view.state is StudyState.FAILED
    assert "DELIVERY_REFUSED" in str(view.reason)
    assert "0xA900" in str(view.reason)
    with place.database.reading() as session:
        rows = session.scalars(select(Delivery).where(Delivery.state == DeliveryState.REFUSED)).all()
    assert [row.last_status for row in rows] == [0xA900]


def test_a_retry_after_a_refusal_sends_the_stored_bytes_again(place: Workplace, pacs: ScriptedPacs) -> None:
    pacs.statuses[SegmentationStorage] = 0xA900
    deliver(place)
    pacs.statuses.clear()
    study_id, generation = place.bell.deliveries[0]
    with place.database.transaction() as session:
        assert studies.retry(session, study_id, place.clock()).state is StudyState.SENDING
    place.delivery().deliver(study_id, generation)
    assert place.state() is StudyState.DELIVERED
    assert place.network.calls == 1


def test_a_pacs_that_is_away_is_waited_for_with_growing_pauses(place: Workplace, pacs: ScriptedPacs) -> None:
    pacs.stop()
    deliver(place)
    with place.database.reading() as session:
        row = session.scalars(select(Study)).one()
    assert row.state is StudyState.SENDING
    assert row.not_before is not None
    assert row.retries == 1


def test_tries_end_after_the_age_and_tell_the_operator(place: Workplace, pacs: ScriptedPacs) -> None:
    pacs.stop()
    deliver(place)
    later = datetime.now(UTC) + timedelta(seconds=place.settings.retry_age_seconds + 1)
    place.clock = lambda: later
    deliver(place)
    view = place.view()
    assert view.state is StudyState.FAILED
    assert "DELIVERY_TIMED_OUT" in str(view.reason)
    assert "cspine echo" in str(view.next_step)


def test_without_a_destination_the_results_stay_and_the_operator_is_told(place: Workplace) -> None:
    place.delivery(dataclasses.replace(place.settings, destination=None)).deliver(*place.bell.deliveries[0])
    assert "NO_DESTINATION" in str(place.view().reason)


def test_a_result_that_changed_on_disk_is_never_sent(place: Workplace, pacs: ScriptedPacs) -> None:
    path = place.settings.results_dir / place.view().results[0].path
    path.write_bytes(path.read_bytes()[:-2] + b"xx")
    deliver(place)
    assert "RESULT_CORRUPT" in str(place.view().reason)
    assert pacs.received == []
