"""The files of a study as an analysis takes them: the newest revision of every instance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.records import Instance


@dataclass(frozen=True, slots=True)
class Input:
    """One instance: its newest revision."""

    sop_instance_uid: str
    sha256: str
    path: Path


def inputs_of(session: Session, study_id: int, spool_dir: Path) -> Sequence[Input]:
    """The inputs of a study in order of receipt."""
    newest: dict[str, Input] = {}
    for row in session.scalars(select(Instance).where(Instance.study_id == study_id).order_by(Instance.id)):
        newest[row.sop_instance_uid] = Input(row.sop_instance_uid, row.sha256, spool_dir / row.path)
    return list(newest.values())
