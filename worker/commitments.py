"""Storage commitment transactions in the records: kept before they are asked for, and closed by the peer's report.

The listener and the requesting clerk write what a peer reports; a clerk that holds the study concludes from it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from pydicom.uid import generate_uid
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dicom_node.commitment_report import CommitmentPort, ReceivedReport
from worker.database import Database
from worker.destinations import Destination
from worker.outcomes import Moment
from worker.records import Commitment, CommitmentState, Delivery, DeliveryState, ResultObject, Run
from worker.studies import Lease

logger = logging.getLogger(__name__)

COMMITTED = 0
"""What ``Commitment.report`` holds for an instance that the peer committed itself to; else its Failure Reason."""


class CommitmentReports(CommitmentPort):
    """Makes reports durable by ``write``, which runs its argument in a transaction and returns when that is durable."""

    def __init__(self, write: Callable[[Callable[[Session], None]], None]) -> None:
        self._write = write

    def record_report(self, received: ReceivedReport) -> None:
        """Keep what the peer reported; whatever it was not asked for is passed over."""
        self._write(partial(record_report, received=received))


def reports_into(database: Database) -> CommitmentReports:
    """The port that writes by transactions of its own."""

    def write(work: Callable[[Session], None]) -> None:
        with database.transaction() as session:
            work(session)

    return CommitmentReports(write)


def record_report(session: Session, received: ReceivedReport) -> None:
    """Close the transaction that the report names, if its peer is the one that was asked and has not reported yet.

    Only what was asked about is taken; a report of other instances alone closes nothing.
    """
    query = select(Commitment).where(Commitment.transaction_uid == received.report.transaction_uid).with_for_update()
    commitment = session.scalar(query)
    said = {} if commitment is None else _said(commitment.instances, received)
    if commitment is None or not said or commitment.ae_title != received.ae_title.strip():
        logger.warning("a commitment report that was not asked for is passed over")
        return
    if commitment.state in {CommitmentState.REQUESTED, CommitmentState.FAILED}:
        commitment.state, commitment.report, commitment.reported_at = (
            CommitmentState.REPORTED,
            said,
            received.received_at,
        )


def open_transaction(
    session: Session, lease: Lease, destination: Destination, rows: Sequence[Delivery], moment: Moment
) -> Commitment:
    """A new transaction about these rows, and their time to wait for its report; its UID cannot be guessed."""
    if destination.peer is None:
        raise ValueError(f"{destination} is no DICOM peer")
    due_at = moment.now + timedelta(seconds=destination.commitment_wait_seconds)
    commitment = Commitment(
        transaction_uid=str(generate_uid(prefix=None)),
        study_id=lease.study_id,
        generation=lease.generation,
        destination=destination.name,
        ae_title=str(destination.peer.ae_title),
        instances={row.result_object.sop_instance_uid: row.result_object.sop_class_uid for row in rows},
        requested_at=moment.now,
        due_at=due_at,
    )
    session.add(commitment)
    for row in rows:
        row.next_try_at = due_at
    return commitment


def was_asked(session: Session, lease: Lease, row: Delivery) -> bool:
    """Whether the destination was asked to commit itself to this object since it accepted it."""
    query = select(Commitment).where(
        Commitment.study_id == lease.study_id,
        Commitment.destination == row.destination,
        Commitment.state != CommitmentState.FAILED,
    )
    uid = row.result_object.sop_instance_uid
    return any(uid in item.instances and is_about(item, row) for item in session.scalars(query))


def reported(session: Session, lease: Lease, destination: Destination) -> Sequence[Commitment]:
    """Transactions of the study whose report nobody concluded from yet, of whatever generation."""
    query = select(Commitment).where(
        Commitment.study_id == lease.study_id,
        Commitment.destination == destination.name,
        Commitment.state == CommitmentState.REPORTED,
    )
    return session.scalars(query.order_by(Commitment.id)).all()


def pass_over(session: Session, study_id: int, confirming: Sequence[str]) -> None:
    """Close what destinations reported that are not asked for confirmation any more: nobody concludes from it."""
    statement = (
        update(Commitment)
        .where(
            Commitment.study_id == study_id,
            Commitment.state == CommitmentState.REPORTED,
            Commitment.destination.not_in(confirming),
        )
        .values(state=CommitmentState.CONCLUDED)
        .execution_options(synchronize_session=False)
    )
    session.execute(statement)


def is_about(commitment: Commitment, row: Delivery) -> bool:
    """Whether the transaction was opened after the object's last acceptance: an older one speaks of an older try."""
    return row.accepted_at is not None and commitment.requested_at >= row.accepted_at


def mark_failed(commitment: Commitment) -> None:
    """The request did not get through, as far as is known."""
    commitment.state = CommitmentState.FAILED


def accepted_rows(session: Session, commitment: Commitment) -> Sequence[Delivery]:
    """The rows that a transaction is about and that wait for a confirmation, of whatever generation."""
    query = (
        select(Delivery)
        .join(ResultObject)
        .join(Run)
        .where(
            Run.study_id == commitment.study_id,
            Delivery.destination == commitment.destination,
            Delivery.state == DeliveryState.ACCEPTED,
            ResultObject.sop_instance_uid.in_(list(commitment.instances)),
        )
    )
    return session.scalars(query).all()


def _said(instances: Mapping[str, Any], received: ReceivedReport) -> dict[str, int]:
    """What the report says of the instances that were asked about."""
    said = dict.fromkeys(received.report.committed & instances.keys(), COMMITTED)
    return said | {uid: reason for uid, reason in received.report.failed.items() if uid in instances}
