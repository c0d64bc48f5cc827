"""``cspine retract``: a wrong result is withdrawn from the record, and rejected wherever it may be (IHE IOCM).

The Key Object that rejects it is a result of its run like any other: clerks send it, destination by destination.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

from pydicom import Dataset, dcmread
from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from dicom_node.encode import encode
from dicom_node.node import Device
from dicom_node.retraction import RejectionReason, build_retraction
from worker import studies
from worker.database import Database
from worker.errors import StartupError
from worker.records import RETRACTION, Delivery, DeliveryState, NoteKind, ResultObject, Run, Study
from worker.states import TRANSITIONS, Cause
from worker.storage import ResultCorrupt, ResultStore
from worker.studies import Move

Holders = dict[frozenset[int], list[str]]
"""Names of the destinations that may hold the same result objects, by the keys of these."""


@dataclass(frozen=True, slots=True)
class Retracted:
    """What was withdrawn: how many versions and objects, which destinations are told, and what cannot be named."""

    versions: int
    objects: int
    destinations: tuple[str, ...]
    unreadable: int


@dataclass(frozen=True, slots=True)
class Retraction:
    """Withdraws results; ``at`` must be aware."""

    database: Database
    results: ResultStore
    device: Device
    at: datetime
    reason: RejectionReason = RejectionReason.QUALITY

    def retract(self, uid: str) -> Retracted:
        """Withdraw every version of a study, or the one that holds a SOP Instance; nothing of it is sent any more.

        Raises ``StartupError`` for a UID that is not known here, or whose results are withdrawn already.
        """
        with self.database.reading() as session:
            keys = [run.id for run in _runs(session, uid)]
        outcomes = [self._retract_run(key) for key in keys]
        return Retracted(
            versions=len(outcomes),
            objects=sum(outcome.objects for outcome in outcomes),
            destinations=tuple(sorted({name for outcome in outcomes for name in outcome.destinations})),
            unreadable=sum(outcome.unreadable for outcome in outcomes),
        )

    def _retract_run(self, run_id: int) -> Retracted:
        """One version, in one transaction that also takes the study from whoever is sending it."""
        with self.database.transaction() as session:
            run = session.get_one(Run, run_id)
            position = studies.position_of(session, run.study_id, lock=True)
            holders = _holders(session, run)
            run.withdrawn_at = self.at
            _drop_pending(session, run)
            unreadable = self._add_key_objects(session, run, holders)
            names = tuple(sorted(name for many in holders.values() for name in many))
            told = f"to be told to {', '.join(names)}" if names else "no destination had them"
            detail = f"results of generation {run.generation} withdrawn ({self.reason.value}); {told}"
            studies.note(session, position, NoteKind.RETRACTION, self.at, detail)
            if (position.state, Cause.RETRACTED) in TRANSITIONS:  # else the sweep does it when the analysis has ended
                studies.transition(session, position, Move(Cause.RETRACTED, self.at, detail))
            objects = len(set().union(*holders)) if holders else 0
        return Retracted(1, objects, names, unreadable)

    def _add_key_objects(self, session: Session, run: Run, holders: Holders) -> int:
        """A Key Object for each set of objects that destinations may have; return how many objects it cannot name."""
        unreadable = 0
        for number, (keys, names) in enumerate(holders.items(), 1):
            headers = [self._header(session.get_one(ResultObject, key)) for key in sorted(keys)]
            readable = [header for header in headers if header is not None]
            unreadable += len(headers) - len(readable)
            if readable:
                row = self._key_object(readable, number)
                row.deliveries = [Delivery(destination=name) for name in names]
                run.results.append(row)
        return unreadable

    def _key_object(self, headers: Sequence[Dataset], number: int) -> ResultObject:
        note = build_retraction(headers, self.device, self.at, self.reason)
        stored = self.results.put(encode(note))
        return ResultObject(
            kind=RETRACTION,
            variant=f"{RETRACTION}-{number}",
            identity=0,
            sop_class_uid=str(note.SOPClassUID),
            sop_instance_uid=str(note.SOPInstanceUID),
            path=stored.path,
            sha256=stored.sha256,
            size_bytes=stored.size_bytes,
        )

    def _header(self, result: ResultObject) -> Dataset | None:
        try:
            return dcmread(BytesIO(self.results.get(result.path, result.sha256)), stop_before_pixels=True)
        except ResultCorrupt:
            return None


def _runs(session: Session, uid: str) -> Sequence[Run]:
    """The versions that the UID names and that are not withdrawn; raises ``StartupError`` where there is none."""
    named = (
        select(ResultObject.run_id)
        .join(ResultObject.run)
        .join(Study, Study.id == Run.study_id)
        .where(
            ResultObject.kind != RETRACTION,
            or_(Study.study_instance_uid == uid, ResultObject.sop_instance_uid == uid),
        )
    )
    runs = session.scalars(select(Run).where(Run.id.in_(named)).order_by(Run.id)).all()
    if not runs:
        raise StartupError(f"{uid} is neither a study with results here nor one of them: see `cspine study UID --json`")
    standing = [run for run in runs if run.withdrawn_at is None]
    if not standing:
        raise StartupError(f"the results of {uid} are withdrawn already: see `cspine study`")
    return standing


def _holders(session: Session, run: Run) -> Holders:
    """Which destinations may have which of the run's results: what they accepted, and what they were ever offered."""
    query = (
        select(Delivery.destination, ResultObject.id)
        .join(ResultObject)
        .where(
            ResultObject.run_id == run.id,
            ResultObject.kind != RETRACTION,
            or_(
                Delivery.state.in_([DeliveryState.ACCEPTED, DeliveryState.CONFIRMED]),
                Delivery.offered_at.is_not(None),
            ),
        )
        .order_by(Delivery.destination)
    )
    by_name: dict[str, set[int]] = {}
    for name, key in session.execute(query):
        by_name.setdefault(name, set()).add(key)
    holders: Holders = {}
    for name, keys in by_name.items():
        holders.setdefault(frozenset(keys), []).append(name)
    return holders


def _drop_pending(session: Session, run: Run) -> None:
    """What was not accepted yet is never sent."""
    results = select(ResultObject.id).where(ResultObject.run_id == run.id)
    statement = (
        update(Delivery)
        .where(Delivery.result_object_id.in_(results), Delivery.state == DeliveryState.PENDING)
        .values(state=DeliveryState.WITHDRAWN, next_try_at=None)
        .execution_options(synchronize_session=False)
    )
    session.execute(statement)
