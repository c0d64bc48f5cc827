"""worker.studies: compare-and-set, leases, fencing, retries, the timeline; and that nobody else writes a state."""

import ast
import multiprocessing
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from tests.conftest import PROJECT
from tests.worker.conftest import FakeClock
from tests.worker.test_records import make_run
from worker import studies
from worker.database import Database
from worker.failures import Failure, FailureCode
from worker.records import Delivery, DeliveryState, ResultObject, Study, StudyEvent
from worker.states import RENEWING, TRANSITIONS, Cause, ForbiddenMove, StudyState
from worker.studies import Arrival, Lease, Move, Position, StaleStudy, UnknownStudy

S, C = StudyState, Cause
NOW = FakeClock()()


def new(database: Database, uid: str = "1.1") -> Position:
    with database.transaction() as session:
        study_id = studies.create(session, Arrival(uid, "PACS", "10.0.0.1", NOW))
    assert study_id is not None
    return Position(study_id, S.RECEIVING, 1)


def move(database: Database, position: Position, cause: Cause, **more) -> Position:
    with database.transaction() as session:
        return studies.transition(session, position, Move(cause, NOW, **more))


def queued(database: Database, uid: str = "1.1") -> Position:
    return move(database, new(database, uid), C.COMPLETED, completed_by="quiet")


def claim(database: Database, position: Position, at=NOW) -> Lease:
    with database.transaction() as session:
        return studies.claim(session, position, at, 60)


def row(database: Database, study_id: int) -> Study:
    with database.reading() as session:
        return session.get_one(Study, study_id)


def events(database: Database, study_id: int) -> list[StudyEvent]:
    with database.reading() as session:
        return list(session.scalars(select(StudyEvent).where(StudyEvent.study_id == study_id).order_by(StudyEvent.id)))


def test_a_study_travels_to_its_delivery_and_every_move_is_in_its_timeline(database: Database):
    lease = claim(database, queued(database))
    sending = move(database, lease.position, C.ANALYZED)
    delivery = claim(database, sending)
    move(database, delivery.position, C.DELIVERED, detail="4 objects")
    told = [(event.kind, event.old_state, event.new_state) for event in events(database, lease.study_id)]
    assert told == [
        ("CREATED", None, S.RECEIVING),
        ("COMPLETED", S.RECEIVING, S.QUEUED),
        ("CLAIMED", S.QUEUED, S.ANALYZING),
        ("ANALYZED", S.ANALYZING, S.SENDING),
        ("CLAIMED", S.SENDING, S.SENDING),
        ("DELIVERED", S.SENDING, S.DELIVERED),
    ]
    study = row(database, lease.study_id)
    assert (study.state, study.lease_token, study.attempts, study.completed_by) == (S.DELIVERED, None, 2, "quiet")


def test_a_study_is_created_once(database: Database):
    new(database)
    with database.transaction() as session:
        assert studies.create(session, Arrival("1.1", "OTHER", "10.0.0.2", NOW)) is None


def test_who_believes_the_wrong_thing_is_told_so(database: Database):
    position = queued(database)
    for wrong in (
        Position(position.study_id, S.RECEIVING, 1),
        Position(position.study_id, S.RECEIVING, 2),
        Position(4711, S.RECEIVING, 1),
        Position(position.study_id, S.RECEIVING, 1, "token"),
    ):
        with pytest.raises(StaleStudy):
            move(database, wrong, C.COMPLETED)
    assert row(database, position.study_id).state is S.QUEUED
    assert len(events(database, position.study_id)) == 2


def test_an_unknown_study_has_no_position(database: Database):
    with pytest.raises(UnknownStudy), database.transaction() as session:
        studies.position_of(session, 4711)


def test_the_event_and_the_move_are_one_transaction(database: Database):
    position = new(database)
    with suppress(ZeroDivisionError), database.transaction() as session:
        studies.transition(session, position, Move(C.COMPLETED, NOW))
        raise ZeroDivisionError
    assert row(database, position.study_id).state is S.RECEIVING
    assert len(events(database, position.study_id)) == 1


def test_a_claim_needs_claim(database: Database):
    with pytest.raises(ForbiddenMove, match="claim"):
        move(database, queued(database), C.CLAIMED)


def test_of_many_threads_exactly_one_claims(database: Database):
    position = queued(database)

    def attempt(_: int) -> Lease | None:
        try:
            return claim(database, position)
        except StaleStudy:
            return None

    with ThreadPoolExecutor(8) as pool:
        won = [lease for lease in pool.map(attempt, range(24)) if lease is not None]
    assert len(won) == 1
    assert row(database, position.study_id).lease_token == won[0].position.lease_token
    assert row(database, position.study_id).attempts == 1


