"""One study's results to every destination, each tracked on its own: send, confirm, try again, or tell the operator."""

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from sqlalchemy.orm import Session

from dicom_node.errors import PeerError
from dicom_node.scu import SendOutcome
from dicom_node.statuses import code_of
from worker import commitments, conclusion, counters, figures, outcomes, studies, tracking
from worker.analysis import backoff_of
from worker.confirmation import Confirmation
from worker.database import Database
from worker.destinations import Destination
from worker.failures import Failure, FailureCode
from worker.figures import Series
from worker.lease import KeptLease
from worker.links import Links
from worker.outcomes import Moment, Parcel
from worker.ports import Clock
from worker.reconciliation import Reconciliation
from worker.records import Delivery, NoteKind
from worker.settings import Settings
from worker.states import SERVED, Cause, StudyState
from worker.storage import ResultCorrupt, ResultStore
from worker.studies import Lease, Move, StaleStudy
from worker.tracking import ProfileNotBuilt, Track, is_due

logger = logging.getLogger(__name__)

NOTHING: Mapping[Series, float] = MappingProxyType({})

ROUND_SECONDS = 300.0
"""After this long no further destination is begun with: a task has its time limit."""


@dataclass(frozen=True, slots=True)
class StudyDelivery:
    """Everything that deliveries of one clerk share."""

    settings: Settings
    destinations: Sequence[Destination]
    links: Links
    database: Database
    results: ResultStore
    clock: Clock

    def deliver(self, study_id: int, generation: int) -> None:
        """Do what is due at every destination; does nothing when the study is elsewhere (a message is only a hint)."""
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
        """The lease of a study that waits to be sent or to be confirmed."""
        try:
            with self.database.transaction() as session:
                position = studies.position_of(session, study_id)
                if position.generation != generation or position.state not in SERVED:
                    return None
                return studies.claim(session, position, self.clock(), self.settings.lease_seconds)
        except (StaleStudy, studies.UnknownStudy):
            return None

    def _deliver(self, kept: KeptLease) -> None:
        try:
            until = time.monotonic() + ROUND_SECONDS
            for track in self._planned(kept.lease):
                if time.monotonic() < until:  # else it is due still, and comes first in the next round
                    self._attend(kept, track)
        except ProfileNotBuilt as error:
            self._fail(kept.lease, FailureCode.PROFILE_NOT_BUILT, str(error))
        except ResultCorrupt as error:
            self._fail(kept.lease, FailureCode.RESULT_CORRUPT, str(error))
        else:
            self._conclude(kept.lease)

    def _planned(self, lease: Lease) -> list[Track]:
        """Every destination with its rows, made here where they are missing; those that answered best come first."""
        with self.database.transaction() as session:
            studies.held(session, lease)
            run = tracking.current_run(session, lease.study_id, lease.generation)
            if run is not None and lease.position.state is StudyState.SENDING:
                tracking.plan(session, run, [item for item in self.destinations if item.automatic])
            for name in tracking.give_up_on_strangers(session, lease.study_id, self.destinations):
                detail = f"{name} is not configured any more: it was not told that results are withdrawn"
                studies.note(session, lease.position, NoteKind.RETRACTION, self.clock(), detail)
            confirming = [destination.name for destination in self.destinations if destination.confirms]
            commitments.pass_over(session, lease.study_id, confirming)
            tracks = self._tracks(session, lease)
        return sorted(tracks, key=lambda track: max((row.retries for row in track.rows), default=0))

    def _tracks(self, session: Session, lease: Lease) -> list[Track]:
        return [
            tracking.track_of(session, lease.study_id, lease.generation, destination)
            for destination in self.destinations
        ]

    def _attend(self, kept: KeptLease, track: Track) -> None:
        """Send what is due to one destination, then see to its confirmation; its failures are its own."""
        destination = track.destination
        if any(is_due(row, self.clock()) for row in track.pending):
            kept.stage(f"send to {destination.name}"[:64])
            self._send(kept, destination)
        if destination.confirms:
            Confirmation(self.database, kept, destination, self.links, self._moment()).attend()

    def _send(self, kept: KeptLease, destination: Destination) -> None:
        """One try: counted before it begins, and the answer about each object recorded."""
        lease, moment = kept.lease, self._moment()
        parcels: list[Parcel] = []
        try:
            link = self.links(destination)
            if destination.reconcile:
                Reconciliation(self.database, self.results, kept).attend(destination, link, moment)
            parcels = self._offered(lease, destination, moment)
            answers = link.send([parcel.path for parcel in parcels]) if parcels else ()
        except PeerError as error:
            parcels = parcels or self._due(lease, destination, moment)
            failed = {figures.DELIVERY_FAILURES.series(destination.name, error.code): 1.0}
            self._record(lease, parcels, partial(_not_reached, error, moment), failed)
            return
        accepted = sum(answer.accepted for answer in answers)
        count = f"{len(answers)}" if accepted == len(answers) else f"{accepted} of {len(answers)}"
        detail = f"{destination} accepted {count} objects" if accepted else None
        by_path = {answer.path: answer for answer in answers}
        self._record(
            lease, parcels, partial(_answered, by_path, destination, moment), _counted(destination, answers), detail
        )

    def _due(self, lease: Lease, destination: Destination, moment: Moment) -> list[Parcel]:
        """What is to be sent now, each file checked on disk."""
        with self.database.reading() as session:
            track = tracking.track_of(session, lease.study_id, lease.generation, destination)
        return [
            Parcel(row.id, self.results.verified(row.result_object.path, row.result_object.sha256), row.offered_at)
            for row in track.pending
            if is_due(row, moment.now)
        ]

    def _offered(self, lease: Lease, destination: Destination, moment: Moment) -> list[Parcel]:
        """What is to be sent now; from here on the destination may have it."""
        parcels = self._due(lease, destination, moment)
        self._record(lease, parcels, lambda row, _parcel: outcomes.offer(row, moment.now))
        return parcels

    def _record(
        self,
        lease: Lease,
        parcels: Sequence[Parcel],
        write: Callable[[Delivery, Parcel], None],
        counted: Mapping[Series, float] = NOTHING,
        detail: str | None = None,
    ) -> None:
        """Change the parcels' rows under the lease, count, and say so in the timeline if there is something to say."""
        if not parcels:
            return
        with self.database.transaction() as session:
            studies.held(session, lease)
            for parcel in parcels:
                write(session.get_one(Delivery, parcel.delivery_id), parcel)
            if detail is not None:
                studies.note(session, lease.position, NoteKind.DESTINATION, self.clock(), detail)
            counters.add(session, counted)

    def _conclude(self, lease: Lease) -> None:
        """Move the study where its destinations' rows say that it is."""
        with self.database.transaction() as session:
            studies.held(session, lease)
            withdrawn = tracking.current_run(session, lease.study_id, lease.generation) is None
            if not self.destinations and not withdrawn:
                self._move(session, lease, (conclusion.no_destination(self.clock()),))
                return
            tracks = self._tracks(session, lease)
            moves = conclusion.moves(lease.position.state, tracks, self.clock(), withdrawn=withdrawn)
            self._move(session, lease, moves)

    def _move(self, session: Session, lease: Lease, moves: Sequence[Move]) -> None:
        position = lease.position
        for move in moves:
            position = studies.transition(session, position, move)

    def _fail(self, lease: Lease, code: FailureCode, text: str) -> None:
        with self.database.transaction() as session:
            move = Move(Cause.DELIVERY_FAILED, self.clock(), f"{code}: {text}", failure=Failure(code, text))
            studies.transition(session, lease.position, move)

    def _moment(self) -> Moment:
        return Moment(self.clock(), backoff_of(self.settings), random.random())  # noqa: S311  (jitter, not a secret)


def _counted(destination: Destination, answers: Sequence[SendOutcome]) -> dict[Series, float]:
    """What one try adds to the figures."""
    counted: dict[Series, float] = {}
    for answer in answers:
        series = figures.DELIVERIES.series(destination.name)
        if not answer.accepted:
            series = figures.DELIVERY_FAILURES.series(destination.name, code_of(answer.status))
        counted[series] = counted.get(series, 0.0) + 1.0
    return counted


def _not_reached(error: PeerError, moment: Moment, row: Delivery, parcel: Parcel) -> None:
    outcomes.not_reached(row, parcel, error, moment)


def _answered(
    answers: Mapping[Path, SendOutcome], destination: Destination, moment: Moment, row: Delivery, parcel: Parcel
) -> None:
    outcomes.answered(row, parcel, answers[parcel.path], destination, moment)
