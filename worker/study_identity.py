"""Whose a study is: read from a stored instance when somebody who may see it looks; never kept in the records."""

import logging
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.attributes import ATTRIBUTES
from dicom_node.errors import InvalidInstance
from dicom_node.instance_file import read_instance
from dicom_node.study_attributes import STUDY_KEYWORDS, StudyAttributes, attributes_of
from worker.records import Instance

logger = logging.getLogger(__name__)

_WANTED = frozenset(ATTRIBUTES[keyword].tag for keyword in (*STUDY_KEYWORDS, "SpecificCharacterSet"))


def newest_file(session: Session, study_id: int, spool_dir: Path) -> Path | None:
    """The file of the study's newest instance; None where it has none."""
    query = select(Instance.path).where(Instance.study_id == study_id).order_by(Instance.id.desc()).limit(1)
    path = session.scalar(query)
    return None if path is None else spool_dir / path


def read_identity(path: Path) -> StudyAttributes | None:
    """Patient and study as the instance names them, sanitized; None where the file is gone or cannot be read."""
    try:
        return attributes_of(read_instance(path, _WANTED).dataset.header(STUDY_KEYWORDS))
    except (InvalidInstance, OSError) as error:
        logger.info("an identity could not be read", extra={"reason": type(error).__name__})
        return None