def claim_all(url: str, study_ids: list[int], start, won) -> None:
    database = Database.open(url)
    start.wait(60)
    for study_id in study_ids:
        try:
            with database.transaction() as session:
                lease = studies.claim(session, Position(study_id, S.QUEUED, 1), NOW, 60)
            won.put((study_id, lease.position.lease_token))
        except StaleStudy:
            continue
    database.close()


def test_of_many_processes_exactly_one_claims_each_study(database: Database, database_url: str):
    study_ids = [queued(database, f"1.{number}").study_id for number in range(10)]
    context = multiprocessing.get_context("spawn")
    start, won = context.Event(), context.Queue()
    processes = [context.Process(target=claim_all, args=(database_url, study_ids, start, won)) for _ in range(3)]
    for process in processes:
        process.start()
    start.set()
    claims = [won.get(timeout=60) for _ in study_ids]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert won.empty()
    assert sorted(study_id for study_id, _ in claims) == study_ids
    assert all(row(database, study_id).lease_token == token for study_id, token in claims)


def test_a_postponed_study_cannot_be_claimed_before_its_time(database: Database):
    lease = claim(database, queued(database))
    later = NOW + timedelta(seconds=30)
    position = move(database, lease.position, C.POSTPONED, not_before=later)
    with pytest.raises(StaleStudy):
        claim(database, position, later - timedelta(seconds=1))
    again = claim(database, position, later)
    assert (again.attempt, again.retries, again.first_failed_at) == (2, 1, NOW)


def test_the_first_failure_is_remembered_over_later_ones(database: Database):
    position = queued(database)
    for _ in range(3):
        position = move(database, claim(database, position).position, C.POSTPONED)
    study = row(database, position.study_id)
    assert (study.retries, study.first_failed_at, study.crashes) == (3, NOW, 0)


def test_a_lease_is_renewed_with_progress_until_it_is_lost(database: Database):
    lease = claim(database, queued(database))
    later = NOW + timedelta(seconds=15)
    with database.transaction() as session:
        renewed = studies.renew(session, lease, later, 60, "predict")
        studies.held(session, lease)
    assert renewed.expires_at == later + timedelta(seconds=60)
    study = row(database, lease.study_id)
    assert (study.progress, study.progressed_at, study.lease_expires_at) == ("predict", later, renewed.expires_at)
    move(database, lease.position, C.LEASE_EXPIRED)
    for check in (lambda s: studies.renew(s, lease, later, 60), lambda s: studies.held(s, lease)):
        with pytest.raises(StaleStudy), database.transaction() as session:
            check(session)


def test_a_worker_that_lost_its_lease_cannot_write_after_the_next_one(database: Database):
    first = claim(database, queued(database))
    again = move(database, first.position, C.LEASE_EXPIRED)
    second = claim(database, again)
    with pytest.raises(StaleStudy):
        move(database, first.position, C.ANALYZED)
    assert second.attempt == first.attempt + 1
    assert move(database, second.position, C.ANALYZED).state is S.SENDING


def test_crashes_are_counted_and_forgiven_by_success(database: Database):
    position = queued(database)
    for expected, cause in enumerate((C.LEASE_EXPIRED, C.CRASHED), 1):
        position = move(database, claim(database, position).position, cause)
        assert row(database, position.study_id).crashes == expected
    move(database, claim(database, position).position, C.ANALYZED)
    assert row(database, position.study_id).crashes == 0


@pytest.mark.parametrize("cause", [C.LATE_INSTANCE, C.REVISED_INSTANCE])
def test_a_late_instance_voids_a_running_analysis(database: Database, cause: Cause):
    lease = claim(database, queued(database))
    position = move(database, lease.position, cause)
    assert position == Position(lease.study_id, S.RECEIVING, 2)
    with pytest.raises(StaleStudy):
        move(database, lease.position, C.ANALYZED)
    study = row(database, lease.study_id)
    assert (study.completed_by, study.crashes, study.lease_token) == (None, 0, None)


def fail(database: Database, position: Position, code: FailureCode) -> Position:
    cause = C.ANALYSIS_FAILED if position.state is S.ANALYZING else C.DELIVERY_FAILED
    return move(database, position, cause, failure=Failure(code, "why"))


