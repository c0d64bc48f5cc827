"""Received instances into the records: the receipt port of the storage SCP, and adoption of files without a record."""

import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice

from sqlalchemy import bindparam, exists, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from dicom_node.errors import InvalidInstance
from dicom_node.header import InstanceHeader
from dicom_node.receipts import ReceiptPort, ReceivedInstance
from dicom_node.spool import Spool
from worker import studies
from worker.database import GroupCommitWriter
from worker.records import Instance, NoteKind, Review, Series, Study, insert_once
from worker.review_receipt import is_of_use, may_be_review, record_review
from worker.states import Cause, StudyState
from worker.studies import Arrival, Move, Position

logger = logging.getLogger(__name__)

ADOPTED = "adopted"
"""Association identifier of an instance whose record was made from its file."""

_BATCH = 500
_PRECISION = timedelta(milliseconds=100)
"""The time of the last receipt is not written for every instance of a burst."""

# The statements of every instance, built once: building them each time costs more than running them.
_STUDIES, _SERIES, _INSTANCES = (table.__table__ for table in (Study, Series, Instance))
_FIND_STUDY = (
    select(_STUDIES.c.id, _STUDIES.c.state, _STUDIES.c.generation, _STUDIES.c.lease_token, _STUDIES.c.last_received_at)
    .where(_STUDIES.c.study_instance_uid == bindparam("uid"))
    .with_for_update()
)
_FIND_SERIES = select(_SERIES.c.id).where(
    _SERIES.c.study_id == bindparam("study"), _SERIES.c.series_instance_uid == bindparam("uid")
)
_EARLIER = Instance.__table__.alias("earlier")
_IS_REVISION = exists().where(
    _EARLIER.c.study_id == bindparam("of_study"), _EARLIER.c.sop_instance_uid == bindparam("of_instance")
)
_INSERT_INSTANCE = {
    name: insert(Instance).values(revision=_IS_REVISION).on_conflict_do_nothing().returning(_INSTANCES.c.revision)
    for name, insert in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}
_TOUCH = (
    update(Study)
    .where(_STUDIES.c.id == bindparam("study"), _STUDIES.c.last_received_at < bindparam("at"))
    .values(last_received_at=bindparam("at"))
)


class Intake(ReceiptPort):
    """Records instances through the process's one writer; ``record`` returns only when the row is durable.

    Idempotent on (study, SOP Instance UID, SHA-256): the same instance again changes nothing but the time of the last
    receipt of a study that still receives. Reviews of our results are no instances of their study: they have rows of
    their own. Raises what ``GroupCommitWriter.write`` raises; the SCP then answers 0xA700.
    """

    def __init__(self, writer: GroupCommitWriter) -> None:
        self._writer = writer

    def has_use_for(self, header: InstanceHeader) -> bool:
        """Whether the instance is an image, or can be a review."""
        return not may_be_review(header) or self._writer.write(partial(is_of_use, header=header))

    def record(self, instance: ReceivedInstance) -> None:
        """Make the instance's rows durable."""
        record = record_review if may_be_review(instance.header) else record_instance
        self._writer.write(partial(record, instance=instance))

    def association_closed(self, association_id: str) -> None:
        """Nothing to record: a study may come in many associations, so the quiet period decides when it is complete."""

    def adopt(self, spool: Spool) -> int:
        """Record every stored file that has no record (the process ended between file and row); return how many.

        A file that is no whole instance is left alone and logged. Reviews come last: they need their study's record.
        """
        adopted = 0
        reviews: list[ReceivedInstance] = []
        paths = iter(spool.files())
        while batch := list(islice(paths, _BATCH)):
            known = self._writer.write(partial(_known_paths, paths=batch))
            for path in batch:
                if path in known or (instance := _described(spool, path)) is None:
                    continue
                if may_be_review(instance.header):
                    reviews.append(instance)
                else:
                    self.record(instance)
                    adopted += 1
        for review in reviews:
            self.record(review)
        return adopted + len(reviews)


