"""The audit trail: who did what, when, from where, to which study. Written in the transaction of what it tells."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.console_records import Act, AuditEntry

COMMAND_LINE = "command line"
"""The address of who acts on the machine itself."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, by their name as a user (of the machine, at the command line), and the address they come from."""

    name: str
    address: str


def record(
    session: Session, actor: Actor, act: Act, at: datetime, study_id: int | None = None, detail: str = ""
) -> None:
    """Append one line; ``detail`` names no patient."""
    entry = AuditEntry(at=at, by=actor.name[:64], act=act, study_id=study_id, address=actor.address[:64], detail=detail)
    session.add(entry)


def entries(session: Session, before: int | None, limit: int, by: str | None = None) -> Sequence[AuditEntry]:
    """The newest lines, or those before the line with the key ``before``."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    if by is not None:
        query = query.where(AuditEntry.by == by)
    return session.scalars(query).all()
