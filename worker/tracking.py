"""The rows of deliveries: what of a study's results each destination has, is still to get, or was given up on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, case, or_, select, update
from sqlalchemy.orm import Session, contains_eager

from dicom_node.profiles import variants_of
from worker.destinations import Destination
from worker.failures import Failure, FailureCode
from worker.records import RETRACTION, Delivery, DeliveryState, ResultObject, Run


class ProfileNotBuilt(Exception):
    """The run lacks an object that a destination's profile must have: the message says which."""


@dataclass(frozen=True, slots=True)
class Track:
    """One destination and its rows of a study, in sending order; Key Objects that withdraw results come first."""

    destination: Destination
    rows: tuple[Delivery, ...]

    @property
    def pending(self) -> tuple[Delivery, ...]:
        """What is still to be sent."""
        return tuple(row for row in self.rows if row.state is DeliveryState.PENDING)

    @property
    def given_up(self) -> tuple[Delivery, ...]:
        """What only the operator can have tried again."""
        return tuple(row for row in self.rows if row.state is DeliveryState.REFUSED or row.failure_code is not None)

    @property
    def unconfirmed(self) -> tuple[Delivery, ...]:
        """What was accepted and is to be confirmed, where the destination is asked for that."""
        if not self.destination.confirms:
            return ()
        return tuple(row for row in self.rows if _to_confirm(row))

    @property
    def confirmed(self) -> bool:
        """Whether a confirmation is asked for and everything has it."""
        states = {row.state for row in self.rows if row.result_object.kind != RETRACTION}
        return self.destination.confirms and states == {DeliveryState.CONFIRMED}

    def next_at(self, now: datetime) -> datetime | None:
        """When this destination is to be looked at again; None where there is nothing to do."""
        return min((row.next_try_at or now for row in (*self.pending, *self.unconfirmed)), default=None)

    @property
    def complaint(self) -> Failure | None:
        """What does not go well, the worst first: a code and a text for the operator, without any identity."""
        tried = [*self.pending, *self.unconfirmed]
        troubled = [*self.given_up, *(row for row in tried if row.retries > 0 or row.state is DeliveryState.PENDING)]
        if not troubled:
            return None
        worst = troubled[0]
        reason = worst.comment or "no answer"
        if worst.last_status is not None:
            reason = f"status 0x{worst.last_status:04X} ({reason})"
        doing = "did not accept" if worst.state in {DeliveryState.PENDING, DeliveryState.REFUSED} else "did not confirm"
        text = f"{self.destination} {doing} {len(troubled)} of {len(self.rows)} objects: {reason}"
        code = FailureCode.DELIVERY_REFUSED if worst.state is DeliveryState.REFUSED else FailureCode.PEER
        return Failure(worst.failure_code or code, text)


def is_due(row: Delivery, now: datetime) -> bool:
    """Whether the row's pause is over."""
    return row.next_try_at is None or row.next_try_at <= now


def track_of(session: Session, study_id: int, generation: int, destination: Destination) -> Track:
    """What a destination has to do with a study in this generation; withdrawn results are left out."""
    query = (
        select(Delivery)
        .join(Delivery.result_object)
        .join(ResultObject.run)
        .options(contains_eager(Delivery.result_object))
        .where(
            Run.study_id == study_id,
            Delivery.destination == destination.name,
            Delivery.state != DeliveryState.WITHDRAWN,
            concerned(generation),
            or_(ResultObject.kind == RETRACTION, Run.withdrawn_at.is_(None)),
        )
        .order_by(ResultObject.kind != RETRACTION, ResultObject.id)
    )
    return Track(destination, tuple(session.scalars(query)))


def concerned(generation: int) -> ColumnElement[bool]:
    """Results that a delivery in this generation has to do with: its own, and Key Objects that withdraw any others."""
    return or_(ResultObject.kind == RETRACTION, Run.generation == generation)


def current_run(session: Session, study_id: int, generation: int) -> Run | None:
    """The run of this generation unless it has none or its results are withdrawn."""
    run = session.scalar(select(Run).where(Run.study_id == study_id, Run.generation == generation))
    return None if run is None or run.withdrawn_at is not None else run


def plan(session: Session, run: Run, destinations: Sequence[Destination]) -> None:
    """Make the rows that are missing of what each destination's profile asks for; raises ``ProfileNotBuilt``."""
    made = [row for row in run.results if row.identity == 0 and row.kind != RETRACTION]
    for destination in destinations:
        query = select(ResultObject.variant).join(ResultObject.deliveries)
        query = query.where(ResultObject.run_id == run.id, Delivery.destination == destination.name)
        planned = set(session.scalars(query))
        try:
            wanted = variants_of(destination.profile, made)
        except ValueError as error:
            raise ProfileNotBuilt(f"{destination}: {error}") from error
        for result in wanted:
            if result.variant not in planned:
                session.add(Delivery(result_object_id=result.id, destination=destination.name))
    session.flush()


def start_over(session: Session, run: Run, destination: Destination) -> None:
    """What the destination was given, or refused, of a run is sent once more; what was withdrawn is not."""
    results = select(ResultObject.id).where(ResultObject.run_id == run.id, ResultObject.kind != RETRACTION)
    again = (DeliveryState.ACCEPTED, DeliveryState.CONFIRMED, DeliveryState.REFUSED, DeliveryState.PENDING)
    statement = (
        update(Delivery)
        .where(
            Delivery.result_object_id.in_(results), Delivery.destination == destination.name, Delivery.state.in_(again)
        )
        .values(
            state=DeliveryState.PENDING,
            retries=0,
            resends=0,
            first_failed_at=None,
            next_try_at=None,
            accepted_at=None,
            confirmed_at=None,
            failure_code=None,
        )
        .execution_options(synchronize_session=False)
    )
    session.execute(statement)


def give_up_on_strangers(session: Session, study_id: int, destinations: Sequence[Destination]) -> Sequence[str]:
    """Retractions that wait for a destination which is not configured any more end here; return its names."""
    query = (
        select(Delivery)
        .join(Delivery.result_object)
        .join(ResultObject.run)
        .where(
            Run.study_id == study_id,
            ResultObject.kind == RETRACTION,
            Delivery.state == DeliveryState.PENDING,
            Delivery.destination.not_in([destination.name for destination in destinations]),
        )
    )
    waiting = session.scalars(query).all()
    for delivery in waiting:
        delivery.state, delivery.failure_code = DeliveryState.REFUSED, FailureCode.NO_DESTINATION
    return sorted({delivery.destination for delivery in waiting})


def forgive(session: Session, study_id: int, generation: int) -> None:
    """The operator's retry: what was given up is tried again, at once, with a back-off that begins anew."""
    results = select(ResultObject.id).join(Run).where(Run.study_id == study_id, concerned(generation))
    again = case((Delivery.state == DeliveryState.REFUSED, DeliveryState.PENDING), else_=Delivery.state)
    statement = (
        update(Delivery)
        .where(
            Delivery.result_object_id.in_(results),
            or_(Delivery.state.in_([DeliveryState.PENDING, DeliveryState.REFUSED]), Delivery.failure_code.is_not(None)),
        )
        .values(state=again, retries=0, resends=0, first_failed_at=None, next_try_at=None, failure_code=None)
        .execution_options(synchronize_session=False)
    )
    session.execute(statement)


def _to_confirm(row: Delivery) -> bool:
    return row.state is DeliveryState.ACCEPTED and row.failure_code is None and row.result_object.kind != RETRACTION
