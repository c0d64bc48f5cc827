"""Refused sign-ins are counted by name and by address, in the records; after too many nobody gets in for a while."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import case, delete, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from worker.console_records import RefusedSignIns

WINDOW = timedelta(minutes=15)
"""How long refusals count, and for how long somebody is locked out after the last that was allowed."""
NAME_LIMIT = 5
ADDRESS_LIMIT = 30


@dataclass(frozen=True, slots=True)
class Verdict:
    """Under which keys too much was tried; ``begins`` says that one of them is locked by this very try."""

    locked: frozenset[str]
    begins: bool


def begin(session: Session, limits: Mapping[str, int], now: datetime) -> Verdict:
    """Count a try under each key before it is made, so that tries at the same time count too."""
    session.execute(delete(RefusedSignIns).where(RefusedSignIns.since <= now - WINDOW))
    beyond = {key: _count(session, key, limit, now) - limit for key, limit in sorted(limits.items())}
    return Verdict(frozenset(key for key, excess in beyond.items() if excess > 0), 1 in beyond.values())


def succeeded(session: Session, name_key: str, address_key: str) -> None:
    """The try was a good one: forget the refusals of the name, and take it off those of the address."""
    session.execute(delete(RefusedSignIns).where(RefusedSignIns.key == name_key))
    taken_off = update(RefusedSignIns).where(RefusedSignIns.key == address_key, RefusedSignIns.count > 0)
    session.execute(taken_off.values(count=RefusedSignIns.count - 1))


def forget(session: Session, key: str) -> None:
    """Let a name in again: its user was given a new link."""
    session.execute(delete(RefusedSignIns).where(RefusedSignIns.key == key))


def _count(session: Session, key: str, limit: int, now: datetime) -> int:
    """One more under the key; at the limit the time begins anew."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    more = RefusedSignIns.count + 1
    statement = (
        insert(RefusedSignIns)
        .values(key=key, count=1, since=now)
        .on_conflict_do_update(
            index_elements=["key"],
            set_={"count": more, "since": case((more == limit, now), else_=RefusedSignIns.since)},
        )
        .returning(RefusedSignIns.count)
    )
    return session.connection().execute(statement).scalar_one()
