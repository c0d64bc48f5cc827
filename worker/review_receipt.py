"""Received reviews into the records: whether one is of use here, and its row. Neither study nor state is touched."""

import logging

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from dicom_node.header import InstanceHeader
from dicom_node.receipts import ReceivedInstance
from dicom_node.transfer_syntaxes import REVIEW_CLASSES
from worker.records import ResultObject, Review, Run, Study, insert_once

logger = logging.getLogger(__name__)


def may_be_review(header: InstanceHeader) -> bool:
    """Whether the instance has a SOP class of reviews."""
    return header.sop_class_uid in REVIEW_CLASSES


def is_of_use(session: Session, header: InstanceHeader) -> bool:
    """Whether an instance of such a class can be a review: of a study that has results, and none of these itself.

    Our results are never verified: one that says so was verified in place, under the UID that we gave it. What the
    instance speaks of is not known before it is read, which the listener never does.
    """
    ours = select(exists().where(ResultObject.sop_instance_uid == header.sop_instance_uid))
    if not header.verified and session.scalar(ours):
        return False
    analyzed = exists().where(Study.study_instance_uid == header.study_instance_uid, Run.study_id == Study.id)
    return session.scalar(select(analyzed)) is True


def record_review(session: Session, instance: ReceivedInstance) -> None:
    """Keep the review's row, once; the clerk reads its file.

    A file whose study has no record (adopted after a loss of the database) is left alone: a review begins no study.
    """
    header = instance.header
    study_id = session.scalar(select(Study.id).where(Study.study_instance_uid == header.study_instance_uid))
    if study_id is None:
        logger.warning("a review of an unknown study is left in the spool")
        return
    values = {
        "study_id": study_id,
        "sop_class_uid": header.sop_class_uid,
        "sop_instance_uid": header.sop_instance_uid,
        "sha256": instance.sha256,
        "size_bytes": instance.size_bytes,
        "path": instance.path,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
        "received_at": instance.received_at,
        "calling_ae_title": instance.calling_ae_title,
    }
    insert_once(session, Review, values)
