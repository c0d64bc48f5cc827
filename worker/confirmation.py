"""Confirmation after acceptance: storage commitment is asked for and awaited; a query says what no report said.

What a destination does not keep goes back to PENDING and is sent again (``outcomes.missing``).
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy.orm import Session

from dicom_node.commitment import InstanceRef
from dicom_node.errors import PeerError
from dicom_node.statuses import code_of
from worker import commitments, counters, figures, outcomes, studies, tracking
from worker.commitments import COMMITTED
from worker.database import Database
from worker.destinations import CommitmentMode, Destination
from worker.failures import FailureCode
from worker.lease import KeptLease
from worker.links import Link, Links
from worker.outcomes import Moment
from worker.records import Commitment, CommitmentState, Delivery, NoteKind, Study
from worker.tracking import is_due

logger = logging.getLogger(__name__)

NOT_FOUND = "NOT_FOUND"
"""The reason of objects that a query did not find."""

DUPLICATE_TRANSACTION_UID = 0x0131
"""Failure Reason that speaks of the request and not of the instance (PS3.3 C.14.1.1)."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The confirmation of one study at one destination, under the lease of its delivery."""

    database: Database
    kept: KeptLease
    destination: Destination
    links: Links
    moment: Moment

    def attend(self) -> None:
        """Take reports that came; then ask or query for what is due, once the destination has accepted everything."""
        due = self._conclude_reports()
        if not due:
            return
        self.kept.stage(f"confirm {self.destination.name}"[:64])
        try:
            link = self.links(self.destination)
        except PeerError as error:
            self._not_confirmed(due, error)
            return
        if self.destination.commitment is CommitmentMode.STORAGE_COMMITMENT:
            due = self._by_commitment(link, due)
        if due:
            self._by_query(link, due)

    def _conclude_reports(self) -> list[Delivery]:
        """Write into the rows what reports said of them; return those whose confirmation is due."""
        lease = self.kept.lease
        with self.database.transaction() as session:
            studies.held(session, lease)
            reasons: list[str | None] = []
            for commitment in commitments.reported(session, lease, self.destination):
                reasons += self._conclude(session, commitment)
            session.flush()
            track = tracking.track_of(session, lease.study_id, lease.generation, self.destination)
            self._count(session, reasons)
        if track.pending or track.given_up:
            return []
        return [row for row in track.unconfirmed if is_due(row, self.moment.now)]

    def _conclude(self, session: Session, commitment: Commitment) -> list[str | None]:
        """One report: committed objects are confirmed, failed ones are sent again, others are queried at once.

        Returns for each object of the report why it is not committed, None where it is.
        """
        report = commitment.report or {}
        commitment.state = CommitmentState.CONCLUDED
        for row in commitments.accepted_rows(session, commitment):
            reason = report.get(row.result_object.sop_instance_uid)
            if reason == COMMITTED:
                outcomes.confirmed(row, self.moment.now)
            elif reason == DUPLICATE_TRANSACTION_UID:
                commitment.state = CommitmentState.FAILED  # to be asked again, under another UID
                self.moment.postpone(row, FailureCode.NOT_CONFIRMED)
            elif reason is None:
                row.next_try_at = None
            elif commitments.is_about(commitment, row):
                outcomes.missing(row, f"commitment failed with reason 0x{reason:04X}", self.moment)
        failed = [f"0x{reason:04X}" for reason in report.values() if reason != COMMITTED]
        detail = f"{self.destination} committed itself to {len(report) - len(failed)} of {len(report)} objects"
        self._note(session, detail + (f"; failed: {', '.join(sorted(set(failed)))}" if failed else ""))
        return [None if reason == COMMITTED else code_of(reason) for reason in report.values()]

    def _by_commitment(self, link: Link, due: Sequence[Delivery]) -> list[Delivery]:
        """Ask for what was not asked for since its acceptance; return what is to be queried now.

        That is what waited for a report in vain, or everything where the destination does not offer the service.
        """
        lease = self.kept.lease
        with self.database.transaction() as session:
            studies.held(session, lease)
            rows = [session.get_one(Delivery, row.id) for row in due]
            new = [row for row in rows if not commitments.was_asked(session, lease, row)]
            commitment = None
            if new:
                commitment = commitments.open_transaction(session, lease, self.destination, new, self.moment)
        if len(new) < len(due):
            self._collect(link)
        if commitment is not None:
            self._request(link, commitment, new)
        return self._conclude_reports()

    def _collect(self, link: Link) -> None:
        """Open an association for reports that the destination may have kept back."""
        try:
            link.collect_reports()
        except PeerError as error:
            logger.info("no reports were collected", extra={"reason": error.code})

    def _request(self, link: Link, commitment: Commitment, rows: Sequence[Delivery]) -> None:
        """Send the request of a transaction that is in the records already."""
        instances = [InstanceRef(sop_class, uid) for uid, sop_class in commitment.instances.items()]
        try:
            link.request_commitment(instances, commitment.transaction_uid)
        except PeerError as error:
            self._not_asked(commitment, rows, error)
            return
        with self.database.transaction() as session:
            studies.held(session, self.kept.lease)
            self._note(session, f"{self.destination} was asked to commit itself to {len(instances)} objects")

    def _not_asked(self, commitment: Commitment, rows: Sequence[Delivery], error: PeerError) -> None:
        """The request did not get through: again later, or where the service is not offered a query at once."""
        with self.database.transaction() as session:
            studies.held(session, self.kept.lease)
            current = session.get_one(Commitment, commitment.id)
            if current.state is CommitmentState.REQUESTED:
                commitments.mark_failed(current)
            for row in [session.get_one(Delivery, row.id) for row in rows]:
                if error.permanent:
                    row.next_try_at = None
                else:
                    outcomes.not_confirmed(row, error, self.moment)
            if error.permanent:
                self._note(session, f"{self.destination} does not take the request for commitment and is queried")
            self._count(session, [error.code])

    def _by_query(self, link: Link, due: Sequence[Delivery]) -> None:
        """Confirm what the destination is found to have; what it has not is sent again."""
        with self.database.reading() as session:
            study = session.get_one(Study, self.kept.lease.study_id).study_instance_uid
        uids = [row.result_object.sop_instance_uid for row in due]
        try:
            there = link.instances_there(study, uids)
        except PeerError as error:
            self._not_confirmed(due, error)
            return
        found = len(there.intersection(uids))
        self._write(
            due, partial(self._queried, there), f"a query found {found} of {len(uids)} objects at {self.destination}"
        )

    def _queried(self, there: frozenset[str], row: Delivery) -> str | None:
        """What a query says of one object; why it is not confirmed."""
        if row.result_object.sop_instance_uid in there:
            outcomes.confirmed(row, self.moment.now)
            return None
        outcomes.missing(row, "a query did not find it", self.moment)
        return NOT_FOUND

    def _not_confirmed(self, rows: Sequence[Delivery], error: PeerError) -> None:
        def write(row: Delivery) -> str:
            outcomes.not_confirmed(row, error, self.moment)
            return error.code

        self._write(rows, write)

    def _write(
        self, rows: Sequence[Delivery], write: Callable[[Delivery], str | None], detail: str | None = None
    ) -> None:
        """Change rows under the lease, count what ``write`` returns, and tell the timeline if there is something."""
        with self.database.transaction() as session:
            studies.held(session, self.kept.lease)
            reasons = [write(session.get_one(Delivery, row.id)) for row in rows]
            if detail is not None:
                self._note(session, detail)
            self._count(session, reasons)

    def _count(self, session: Session, reasons: Sequence[str | None]) -> None:
        """Count why objects are not confirmed, and with None those that are."""
        name = self.destination.name
        counted = {
            figures.CONFIRMATIONS.series(name)
            if reason is None
            else figures.COMMITMENT_FAILURES.series(name, reason): float(number)
            for reason, number in Counter(reasons).items()
        }
        counters.add(session, counted)

    def _note(self, session: Session, detail: str) -> None:
        studies.note(session, self.kept.lease.position, NoteKind.COMMITMENT, self.moment.now, detail)
