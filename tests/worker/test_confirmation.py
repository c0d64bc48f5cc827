"""Storage commitment over real associations: reports that come at once, later, after a restart, partly, and never."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from dicom_node.commitment_report import CommitmentReport, ReceivedReport
from dicom_node.errors import PeerError
from dicom_node.node import AETitle, Peer
from dicom_node.scp import ScpConfig, StorageSCP
from dicom_node.spool import Spool
from tests.dicom_node.commitment_scp import CommitmentScp, Way
from tests.peers import wait_until
from tests.worker.scripted import RecordsRings, ScriptedPacs, Workplace, analyzed, copy_records, workplace
from worker import studies
from worker.commitments import CommitmentReports, reports_into
from worker.database import Database, GroupCommitWriter
from worker.destinations import CommitmentMode, Destination
from worker.devices import device_of
from worker.intake import Intake
from worker.links import DimseLink, LinkMaker
from worker.records import Commitment, CommitmentState, Delivery, DeliveryState
from worker.retraction import Retraction
from worker.states import Cause, StudyState
from worker.storage import ResultStore
from worker.studies import Move
from worker.sweeps import Sweeps
from worker.versions import superseded

WAIT_SECONDS = 600


@pytest.fixture
def place(tmp_path: Path, analyzed_template: Path) -> Iterator[Workplace]:
    """A study that waits to be sent."""
    with analyzed(analyzed_template, tmp_path / "data") as made:
        made.advance(0)
        yield made


@contextmanager
def running(way: Way, **options: object) -> Iterator[tuple[CommitmentScp, ScriptedPacs]]:
    """A PACS that takes requests for commitment."""
    commitment = CommitmentScp(way, **options)
    pacs = ScriptedPacs(commitment=commitment)
    try:
        yield commitment, pacs
    finally:
        pacs.stop()


def to(pacs: ScriptedPacs) -> list[Destination]:
    mode = CommitmentMode.STORAGE_COMMITMENT
    return [Destination("pacs", peer=pacs.peer, commitment=mode, commitment_wait_seconds=WAIT_SECONDS)]


@contextmanager
def listener(settings_of: Workplace) -> Iterator[Peer]:
    """Our listener, as a process that started just now."""
    database = Database.open(settings_of.settings.effective_database_url)
    writer = GroupCommitWriter(database)
    spool = Spool(settings_of.settings.spool_dir, min_free_bytes=1)
    config = ScpConfig(AETitle("CSPINE"), port=0, min_free_bytes=1)
    scp = StorageSCP(config, spool, Intake(writer), CommitmentReports(writer.write))
    scp.start()
    try:
        yield Peer(AETitle("CSPINE"), "127.0.0.1", scp.port)
    finally:
        scp.shutdown()
        writer.close()
        database.close()


def commitments(place: Workplace) -> list[Commitment]:
    with place.database.reading() as session:
        return list(session.scalars(select(Commitment).order_by(Commitment.id)))


def rows(place: Workplace) -> list[Delivery]:
    with place.database.reading() as session:
        return list(session.scalars(select(Delivery).order_by(Delivery.id)))


def sweep(place: Workplace) -> RecordsRings:
    bell = RecordsRings()
    Sweeps(place.database, place.settings, bell, place.clock).run()
    return bell


def test_a_report_on_the_same_association_confirms_at_once(place: Workplace) -> None:
    with running(Way.SAME_ASSOCIATION) as (commitment, pacs):
        assert place.deliver(to(pacs)) is StudyState.CONFIRMED
    assert {row.state for row in rows(place)} == {DeliveryState.CONFIRMED}
    [transaction] = commitments(place)
    assert transaction.state is CommitmentState.CONCLUDED
    assert [str(request.TransactionUID) for request in commitment.requests] == [transaction.transaction_uid]
    view = place.view()
    assert [event.kind for event in view.events][-5:] == [
        "DESTINATION",
        "COMMITMENT",
        "COMMITMENT",
        "DELIVERED",
        "CONFIRMED",
    ]
    assert "committed itself to 4 of 4 objects" in "\n".join(view.as_lines())


def test_a_report_that_comes_after_a_restart_of_everything_of_ours_confirms(place: Workplace) -> None:
    with running(Way.NEVER) as (commitment, pacs):
        assert place.deliver(to(pacs)) is StudyState.DELIVERED
        assert sweep(place).deliveries == []
        with listener(place) as ours:
            commitment.report_to = ours
            commitment.report_anew(commitment.report_of(commitment.requests[0]))
            wait_until(lambda: commitment.statuses == [0x0000], 10, "the answer to the report")
        assert [item.state for item in commitments(place)] == [CommitmentState.REPORTED]
        assert place.state() is StudyState.DELIVERED
        assert sweep(place).deliveries == [place.position()]
        assert place.deliver(to(pacs)) is StudyState.CONFIRMED
        assert len(commitment.requests) == 1
        assert len(pacs.received) == 4


def test_a_report_that_was_kept_back_is_collected_when_the_time_to_wait_is_over(place: Workplace) -> None:
    with running(Way.LATER_ASSOCIATION) as (_, pacs):
        assert place.deliver(to(pacs)) is StudyState.DELIVERED
        place.advance(WAIT_SECONDS)
        assert place.deliver(to(pacs)) is StudyState.CONFIRMED


def test_what_the_report_calls_missing_is_sent_again_alone_and_asked_about_again(place: Workplace) -> None:
    with running(Way.SAME_ASSOCIATION) as (commitment, pacs):
        lost = place.view().results[1].sop_instance_uid
        commitment.missing = frozenset({lost})
        assert place.deliver(to(pacs)) is StudyState.SENDING
        assert sorted(row.state.value for row in rows(place)) == ["CONFIRMED"] * 3 + ["PENDING"]
        assert "0x0112" in str(place.view().reason)
        commitment.missing = frozenset()
        assert place.deliver(to(pacs)) is StudyState.SENDING  # in its pause
        place.advance(1)
        assert place.deliver(to(pacs)) is StudyState.CONFIRMED
        assert pacs.received.count(lost) == 2
        assert len(pacs.received) == 5
        second = commitment.requests[1].ReferencedSOPSequence
        assert [item.ReferencedSOPInstanceUID for item in second] == [lost]


def test_what_is_never_kept_is_sent_a_limited_number_of_times_and_the_operator_is_told(place: Workplace) -> None:
    with running(Way.SAME_ASSOCIATION) as (commitment, pacs):
        lost = place.view().results[0].sop_instance_uid
        commitment.missing = frozenset({lost})
        states = []
        while not states or states[-1] is StudyState.SENDING:
            states.append(place.deliver(to(pacs)))
            place.advance(1)
            assert len(states) < 10
        assert states == [StudyState.SENDING] * 3 + [StudyState.FAILED]
        assert pacs.received.count(lost) == 4
        view = place.view()
        assert "NOT_KEPT" in str(view.reason)
        assert view.next_step
        commitment.missing = frozenset()
        with place.database.transaction() as session:
            studies.retry(session, 1, place.clock())
        assert place.deliver(to(pacs)) is StudyState.CONFIRMED


def test_a_peer_that_never_reports_is_queried_and_one_that_cannot_be_queried_is_told_to_the_operator(
    place: Workplace,
) -> None:
    with running(Way.NEVER) as (commitment, pacs):
        assert place.deliver(to(pacs)) is StudyState.DELIVERED
        place.advance(WAIT_SECONDS - 1)
        assert place.deliver(to(pacs)) is StudyState.DELIVERED
        place.advance(1)
        assert sweep(place).deliveries == [place.position()]
        assert place.deliver(to(pacs)) is StudyState.FAILED
        view = place.view()
        assert "NOT_CONFIRMED" in str(view.reason)
        assert "commitment" in str(view.next_step)
        assert len(commitment.requests) == 1
        late = reports_into(place.database)
        late.record_report(received(commitments(place)[0]))
        with place.database.transaction() as session:
            studies.retry(session, 1, place.clock())
        assert place.deliver(to(pacs)) is StudyState.CONFIRMED
        assert len(pacs.received) == 4


def received(transaction: Commitment, **changes: object) -> ReceivedReport:
    """A report that everything of the transaction is committed."""
    values = {
        "transaction_uid": transaction.transaction_uid,
        "committed": frozenset(transaction.instances),
        "failed": {},
        "ae_title": transaction.ae_title,
        **changes,
    }
    title = str(values.pop("ae_title"))
    return ReceivedReport(CommitmentReport(**values), title, datetime.now(UTC))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "lie",
    [
        {"transaction_uid": "2.25.1"},
        {"ae_title": "OTHER"},
        {"committed": frozenset({"2.25.2"})},
    ],
)
def test_a_report_that_nobody_asked_this_peer_for_changes_nothing(place: Workplace, lie: dict[str, object]) -> None:
    with running(Way.NEVER) as (_, pacs):
        place.deliver(to(pacs))
        [transaction] = commitments(place)
        reports = reports_into(place.database)
        reports.record_report(received(transaction, **lie))
        assert [item.state for item in commitments(place)] == [CommitmentState.REQUESTED]


def test_of_two_reports_the_first_counts_and_what_it_does_not_speak_of_is_not_confirmed(place: Workplace) -> None:
    with running(Way.NEVER) as (_, pacs):
        place.deliver(to(pacs))
        [transaction] = commitments(place)
        uids = list(transaction.instances)
        reports = reports_into(place.database)
        reports.record_report(received(transaction, committed=frozenset({*uids[:3], "2.25.2"})))
        reports.record_report(received(transaction, committed=frozenset(), failed=dict.fromkeys(uids, 0x0112)))
        sweep(place)
        assert place.deliver(to(pacs)) is StudyState.FAILED  # the fourth was queried for, which this PACS cannot
        assert sorted(row.state.value for row in rows(place)) == ["ACCEPTED"] + ["CONFIRMED"] * 3


@pytest.mark.parametrize(("status", "attempts"), [(0x0213, 2), (0x0110, 2)])
def test_a_request_that_is_not_taken_for_the_time_being_is_made_again_under_another_uid(
    place: Workplace, status: int, attempts: int
) -> None:
    with running(Way.SAME_ASSOCIATION, action_status=status) as (commitment, pacs):
        assert place.deliver(to(pacs)) is StudyState.DELIVERED
        assert [item.state for item in commitments(place)] == [CommitmentState.FAILED]
        commitment.action_status = 0x0000
        place.advance(1)
        assert place.deliver(to(pacs)) is StudyState.CONFIRMED
        made = commitments(place)
        assert len({item.transaction_uid for item in made}) == len(made) == attempts


class Dies(DimseLink):
    """A link that is cut off by the end of its process, before or after the request."""

    def request_commitment(self, *_: object) -> None:
        raise KeyboardInterrupt


def test_the_transaction_is_in_the_records_before_its_request_and_is_not_asked_for_twice(place: Workplace) -> None:
    with running(Way.SAME_ASSOCIATION) as (commitment, pacs):
        with pytest.raises(KeyboardInterrupt):
            place.deliver(to(pacs), lambda _: Dies(pacs.peer, "CSPINE"))
        [transaction] = commitments(place)
        assert transaction.state is CommitmentState.REQUESTED
        with place.database.transaction() as session:
            position = studies.position_of(session, 1)
            studies.transition(session, position, Move(Cause.LEASE_EXPIRED, place.clock()))
        assert place.deliver(to(pacs)) is StudyState.DELIVERED
        assert commitment.requests == []  # whether it was sent is not known: the report, or the query, will tell
        reports_into(place.database).record_report(received(transaction))
        sweep(place)
        assert place.deliver(to(pacs)) is StudyState.CONFIRMED
        assert len(pacs.received) == 4


def test_a_study_that_needs_no_confirmation_stays_delivered(place: Workplace) -> None:
    with running(Way.SAME_ASSOCIATION) as (_, pacs):
        assert place.deliver([Destination("pacs", peer=pacs.peer)]) is StudyState.DELIVERED
        assert sweep(place).deliveries == []
        place.advance(86400)
        assert sweep(place).deliveries == []
    assert commitments(place) == []


def test_a_late_instance_begins_a_new_generation_also_while_a_confirmation_is_awaited(place: Workplace) -> None:
    with running(Way.NEVER) as (_, pacs):
        place.deliver(to(pacs))
        with place.database.transaction() as session:
            position = studies.position_of(session, 1)
            studies.transition(session, position, Move(Cause.LATE_INSTANCE, place.clock()))
        assert place.deliver(to(pacs)) is StudyState.RECEIVING
        assert sweep(place).deliveries == []


def test_files_that_a_link_needs_and_that_are_gone_are_waited_for(place: Workplace) -> None:
    def no_files(_: Destination) -> DimseLink:
        raise PeerError("the file cannot be read", code="TLS_FILES", permanent=False)

    with running(Way.NEVER) as (_, pacs):
        assert place.deliver(to(pacs), no_files) is StudyState.SENDING
        place.advance(1)
        assert place.deliver(to(pacs), LinkMaker("CSPINE")) is StudyState.DELIVERED


def test_a_report_of_a_destination_that_is_not_asked_any_more_wakes_a_study_once(place: Workplace) -> None:
    with running(Way.NEVER) as (_, pacs):
        down = Destination("down", peer=Peer.parse("GONE@127.0.0.1:9"))
        place.deliver([*to(pacs), down])
        reports_into(place.database).record_report(received(commitments(place)[0]))
        assert sweep(place).deliveries == [place.position()]
        assert place.deliver([Destination("pacs", peer=pacs.peer), down]) is StudyState.SENDING
        assert sweep(place).deliveries == []


@pytest.mark.peer
def test_the_same_way_with_postgresql_to_confirmed_and_withdrawn(
    tmp_path: Path, analyzed_template: Path, empty_postgresql: str
) -> None:
    shutil.copytree(analyzed_template, tmp_path / "data")
    with (
        running(Way.SAME_ASSOCIATION) as (commitment, pacs),
        workplace(tmp_path / "data") as source,
        workplace(tmp_path / "data", database_url=empty_postgresql) as place,
    ):
        copy_records(source.database, place.database)
        place.advance(0)
        commitment.missing = frozenset({place.view().results[3].sop_instance_uid})
        assert place.deliver(to(pacs)) is StudyState.SENDING
        commitment.missing = frozenset()
        place.advance(1)
        assert place.deliver(to(pacs)) is StudyState.CONFIRMED
        store = ResultStore(place.settings.results_dir)
        retraction = Retraction(place.database, store, device_of(place.settings), datetime.now(UTC))
        assert retraction.retract(place.view().line.study_instance_uid).objects == 4
        assert sweep(place).deliveries == [place.position()]
        assert place.deliver(to(pacs)) is StudyState.WITHDRAWN
        assert len(pacs.received) == 6
        with place.database.transaction() as session:
            position = studies.position_of(session, 1)
            studies.transition(session, position, Move(Cause.LATE_INSTANCE, place.clock()))
        with place.database.reading() as session:
            assert superseded(session, store, 1) == ()
