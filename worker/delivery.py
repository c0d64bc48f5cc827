"""One SENDING study to DELIVERED: its stored result bytes to the PACS by C-STORE, each instance's answer recorded."""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from dicom_node.errors import PeerError
from dicom_node.node import Peer
from dicom_node.scu import SendOutcome, send
from worker import studies
from worker.analysis import backoff_of
from worker.database import Database
from worker.failures import Failure, FailureCode
from worker.lease import KeptLease
from worker.ports import Clock
from worker.records import Delivery, DeliveryState, ResultObject, Run
from worker.settings import Settings
from worker.states import Cause, StudyState
from worker.storage import ResultCorrupt, ResultStore
from worker.studies import Lease, Move, Position, StaleStudy

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parcel:
    """One result object that the destination has not accepted yet."""

    delivery_id: int
    path: Path


@dataclass(frozen=True, slots=True)
class StudyDelivery:
    """Everything that deliveries of one clerk share."""

    settings: Settings
    database: Database
    results: ResultStore
    clock: Clock

    def deliver(self, study_id: int, generation: int) -> None:
        """Send what the destination has not accepted yet; does nothing when the study is elsewhere."""
        lease = self._claim(study_id, generation)
        if lease is None:
            logger.info("nothing to deliver: the study is elsewhere", extra={"study_id": study_id})
            return
        try:
            with KeptLease(self.database, lease, self.clock, self.settings.lease_seconds) as kept:
                self._deliver(kept)
        except StaleStudy:
            logger.info("the study changed under the delivery", extra={"study_id": study_id})

    def _claim(self, study_id: int, generation: int) -> Lease | None:
        try:
            with self.database.transaction() as session:
                position = Position(study_id, StudyState.SENDING, generation)
                return studies.claim(session, position, self.clock(), self.settings.lease_seconds)
        except StaleStudy:
            return None

    def _deliver(self, kept: KeptLease) -> None:
        lease, destination = kept.lease, self.settings.destination
        if destination is None:
            self._fail(lease, FailureCode.NO_DESTINATION, "no destination is configured")
            return
        try:
            parcels = self._parcels(lease, destination)
        except ResultCorrupt as error:
            self._fail(lease, FailureCode.RESULT_CORRUPT, str(error))
            return
        kept.stage("send")
        try:
            outcomes = send([parcel.path for parcel in parcels], destination, self.settings.ae_title) if parcels else ()
        except PeerError as error:
            self._not_sent(lease, error)
            return
        self._conclude(lease, destination, parcels, outcomes)

    def _parcels(self, lease: Lease, destination: Peer) -> list[Parcel]:
        """The results that are still to be sent, checked on disk; their delivery rows are made here once."""
        with self.database.transaction() as session:
            studies.held(session, lease)
            parcels = []
            for row in session.scalars(_results_of(lease)):
                delivery = session.scalar(
                    select(Delivery).where(
                        Delivery.result_object_id == row.id, Delivery.destination == str(destination)
                    )
                )
                if delivery is None:
                    delivery = Delivery(result_object_id=row.id, destination=str(destination), attempts=0)
                    delivery.state = DeliveryState.PENDING
                    session.add(delivery)
                    session.flush()
                if delivery.state is not DeliveryState.ACCEPTED:
                    parcels.append(Parcel(delivery.id, self.results.verified(row.path, row.sha256)))
        return parcels

    def _conclude(
        self, lease: Lease, destination: Peer, parcels: Sequence[Parcel], outcomes: Sequence[SendOutcome]
    ) -> None:
        """Record every instance's answer and move the study: all accepted, some refused for good, or some later."""
        with self.database.transaction() as session:
            studies.held(session, lease)
            by_path = {outcome.path: outcome for outcome in outcomes}
            for parcel in parcels:
                self._write_outcome(session, parcel, by_path[parcel.path])
            studies.transition(session, lease.position, self._move(lease, destination, outcomes))

    def _write_outcome(self, session: Session, parcel: Parcel, outcome: SendOutcome) -> None:
        delivery = session.get_one(Delivery, parcel.delivery_id)
        delivery.attempts += 1
        delivery.last_status = outcome.status
        delivery.comment = outcome.comment[:255] if outcome.comment else None
        if outcome.accepted:
            delivery.state, delivery.accepted_at = DeliveryState.ACCEPTED, self.clock()
        elif outcome.permanent:
            delivery.state = DeliveryState.REFUSED

    def _move(self, lease: Lease, destination: Peer, outcomes: Sequence[SendOutcome]) -> Move:
        refused = [outcome for outcome in outcomes if not outcome.accepted]
        if not refused:
            return Move(Cause.DELIVERED, self.clock(), f"{destination} accepted {len(outcomes)} objects")
        worst = next((outcome for outcome in refused if outcome.permanent), refused[0])
        status = "no answer" if worst.status is None else f"status 0x{worst.status:04X}"
        text = f"{destination} did not accept {len(refused)} of {len(outcomes)} objects: {status}"
        if worst.permanent:
            failure = Failure(FailureCode.DELIVERY_REFUSED, text)
            return Move(Cause.DELIVERY_FAILED, self.clock(), f"{failure.code}: {text}", failure=failure)
        return self._later(lease, text)

    def _not_sent(self, lease: Lease, error: PeerError) -> None:
        if error.permanent:
            self._fail(lease, FailureCode.PEER, str(error))
            return
        with self.database.transaction() as session:
            studies.transition(session, lease.position, self._later(lease, str(error)))

    def _later(self, lease: Lease, text: str) -> Move:
        """Wait with growing pauses; when the tries are too old, stop and tell the operator."""
        now, backoff = self.clock(), backoff_of(self.settings)
        if lease.first_failed_at is not None and backoff.exhausted(lease.first_failed_at, now):
            failure = Failure(FailureCode.DELIVERY_TIMED_OUT, text)
            return Move(Cause.DELIVERY_FAILED, now, f"{failure.code}: {text}", failure=failure)
        pause = backoff.pause(lease.retries, random.random())  # noqa: S311  (jitter, not a secret)
        detail = f"again in {pause.total_seconds():.0f} s: {text}"
        return Move(Cause.POSTPONED, now, detail, failure=Failure(FailureCode.PEER, text), not_before=now + pause)

    def _fail(self, lease: Lease, code: FailureCode, text: str) -> None:
        with self.database.transaction() as session:
            move = Move(Cause.DELIVERY_FAILED, self.clock(), f"{code}: {text}", failure=Failure(code, text))
            studies.transition(session, lease.position, move)


def _results_of(lease: Lease) -> Select[ResultObject]:
    return (
        select(ResultObject)
        .join(Run)
        .where(Run.study_id == lease.study_id, Run.generation == lease.generation)
        .order_by(ResultObject.id)
    )
