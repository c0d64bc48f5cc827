"""The tables of the console: users, their sessions, tokens and links, refused sign-ins, the audit trail, the mode.

Whatever lets somebody in (session, token, link) is stored as its SHA-256 alone. No column names a patient.
"""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Enum, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from worker.records import Base, Identifier


class Role(StrEnum):
    """What a user may do; each role may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """The roles in their order."""
        return list(Role).index(self)

    def covers(self, other: "Role") -> bool:
        """Whether this role may do what ``other`` may."""
        return self.rank >= other.rank


class Mode(StrEnum):
    """What is begun: everything; only the delivery of what was analyzed; nothing. What runs always finishes."""

    RUNNING = "running"
    DRAINING = "draining"
    PAUSED = "paused"


class Act(StrEnum):
    """What the audit trail records."""

    SIGNED_IN = "SIGNED_IN"
    SIGNED_OUT = "SIGNED_OUT"
    SIGN_IN_REFUSED = "SIGN_IN_REFUSED"
    LOCKED_OUT = "LOCKED_OUT"
    PASSWORD_SET = "PASSWORD_SET"  # noqa: S105  (an action, not a password)
    USER_ADDED = "USER_ADDED"
    USER_CHANGED = "USER_CHANGED"
    USER_DISABLED = "USER_DISABLED"
    USER_RESET = "USER_RESET"
    TOKEN_MADE = "TOKEN_MADE"  # noqa: S105  (an action, not a token)
    IDENTITY_SHOWN = "IDENTITY_SHOWN"
    RETRIED = "RETRIED"
    PRIORITIZED = "PRIORITIZED"
    HELD = "HELD"
    RELEASED = "RELEASED"
    RETRACTED = "RETRACTED"
    SENT_AGAIN = "SENT_AGAIN"
    DOWNLOADED = "DOWNLOADED"
    UPLOADED = "UPLOADED"
    MODE_CHANGED = "MODE_CHANGED"


def _words(kind: type[StrEnum]) -> Enum:
    """A column of the values of an enum, as text."""
    return Enum(
        kind, native_enum=False, length=16, validate_strings=True, values_callable=lambda e: [m.value for m in e]
    )


class User(Base):
    """One person who may sign in; without a ``password_hash`` only a set-up link lets them in."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[Role] = mapped_column(_words(Role))
    sees_identity: Mapped[bool]
    enabled: Mapped[bool]
    password_hash: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime]


class UserSession(Base):
    """One signed-in browser."""

    __tablename__ = "user_sessions"

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]

    user: Mapped[User] = relationship()


class UserToken(Base):
    """One bearer token of a user, for scripts."""

    __tablename__ = "user_tokens"

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]

    user: Mapped[User] = relationship()


class SetUpLink(Base):
    """A link that lets somebody choose a password once; without a user it makes the first admin."""

    __tablename__ = "set_up_links"

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)
    expires_at: Mapped[datetime]


class RefusedSignIns(Base):
    """How often a name or an address (``key`` is a keyed hash of either) was refused since ``since``."""

    __tablename__ = "refused_sign_ins"

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    count: Mapped[int]
    since: Mapped[datetime] = mapped_column(index=True)


class AuditEntry(Base):
    """One line of the audit trail: who did what, when, from where, to which study; never changed."""

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    at: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(64))
    act: Mapped[Act] = mapped_column(Enum(Act, native_enum=False, length=32, validate_strings=True))
    study_id: Mapped[int | None] = mapped_column(ForeignKey("studies.id"), index=True)
    address: Mapped[str] = mapped_column(String(64))
    detail: Mapped[str] = mapped_column(Text, default="")


class ModeChange(Base):
    """One change of the mode; the last one holds, and without one everything runs."""

    __tablename__ = "mode_changes"

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    at: Mapped[datetime]
    mode: Mapped[Mode] = mapped_column(_words(Mode))
    by: Mapped[str] = mapped_column(String(64))