def record_instance(session: Session, instance: ReceivedInstance) -> None:
    """Upsert study, series and instance in this transaction, and move the study as the table says."""
    position, last_received_at = _study(session, instance)
    series_id = _series(session, position.study_id, instance)
    header = instance.header
    values = {
        "study_id": position.study_id,
        "series_id": series_id,
        "sop_class_uid": header.sop_class_uid,
        "sop_instance_uid": header.sop_instance_uid,
        "sha256": instance.sha256,
        "size_bytes": instance.size_bytes,
        "path": instance.path,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
        "received_at": instance.received_at,
        "association_id": instance.association_id,
        "calling_ae_title": instance.calling_ae_title,
        "of_study": position.study_id,
        "of_instance": header.sop_instance_uid,
    }
    revisions = session.connection().execute(_INSERT_INSTANCE[session.get_bind().dialect.name], values).scalars().all()
    if position.state is StudyState.RECEIVING:
        if instance.received_at - last_received_at >= _PRECISION:
            session.connection().execute(_TOUCH, {"study": position.study_id, "at": instance.received_at})
        if any(revisions):
            studies.note(session, position, NoteKind.REVISED_INSTANCE, instance.received_at, _detail(instance))
    elif revisions:
        cause = Cause.REVISED_INSTANCE if any(revisions) else Cause.LATE_INSTANCE
        studies.transition(session, position, Move(cause, instance.received_at, _detail(instance)))


def _study(session: Session, instance: ReceivedInstance) -> tuple[Position, datetime]:
    """Where the instance's study is, its row locked, and its last receipt; its first instance creates it."""
    uid = instance.header.study_instance_uid
    row = session.connection().execute(_FIND_STUDY, {"uid": uid}).one_or_none()
    if row is None:
        arrival = Arrival(uid, instance.calling_ae_title, instance.peer_address, instance.received_at)
        studies.create(session, arrival)
        row = session.connection().execute(_FIND_STUDY, {"uid": uid}).one()
    return Position(row.id, row.state, row.generation, row.lease_token), row.last_received_at


def _series(session: Session, study_id: int, instance: ReceivedInstance) -> int:
    """The key of the instance's series, which is created by its first instance."""
    uid = instance.header.series_instance_uid
    found: int | None = session.connection().execute(_FIND_SERIES, {"study": study_id, "uid": uid}).scalar()
    if found is not None:
        return found
    values = {"study_id": study_id, "series_instance_uid": uid, "modality": instance.header.modality}
    made = insert_once(session, Series, values)
    if made is None:  # by another process, just now
        made = session.connection().execute(_FIND_SERIES, {"study": study_id, "uid": uid}).scalar_one()
    return made


def _detail(instance: ReceivedInstance) -> str:
    return f"instance {instance.header.sop_instance_uid} from {instance.calling_ae_title}"


def _known_paths(session: Session, paths: list[str]) -> set[str]:
    instances = select(Instance.path).where(Instance.path.in_(paths))
    return set(session.scalars(instances.union(select(Review.path).where(Review.path.in_(paths)))))


def _described(spool: Spool, path: str) -> ReceivedInstance | None:
    """What the SCP would have reported of the stored file; None when it is no whole instance."""
    try:
        stored = spool.describe(path)
        written_at = datetime.fromtimestamp((spool.root / path).stat().st_mtime, UTC)
    except (InvalidInstance, OSError) as error:
        logger.warning("a stored file without a record is no whole instance", extra={"reason": type(error).__name__})
        return None
    return ReceivedInstance(
        header=stored.header,
        transfer_syntax_uid=stored.meta.transfer_syntax_uid,
        sha256=stored.sha256,
        size_bytes=stored.size_bytes,
        path=stored.path,
        calling_ae_title=stored.meta.source_ae_title or "UNKNOWN",
        peer_address=ADOPTED,
        association_id=ADOPTED,
        received_at=written_at,
    )
