"""Counters in the records: they survive restarts, and every process adds to the same ones (see ``worker.figures``)."""

import threading
from collections.abc import Mapping

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from worker.figures import Series
from worker.records import Counter


def read(session: Session) -> dict[Series, float]:
    """Every series that was ever counted."""
    rows = session.execute(select(Counter.name, Counter.labels, Counter.value))
    return {Series(row.name, row.labels): row.value for row in rows}


def add(session: Session, increments: Mapping[Series, float]) -> None:
    """Add to each series, which begins at 0; do it last in a transaction, for others wait for the rows meanwhile."""
    _upsert(session, increments, raising=False)


def raise_to(session: Session, values: Mapping[Series, float]) -> None:
    """Let each series be at least this."""
    _upsert(session, values, raising=True)


def value(session: Session, series: Series) -> float:
    """One series, 0 when nothing was counted."""
    query = select(Counter.value).where(Counter.name == series.name, Counter.labels == series.labels)
    return session.scalar(query) or 0.0


def advance(session: Session, series: Series, before: float, after: float) -> bool:
    """Compare a series with ``before`` and set it; False when another process was first."""
    if before == 0.0:
        _upsert(session, {series: 0.0}, raising=True)
    statement = (
        update(Counter)
        .where(Counter.name == series.name, Counter.labels == series.labels, Counter.value == before)
        .values(value=after)
    )
    return session.connection().execute(statement).rowcount == 1


def _upsert(session: Session, values: Mapping[Series, float], *, raising: bool) -> None:
    """Insert or change the rows, in one order for all processes: none waits for another in a circle."""
    if not values:
        return
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    rows = [{"name": item.name, "labels": item.labels, "value": values[item]} for item in sorted(values)]
    statement = insert(Counter).values(rows)
    new = statement.excluded.value
    session.connection().execute(
        statement.on_conflict_do_update(
            index_elements=["name", "labels"],
            set_={"value": new if raising else Counter.value + new},
            where=Counter.value < new if raising else None,
        )
    )


class Pending:
    """What one process counted and has not written yet; adding never waits for anything but other threads' adding."""

    def __init__(self) -> None:
        self._counted: dict[Series, float] = {}
        self._lock = threading.Lock()

    def add(self, series: Series, amount: float = 1.0) -> None:
        """Count."""
        with self._lock:
            self._counted[series] = self._counted.get(series, 0.0) + amount

    def take(self) -> dict[Series, float]:
        """Everything that was counted since the last time."""
        with self._lock:
            taken, self._counted = self._counted, {}
        return taken

    def give_back(self, taken: Mapping[Series, float]) -> None:
        """Count again what could not be written."""
        for series, amount in taken.items():
            self.add(series, amount)