def analyzed(database: Database, uid: str = "1.1") -> Position:
    lease = claim(database, queued(database, uid))
    with database.transaction() as session:
        session.add(make_run(lease.study_id))
        return studies.transition(session, lease.position, Move(C.ANALYZED, NOW))


def retry(database: Database, study_id: int) -> Position:
    with database.transaction() as session:
        return studies.retry(session, study_id, NOW)


def test_a_failure_is_kept_until_the_operator_tries_again(database: Database):
    failed = fail(database, claim(database, queued(database)).position, FailureCode.UNUSABLE_SERIES)
    assert row(database, failed.study_id).failure_code == "UNUSABLE_SERIES"
    assert retry(database, failed.study_id) == Position(failed.study_id, S.QUEUED, 1)
    assert row(database, failed.study_id).failure_code is None


def test_a_skipped_study_can_be_tried_again(database: Database):
    lease = claim(database, queued(database))
    move(database, lease.position, C.INELIGIBLE, failure=Failure(FailureCode.INELIGIBLE, "no CT"))
    assert retry(database, lease.study_id).state is S.QUEUED


@pytest.mark.parametrize("code", [FailureCode.DELIVERY_REFUSED, FailureCode.PEER, FailureCode.POISON])
def test_only_the_delivery_is_repeated_where_only_it_failed(database: Database, code: FailureCode):
    failed = fail(database, claim(database, analyzed(database)).position, code)
    assert retry(database, failed.study_id) == Position(failed.study_id, S.SENDING, 1)


@pytest.mark.parametrize("code", [FailureCode.RESULT_CORRUPT, FailureCode.PROFILE_NOT_BUILT])
def test_results_that_are_no_good_are_made_again_in_a_new_generation(database: Database, code: FailureCode):
    failed = fail(database, claim(database, analyzed(database)).position, code)
    assert retry(database, failed.study_id) == Position(failed.study_id, S.QUEUED, 2)
    study = row(database, failed.study_id)
    assert study.completed_by == "quiet"


def test_a_retry_of_the_delivery_tries_again_what_was_given_up_and_nothing_that_was_accepted(database: Database):
    position = analyzed(database)
    with database.transaction() as session:
        [result] = session.scalars(select(ResultObject))
        for name, delivery_state, code in (
            ("down", DeliveryState.PENDING, None),
            ("closed", DeliveryState.REFUSED, "DELIVERY_REFUSED"),
            ("silent", DeliveryState.ACCEPTED, "NOT_CONFIRMED"),
            ("good", DeliveryState.ACCEPTED, None),
        ):
            row = Delivery(result_object_id=result.id, destination=name, state=delivery_state, failure_code=code)
            row.retries, row.first_failed_at, row.next_try_at = 3, NOW, NOW + timedelta(days=1)
            session.add(row)
    failed = fail(database, claim(database, position).position, FailureCode.DELIVERY_REFUSED)
    retry(database, failed.study_id)
    with database.reading() as session:
        told = {
            row.destination: (row.state, row.failure_code, row.retries, row.first_failed_at, row.next_try_at)
            for row in session.scalars(select(Delivery))
        }
    begun_anew = (None, 0, None, None)
    assert told == {
        "down": (DeliveryState.PENDING, *begun_anew),
        "closed": (DeliveryState.PENDING, *begun_anew),
        "silent": (DeliveryState.ACCEPTED, *begun_anew),
        "good": (DeliveryState.ACCEPTED, None, 3, NOW, NOW + timedelta(days=1)),
    }


def test_a_delivered_study_is_claimed_only_where_a_confirmation_is_awaited(database: Database):
    delivered = move(database, claim(database, analyzed(database)).position, C.DELIVERED)
    with pytest.raises(StaleStudy):
        claim(database, delivered, NOW + timedelta(days=1))
    study_id = analyzed(database, "1.2").study_id
    sending = claim(database, Position(study_id, S.SENDING, 1))
    awaiting = move(database, sending.position, C.DELIVERED, not_before=NOW + timedelta(seconds=10))
    with pytest.raises(StaleStudy):
        claim(database, awaiting)
    lease = claim(database, awaiting, NOW + timedelta(seconds=10))
    assert lease.position.state is S.DELIVERED
    assert move(database, lease.position, C.CONFIRMED).state is S.CONFIRMED


@pytest.mark.parametrize("how", [new, queued, analyzed])
def test_a_study_that_has_not_ended_cannot_be_retried(database: Database, how):
    position = how(database)
    with pytest.raises(ForbiddenMove):
        retry(database, position.study_id)


