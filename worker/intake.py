"""Received instances into the records: the receipt port of the storage SCP, and adoption of files without a record."""

import logging
from datetime import UTC, datetime
from functools import partial
from itertools import islice

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from dicom_node.errors import InvalidInstance
from dicom_node.receipts import ReceiptPort, ReceivedInstance
from dicom_node.spool import Spool
from worker import studies
from worker.database import GroupCommitWriter
from worker.records import Instance, NoteKind, Series, Study, insert_once
from worker.states import Cause, StudyState
from worker.studies import Arrival, Move, Position

logger = logging.getLogger(__name__)

ADOPTED = "adopted"
"""Association identifier of an instance whose record was made from its file."""

_BATCH = 500


class Intake(ReceiptPort):
    """Records instances through the process's one writer; ``record`` returns only when the row is durable.

    Idempotent on (study, SOP Instance UID, SHA-256): the same instance again changes nothing but the time of the last
    receipt of a study that still receives. Raises what ``GroupCommitWriter.write`` raises; the SCP then answers 0xA700.
    """

    def __init__(self, writer: GroupCommitWriter) -> None:
        self._writer = writer

    def record(self, instance: ReceivedInstance) -> None:
        """Make the instance's rows durable."""
        self._writer.write(partial(record_instance, instance=instance))

    def adopt(self, spool: Spool) -> int:
        """Record every stored file that has no record (the process ended between file and row); return how many.

        A file that is no whole instance is left alone and logged.
        """
        adopted = 0
        paths = iter(spool.files())
        while batch := list(islice(paths, _BATCH)):
            known = self._writer.write(partial(_known_paths, paths=batch))
            for path in batch:
                if path not in known and (instance := _described(spool, path)) is not None:
                    self.record(instance)
                    adopted += 1
        return adopted


def record_instance(session: Session, instance: ReceivedInstance) -> None:
    """Upsert study, series and instance in this transaction, and move the study as the table says."""
    header = instance.header
    position = _study(session, instance)
    series_id = _series(session, position.study_id, instance)
    at_this_uid = (Instance.study_id == position.study_id, Instance.sop_instance_uid == header.sop_instance_uid)
    revision = bool(session.scalar(select(exists().where(*at_this_uid))))
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
        "revision": revision,
    }
    new = insert_once(session, Instance, values) is not None
    if position.state is StudyState.RECEIVING:
        _received(session, position.study_id, instance.received_at)
        if new and revision:
            studies.note(session, position, NoteKind.REVISED_INSTANCE, instance.received_at, _detail(instance))
    elif new:
        cause = Cause.REVISED_INSTANCE if revision else Cause.LATE_INSTANCE
        studies.transition(session, position, Move(cause, instance.received_at, _detail(instance)))


def _study(session: Session, instance: ReceivedInstance) -> Position:
    """Where the instance's study is, its row locked; the study is created by its first instance."""
    uid = instance.header.study_instance_uid
    query = select(Study.id).where(Study.study_instance_uid == uid)
    study_id = session.scalar(query)
    if study_id is None:
        arrival = Arrival(uid, instance.calling_ae_title, instance.peer_address, instance.received_at)
        study_id = studies.create(session, arrival) or session.scalars(query).one()
    return studies.position_of(session, study_id, lock=True)


def _series(session: Session, study_id: int, instance: ReceivedInstance) -> int:
    """The key of the instance's series, which is created by its first instance."""
    header = instance.header
    query = select(Series.id).where(
        Series.study_id == study_id, Series.series_instance_uid == header.series_instance_uid
    )
    found = session.scalar(query)
    if found is not None:
        return found
    values = {
        "study_id": study_id,
        "series_instance_uid": header.series_instance_uid,
        "modality": header.modality,
    }
    return insert_once(session, Series, values) or session.scalars(query).one()


def _received(session: Session, study_id: int, at: datetime) -> None:
    """The quiet period starts anew; instances that overtook each other do not turn it back."""
    statement = update(Study).where(Study.id == study_id, Study.last_received_at < at).values(last_received_at=at)
    session.connection().execute(statement)


def _detail(instance: ReceivedInstance) -> str:
    return f"instance {instance.header.sop_instance_uid} from {instance.calling_ae_title}"


def _known_paths(session: Session, paths: list[str]) -> set[str]:
    return set(session.scalars(select(Instance.path).where(Instance.path.in_(paths))))


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
