"""Which model serves and which is its shadow: rows that are compared and set, each change with a line of history.

The bundle of the package needs no row: it serves until another is promoted, and again after a rollback to it. Workers
look at the rows before each study (``chosen``), so that a change holds from the next study on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from worker.errors import StartupError
from worker.records import ModelChoice, ModelEvent, ModelEventKind, ModelRole, insert_once

BUILT_IN = "built-in"
"""How the bundle of the package is called where a SHA-256 could stand."""


class ModelChoiceChanged(StartupError):
    """Someone else changed the choice in the same moment: nothing was done."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The bundle of a role (None: that of the package, or no shadow) in its ``revision``-th choice, 0 before any."""

    role: ModelRole
    sha256: str | None
    revision: int
    since: datetime | None

    def __str__(self) -> str:
        return named(self.sha256) if self.role is ModelRole.SERVING else (self.sha256 or "none")[:12]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something, when and why, for the history."""

    by: str
    at: datetime
    reason: str = ""


def named(sha256: str | None) -> str:
    """A model in a sentence."""
    return BUILT_IN if sha256 is None else sha256[:12]


def chosen(session: Session, role: ModelRole) -> Chosen:
    """The present choice."""
    row = session.execute(
        select(ModelChoice.bundle_sha256, ModelChoice.revision, ModelChoice.changed_at).where(ModelChoice.role == role)
    ).one_or_none()
    return Chosen(role, None, 0, None) if row is None else Chosen(role, *row)


def promote(session: Session, before: Chosen, sha256: str | None, actor: Actor) -> None:
    """Let a bundle serve in place of ``before``; raises ``ModelChoiceChanged`` when that is not the choice any more."""
    if sha256 == before.sha256:
        raise StartupError(f"model {named(sha256)} serves already")
    _set(session, before, sha256, actor)
    record(session, ModelEventKind.PROMOTED, sha256, actor)


def roll_back(session: Session, before: Chosen, actor: Actor) -> None:
    """Let the bundle serve that served before the present one; again: the one before that."""
    target = previous(session)
    _set(session, before, target, actor)
    record(session, ModelEventKind.ROLLED_BACK, target, actor)


def start_shadow(session: Session, before: Chosen, sha256: str, actor: Actor) -> None:
    """Let a bundle be the shadow from now on."""
    if sha256 == before.sha256:
        raise StartupError(f"model {named(sha256)} is the shadow already")
    _set(session, before, sha256, actor)
    record(session, ModelEventKind.SHADOW_STARTED, sha256, actor)


def end_shadow(session: Session, before: Chosen, actor: Actor) -> None:
    """Have no shadow any more."""
    if before.sha256 is None:
        raise StartupError("no model is the shadow")
    _set(session, before, None, actor)
    record(session, ModelEventKind.SHADOW_ENDED, before.sha256, actor)


def previous(session: Session) -> str | None:
    """The bundle that a rollback would let serve; raises ``StartupError`` when none served before the present one."""
    stack = served(history(session))
    if len(stack) < 2:
        raise StartupError("there is nothing to roll back to: the built-in model served from the beginning")
    return stack[-2]


def served(events: Iterable[ModelEvent]) -> list[str | None]:
    """The bundles that served, the present one last, without those that were rolled back from."""
    stack: list[str | None] = [None]
    for event in events:
        if event.kind is ModelEventKind.PROMOTED:
            stack.append(event.bundle_sha256)
        elif event.kind is ModelEventKind.ROLLED_BACK:
            stack.pop()
    return stack


def history(session: Session) -> Sequence[ModelEvent]:
    """Every event, oldest first."""
    return session.scalars(select(ModelEvent).order_by(ModelEvent.id)).all()


def record(session: Session, kind: ModelEventKind, sha256: str | None, actor: Actor) -> None:
    """Write a line of the history."""
    session.add(ModelEvent(at=actor.at, kind=kind, bundle_sha256=sha256, by=actor.by[:64], reason=actor.reason))


def _set(session: Session, before: Chosen, sha256: str | None, actor: Actor) -> None:
    """Compare the choice with ``before`` and set it, in one statement."""
    values = {"bundle_sha256": sha256, "revision": before.revision + 1, "changed_at": actor.at}
    if before.revision == 0:
        done = insert_once(session, ModelChoice, {"role": before.role, **values}) is not None
    else:
        matching = ModelChoice.role == before.role, ModelChoice.revision == before.revision
        statement = update(ModelChoice).where(*matching).values(values).execution_options(synchronize_session=False)
        done = session.connection().execute(statement).rowcount == 1
    if not done:
        raise ModelChoiceChanged("another command changed the model in this moment: look with `cspine model list`")
