"""What a destination answered, written into the rows of its deliveries: accepted, later, given up, confirmed, missing.

All functions work on rows of the caller's transaction.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from dicom_node.errors import PeerError
from dicom_node.scu import SendOutcome
from worker.destinations import CommitmentMode, Destination
from worker.failures import Backoff, FailureCode
from worker.records import Delivery, DeliveryState

MAX_RESENDS = 3
"""How often an accepted object that the destination does not keep is sent again."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, the back-off of this installation, and the jitter drawn for it."""

    now: datetime
    backoff: Backoff
    jitter: float

    def postpone(self, delivery: Delivery, code: FailureCode) -> None:
        """Try again after a growing pause; after the set age of the first failure give up with ``code``."""
        delivery.first_failed_at = delivery.first_failed_at or self.now
        if self.backoff.exhausted(delivery.first_failed_at, self.now):
            give_up(delivery, code)
            return
        delivery.next_try_at = self.now + self.backoff.pause(delivery.retries, self.jitter)
        delivery.retries += 1


@dataclass(frozen=True, slots=True)
class Parcel:
    """One object on its way: its row, its file, and since when the destination may have had it before this try."""

    delivery_id: int
    path: Path
    offered_before: datetime | None


def offer(delivery: Delivery, now: datetime) -> None:
    """Count the try before it begins, and remember that the destination may have the object from now on."""
    delivery.attempts += 1
    delivery.offered_at = delivery.offered_at or now


def answered(
    delivery: Delivery, parcel: Parcel, outcome: SendOutcome, destination: Destination, moment: Moment
) -> None:
    """Write what the destination said about one object."""
    delivery.last_status, delivery.comment = outcome.status, outcome.comment[:255] or None
    if outcome.accepted:
        accepted(delivery, destination, moment.now)
        return
    if outcome.status is not None or outcome.permanent:
        delivery.offered_at = parcel.offered_before  # this try did not bring it there
    if outcome.permanent:
        give_up(delivery, FailureCode.DELIVERY_REFUSED)
    else:
        moment.postpone(delivery, FailureCode.DELIVERY_TIMED_OUT)


def accepted(delivery: Delivery, destination: Destination, now: datetime) -> None:
    """The destination has the object; where it is queried for it, it gets some time to file it."""
    delivery.state, delivery.accepted_at = DeliveryState.ACCEPTED, now
    _start_anew(delivery)
    if destination.commitment is CommitmentMode.QUERY:
        delivery.next_try_at = now + timedelta(seconds=destination.commitment_wait_seconds)


def not_reached(delivery: Delivery, parcel: Parcel, error: PeerError, moment: Moment) -> None:
    """There was no association, or no answer at all."""
    delivery.last_status, delivery.comment = None, str(error)[:255]
    if error.code != "PEER_SILENT":
        delivery.offered_at = parcel.offered_before
    if error.permanent:
        give_up(delivery, error.code)
    else:
        moment.postpone(delivery, FailureCode.DELIVERY_TIMED_OUT)


def confirmed(delivery: Delivery, now: datetime) -> None:
    """The destination said that it keeps the object, or was seen to have it."""
    delivery.state, delivery.confirmed_at, delivery.comment = DeliveryState.CONFIRMED, now, None
    _start_anew(delivery)


def missing(delivery: Delivery, reason: str, moment: Moment) -> None:
    """The destination does not keep the object: it is sent again, a limited number of times."""
    delivery.state, delivery.last_status, delivery.comment = DeliveryState.PENDING, None, reason[:255]
    _start_anew(delivery)
    if delivery.resends >= MAX_RESENDS:
        give_up(delivery, FailureCode.NOT_KEPT)
        return
    delivery.next_try_at = moment.now + moment.backoff.pause(delivery.resends, moment.jitter)
    delivery.resends += 1


def not_confirmed(delivery: Delivery, error: PeerError, moment: Moment) -> None:
    """Whether the destination keeps the object could not be found out this time."""
    delivery.last_status, delivery.comment = None, str(error)[:255]
    if error.permanent:
        give_up(delivery, FailureCode.NOT_CONFIRMED)
    else:
        moment.postpone(delivery, FailureCode.NOT_CONFIRMED)


def give_up(delivery: Delivery, code: str) -> None:
    """Nothing more is tried until the operator retries: what was not accepted is REFUSED, what was stays ACCEPTED."""
    delivery.failure_code, delivery.next_try_at = code, None
    if delivery.state is DeliveryState.PENDING:
        delivery.state = DeliveryState.REFUSED


def _start_anew(delivery: Delivery) -> None:
    """The next thing to be tried has a back-off of its own."""
    delivery.retries, delivery.first_failed_at, delivery.next_try_at, delivery.failure_code = 0, None, None, None