class AnyHistory(RuleBasedStateMachine):
    """Random moves by honest and by stale callers, against a plain model of the row."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.counter = 0

    @initialize()
    def create(self) -> None:
        AnyHistory.number = getattr(AnyHistory, "number", 0) + 1
        self.here = new(self.database, f"9.{AnyHistory.number}")
        self.past: list[Position] = []
        self.events = 1
        self.attempts = 0

    @rule(cause=st.sampled_from([cause for cause in Cause if cause is not C.CLAIMED]))
    def honest_move(self, cause: Cause) -> None:
        if (self.here.state, cause) not in TRANSITIONS:
            with pytest.raises(ForbiddenMove):
                move(self.database, self.here, cause)
            return
        before, self.here = self.here, move(self.database, self.here, cause)
        assert self.here.state is TRANSITIONS[before.state, cause]
        assert self.here.generation == before.generation + (cause in RENEWING)
        self.past.append(before)
        self.events += 1

    @precondition(lambda self: self.here.state in {S.QUEUED, S.SENDING} and self.here.lease_token is None)
    @rule()
    def honest_claim(self) -> None:
        self.past.append(self.here)
        lease = claim(self.database, self.here)
        self.here = lease.position
        self.events += 1
        self.attempts += 1
        assert lease.attempt == self.attempts

    @precondition(lambda self: [position for position in self.past if position != self.here])
    @rule(data=st.data())
    def stale_move(self, data: st.DataObject) -> None:
        stale = data.draw(st.sampled_from([position for position in self.past if position != self.here]))
        causes = [cause for state, cause in TRANSITIONS if state is stale.state and cause is not C.CLAIMED]
        with pytest.raises(StaleStudy):
            move(self.database, stale, data.draw(st.sampled_from(causes)))

    @invariant()
    def the_row_is_where_the_model_is(self) -> None:
        if not hasattr(self, "here"):
            return
        study = row(self.database, self.here.study_id)
        assert (study.state, study.generation, study.lease_token) == (
            self.here.state,
            self.here.generation,
            self.here.lease_token,
        )
        assert (study.lease_token is None) == (study.lease_expires_at is None)
        told = events(self.database, study.id)
        assert len(told) == self.events
        assert told[-1].new_state is study.state


def test_any_history_of_moves_keeps_to_the_table(sqlite_database: Database):
    AnyHistory.database = sqlite_database
    run_state_machine_as_test(
        AnyHistory,
        settings=settings(
            max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def assigned_names(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return [
            part for target in node.targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])
        ]
    return [node.target] if isinstance(node, ast.AnnAssign | ast.AugAssign) else []


def writes_state(node: ast.AST) -> bool:
    """Whether the node assigns ``….state`` (but of a delivery or commitment), makes a Study, or updates its state."""
    targets = [
        target for target in assigned_names(node) if isinstance(target, ast.Attribute) and target.attr == "state"
    ]
    if any(re.search("deliver|commitment", ast.unparse(target)) is None for target in targets):
        return True
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    makes = called == "Study" or (called.endswith("insert_once") and "Study" in map(ast.unparse, node.args))
    names = {keyword.arg for keyword in node.keywords}
    unclear = bool(node.args) or not names or None in names
    updates = "update(Study)" in called and called.endswith(".values")
    return makes or (updates and (unclear or bool(names & {"state", "generation", "lease_token"})))


def test_studies_is_the_only_writer_of_a_state():
    offenders = []
    for path in sorted((PROJECT / "worker").rglob("*.py")):
        if path.name == "studies.py" or "migrations" in path.parts:
            continue
        source = path.read_text()
        in_sql = re.search(r"(?i)update\s+studies|insert\s+into\s+studies", source)
        found = [ast.unparse(node) for node in ast.walk(ast.parse(source)) if writes_state(node)]
        offenders += [(path.name, text) for text in [*found, *([in_sql[0]] if in_sql else [])]]
    assert offenders == []


@pytest.mark.parametrize(
    "source",
    [
        "study.state = 1",
        "study.generation, study.state = 2, 3",
        "session.execute(update(Study).where(x).values(state=1))",
        "session.execute(update(Study).values(values))",
        "session.add(Study(state=1))",
        "insert_once(session, Study, values)",
    ],
)
def test_a_second_writer_of_a_state_would_be_noticed(source: str):
    assert any(writes_state(node) for node in ast.walk(ast.parse(source)))
