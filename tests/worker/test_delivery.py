"""Delivery to a PACS over real associations: every status of PS3.4 B.2.3 that matters, and a PACS that is away."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage
from sqlalchemy import select

from dicom_node.profiles import profile_of
from tests.worker.scripted import ScriptedPacs, Workplace, analyzed
from worker import studies
from worker.destinations import Destination
from worker.records import Delivery, DeliveryState, Study
from worker.states import Cause, StudyState


@pytest.fixture
def pacs() -> Iterator[ScriptedPacs]:
    made = ScriptedPacs()
    yield made
    made.stop()


@pytest.fixture
def place(tmp_path: Path, analyzed_template: Path, pacs: ScriptedPacs) -> Iterator[Workplace]:
    """A study that waits to be sent."""
    with analyzed(analyzed_template, tmp_path / "data", pacs.peer) as made:
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
    assert place.network.calls == 0


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
    place.delivery(destinations=()).deliver(*place.bell.deliveries[0])
    assert "NO_DESTINATION" in str(place.view().reason)


def test_a_result_that_changed_on_disk_is_never_sent(place: Workplace, pacs: ScriptedPacs) -> None:
    path = place.settings.results_dir / place.view().results[0].path
    path.write_bytes(path.read_bytes()[:-2] + b"xx")
    deliver(place)
    assert "RESULT_CORRUPT" in str(place.view().reason)
    assert pacs.received == []


@pytest.fixture
def other() -> Iterator[ScriptedPacs]:
    made = ScriptedPacs()
    yield made
    made.stop()


def to(pacs: ScriptedPacs, name: str = "pacs", profile: str = "default") -> Destination:
    return Destination(name, peer=pacs.peer, profile=profile_of(profile))


def rows(place: Workplace, name: str) -> list[Delivery]:
    with place.database.reading() as session:
        return list(session.scalars(select(Delivery).where(Delivery.destination == name).order_by(Delivery.id)))


def test_each_destination_gets_what_its_profile_asks_for(
    place: Workplace, pacs: ScriptedPacs, other: ScriptedPacs
) -> None:
    assert place.deliver([to(pacs), to(other, "viewer", "minimal")]) is StudyState.DELIVERED
    uids = {result.kind: result.sop_instance_uid for result in place.view().results}
    assert sorted(pacs.received) == sorted(uids.values())
    assert other.received == [uids["narrative"], uids["summary"]]


def test_a_destination_that_is_down_holds_no_other_back_and_is_tried_on_its_own(
    place: Workplace, pacs: ScriptedPacs, other: ScriptedPacs
) -> None:
    pacs.stop()
    destinations = [to(pacs), to(other, "archive")]
    assert place.deliver(destinations) is StudyState.SENDING
    assert len(other.received) == 4
    assert {row.state for row in rows(place, "archive")} == {DeliveryState.ACCEPTED}
    assert {(row.state, row.retries, row.offered_at) for row in rows(place, "pacs")} == {
        (DeliveryState.PENDING, 1, None)
    }
    view = place.view()
    assert "archive" not in str(view.reason)
    assert any(event.detail.endswith("accepted 4 objects") for event in view.events if event.kind == "DESTINATION")
    place.advance(60)
    assert place.deliver(destinations) is StudyState.SENDING
    assert [row.retries for row in rows(place, "pacs")] == [2] * 4
    revived = ScriptedPacs()
    place.advance(60)
    assert place.deliver([to(revived), to(other, "archive")]) is StudyState.DELIVERED
    revived.stop()
    assert (len(revived.received), len(other.received)) == (4, 4)


def test_what_one_destination_refuses_fails_the_study_when_the_others_have_everything(
    place: Workplace, pacs: ScriptedPacs, other: ScriptedPacs
) -> None:
    pacs.statuses[SegmentationStorage] = 0xA900
    other.statuses[Comprehensive3DSRStorage] = 0xA700
    destinations = [to(pacs), to(other, "archive")]
    assert place.deliver(destinations) is StudyState.SENDING
    assert "DELIVERY_REFUSED" in str(place.view().reason)
    other.statuses.clear()
    place.advance(60)
    assert place.deliver(destinations) is StudyState.FAILED
    assert len(other.received) == 4
    assert "0xA900" in str(place.view().reason)
    pacs.statuses.clear()
    retry(place)
    assert place.deliver(destinations) is StudyState.DELIVERED
    assert len(pacs.received) == len(set(pacs.received)) == 4
    assert len(other.received) == 4


def test_a_destination_whose_tries_are_too_old_is_given_up_while_another_is_still_tried(
    place: Workplace, pacs: ScriptedPacs, other: ScriptedPacs
) -> None:
    pacs.stop()
    destinations = [to(pacs), to(other, "archive")]
    place.deliver(destinations)
    other.statuses[SegmentationStorage] = 0xA700
    place.advance(place.settings.retry_age_seconds + 1)
    late = ScriptedPacs({SegmentationStorage: 0xA700})
    assert place.deliver([*destinations, to(late, "late")]) is StudyState.SENDING
    assert {row.failure_code for row in rows(place, "pacs")} == {"DELIVERY_TIMED_OUT"}
    assert len(late.received) == 3
    late.statuses.clear()
    place.advance(60)
    assert place.deliver([*destinations, to(late, "late")]) is StudyState.FAILED
    late.stop()
    assert "DELIVERY_TIMED_OUT" in str(place.view().reason)
    assert len(late.received) == 4


def test_whether_a_destination_may_have_an_object_is_known_before_it_is_sent(
    place: Workplace, pacs: ScriptedPacs
) -> None:
    class DiesWhileSending:
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt(name)

    with pytest.raises(KeyboardInterrupt, match="send"):
        place.deliver([to(pacs)], lambda _: DiesWhileSending())
    assert all(row.offered_at is not None and row.attempts == 1 for row in rows(place, "pacs"))
    pacs.statuses[SegmentationStorage] = 0xA700
    with place.database.transaction() as session:
        position = studies.position_of(session, 1)
        studies.transition(session, position, studies.Move(Cause.LEASE_EXPIRED, place.clock()))
    place.deliver([to(pacs)])
    segmentation = rows(place, "pacs")[0]
    assert (segmentation.state, segmentation.attempts) == (DeliveryState.PENDING, 2)
    assert segmentation.offered_at is not None  # the first try may have brought it there


def test_a_profile_that_the_results_were_not_built_for_is_named_and_a_retry_analyzes_again(
    place: Workplace, pacs: ScriptedPacs
) -> None:
    assert place.deliver([to(pacs, profile="air")]) is StudyState.FAILED
    assert "PROFILE_NOT_BUILT" in str(place.view().reason)
    assert retry(place) is StudyState.QUEUED


def retry(place: Workplace) -> StudyState:
    with place.database.transaction() as session:
        return studies.retry(session, 1, place.clock()).state
