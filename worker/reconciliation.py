"""Patient and study are read again from the archive before results go there (decision record 9).

Results whose identity changed meanwhile are written again under the new one; a contradiction holds them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset, dcmread
from sqlalchemy import select

from dicom_node.encode import encode
from dicom_node.identity import Relation, identity_of, relation, under_identity
from dicom_node.study_attributes import StudyAttributes
from worker import outcomes, studies, tracking
from worker.database import Database
from worker.destinations import Destination
from worker.failures import FailureCode
from worker.lease import KeptLease
from worker.links import Link
from worker.outcomes import Moment
from worker.records import RETRACTION, Delivery, NoteKind, ResultObject, Study
from worker.storage import ResultCorrupt, ResultStore


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What the reconciliations of one study share."""

    database: Database
    results: ResultStore
    kept: KeptLease

    def attend(self, destination: Destination, link: Link, moment: Moment) -> None:
        """See that what is to be sent has the identity that the destination gives the study, or hold it.

        Once the destination may have one of these objects the rest follows as it is: they refer to each other. Raises
        ``PeerError`` when the destination does not tell.
        """
        rows = self._to_send(destination)
        if not rows or any(row.offered_at is not None for row in rows):
            return
        study_id = self.kept.lease.study_id
        with self.database.reading() as session:
            uid = session.get_one(Study, study_id).study_instance_uid
        theirs = link.study_attributes(uid)
        if theirs is None:
            self._hold(rows, FailureCode.STUDY_NOT_THERE, "the study is not known there", moment)
            return
        made = self._made(rows[0].result_object.run_id)
        number = _number_of(theirs, made, self.results)
        if number is None:
            self._hold(rows, FailureCode.PATIENT_CONFLICT, "birth date or sex contradict", moment)
        elif number != rows[0].result_object.identity:
            written = self._written_again(theirs, made, number)
            self._change(rows, number, written, f"{destination} gives the study the identity {number}", moment)

    def _to_send(self, destination: Destination) -> list[Delivery]:
        """Every row of the run's results at the destination if none is accepted; Key Objects go as they are."""
        lease = self.kept.lease
        with self.database.reading() as session:
            track = tracking.track_of(session, lease.study_id, lease.generation, destination)
        rows = [row for row in track.rows if row.result_object.kind != RETRACTION]
        return rows if all(row in track.pending for row in rows) else []

    def _made(self, run_id: int) -> dict[int, list[ResultObject]]:
        """The results of the run by the number of their identity, in their order; 0 is that of the analysis."""
        query = select(ResultObject).where(ResultObject.run_id == run_id, ResultObject.kind != RETRACTION)
        made: dict[int, list[ResultObject]] = {}
        with self.database.reading() as session:
            for result in session.scalars(query.order_by(ResultObject.identity, ResultObject.id)):
                made.setdefault(result.identity, []).append(result)
        return made

    def _written_again(
        self, theirs: StudyAttributes, made: Mapping[int, Sequence[ResultObject]], number: int
    ) -> list[ResultObject]:
        """New rows, their bytes stored, for what has no object of identity ``number`` yet."""
        present = {result.variant for result in made.get(number, ())}
        originals = made[0]
        if all(original.variant in present for original in originals):
            return []
        datasets = [dcmread(BytesIO(self.results.get(item.path, item.sha256))) for item in originals]
        under_identity(datasets, theirs, number)
        return [
            self._row(original, dataset, number)
            for original, dataset in zip(originals, datasets, strict=True)
            if original.variant not in present
        ]

    def _row(self, original: ResultObject, dataset: Dataset, number: int) -> ResultObject:
        stored = self.results.put(encode(dataset))
        return ResultObject(
            run_id=original.run_id,
            kind=original.kind,
            variant=original.variant,
            identity=number,
            sop_class_uid=original.sop_class_uid,
            sop_instance_uid=str(dataset.SOPInstanceUID),
            path=stored.path,
            sha256=stored.sha256,
            size_bytes=stored.size_bytes,
        )

    def _change(
        self, rows: Sequence[Delivery], number: int, written: Sequence[ResultObject], detail: str, moment: Moment
    ) -> None:
        """Let the rows be about the objects of identity ``number``."""
        with self.database.transaction() as session:
            studies.held(session, self.kept.lease)
            session.add_all(written)
            session.flush()
            for row in rows:
                former = row.result_object
                query = select(ResultObject.id).where(
                    ResultObject.run_id == former.run_id,
                    ResultObject.variant == former.variant,
                    ResultObject.identity == number,
                )
                session.get_one(Delivery, row.id).result_object_id = session.scalars(query).one()
            studies.note(session, self.kept.lease.position, NoteKind.RECONCILED, moment.now, detail)

    def _hold(self, rows: Sequence[Delivery], code: FailureCode, reason: str, moment: Moment) -> None:
        """Send nothing until the operator retries."""
        with self.database.transaction() as session:
            studies.held(session, self.kept.lease)
            for row in [session.get_one(Delivery, row.id) for row in rows]:
                row.comment = reason
                outcomes.give_up(row, code)
            detail = f"{rows[0].destination}: {code}: {reason}"
            studies.note(session, self.kept.lease.position, NoteKind.RECONCILED, moment.now, detail)


def _number_of(theirs: StudyAttributes, made: Mapping[int, Sequence[ResultObject]], results: ResultStore) -> int | None:
    """The number of the identity that the archive tells, a new one if there is none yet; None for another person."""
    for number, objects in made.items():
        smallest = min(objects, key=lambda item: item.size_bytes)
        try:
            header = dcmread(BytesIO(results.get(smallest.path, smallest.sha256)), stop_before_pixels=True)
        except ResultCorrupt:
            if number == 0:
                raise
            continue
        found = relation(identity_of(header), theirs)
        if found is Relation.SAME:
            return number
        if number == 0 and found is Relation.CONTRADICTORY:
            return None
    return max(made) + 1
