"""Who may use the console: users, their set-up links and tokens, in the records. See ``worker.sign_in``."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from worker import audit, lockout, passwords
from worker.audit import Actor
from worker.console_records import Act, Role, SetUpLink, User, UserSession, UserToken
from worker.errors import StartupError
from worker.sign_in import SignIns, digest_of, end_sessions

LINK_LIFE = timedelta(hours=24)
LONGEST_TOKEN_LIFE = timedelta(days=366)
TOKEN_PREFIX = "cspine_"  # noqa: S105  (the beginning of every token, so that scanners find lost ones)
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class LinkRefused(LookupError):
    """The set-up link was used, has expired, or never was one."""


@dataclass(frozen=True, slots=True)
class UserLine:
    """One user in a list."""

    name: str
    role: Role
    sees_identity: bool
    enabled: bool
    has_password: bool
    sessions: int
    tokens: int

    def as_line(self) -> str:
        """One line of text."""
        rights = f"{self.role:<9} {'identity' if self.sees_identity else '-':<9}"
        state = "disabled" if not self.enabled else "may sign in" if self.has_password else "has a link"
        return f"{self.name:<20} {rights} {state:<12} {self.sessions} sessions, {self.tokens} tokens"

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {**asdict(self), "role": self.role.value}


@dataclass(frozen=True, slots=True)
class Accounts:
    """Users and whatever lets them in."""

    sign_ins: SignIns

    def add(self, name: str, role: Role, actor: Actor, *, sees_identity: bool) -> str:
        """Add a user and return the secret of their set-up link. Raises ``StartupError``."""
        if NAME.fullmatch(name) is None:
            raise StartupError("a user's name has 1 to 64 small letters, digits, dots, hyphens and underscores")
        now = self.sign_ins.clock()
        with self.sign_ins.database.transaction() as session:
            if session.scalar(select(User.id).where(User.name == name)) is not None:
                raise StartupError(f"there is a user {name} already: see `cspine user list`")
            user = User(name=name, role=role, sees_identity=sees_identity, enabled=True, created_at=now)
            session.add(user)
            session.flush()
            audit.record(session, actor, Act.USER_ADDED, now, detail=f"{name}: {_rights(role, sees_identity)}")
            return _make_link(session, user.id, now)

    def change(self, name: str, role: Role, actor: Actor, *, sees_identity: bool) -> None:
        """Give a user another role; they have to sign in again. Raises ``StartupError``."""
        now = self.sign_ins.clock()
        with self.sign_ins.database.transaction() as session:
            user = _named(session, name)
            user.role, user.sees_identity = role, sees_identity
            end_sessions(session, user.id)
            audit.record(session, actor, Act.USER_CHANGED, now, detail=f"{name}: {_rights(role, sees_identity)}")

    def disable(self, name: str, actor: Actor) -> None:
        """Let a user in no more, from now on; their sessions, tokens and links end. Raises ``StartupError``."""
        with self.sign_ins.database.transaction() as session:
            user = _named(session, name)
            user.enabled = False
            _end_everything(session, user.id)
            audit.record(session, actor, Act.USER_DISABLED, self.sign_ins.clock(), detail=name)

    def reset(self, name: str, actor: Actor) -> str:
        """Take a user's password, sessions and tokens, enable them again, and return the secret of a set-up link."""
        now = self.sign_ins.clock()
        with self.sign_ins.database.transaction() as session:
            user = _named(session, name)
            user.enabled, user.password_hash = True, None
            _end_everything(session, user.id)
            lockout.forget(session, self.sign_ins.name_key(name))
            audit.record(session, actor, Act.USER_RESET, now, detail=name)
            return _make_link(session, user.id, now)

    def make_token(self, name: str, life: timedelta, actor: Actor) -> str:
        """A bearer token that acts as the user. Raises ``StartupError``."""
        if not timedelta() < life <= LONGEST_TOKEN_LIFE:
            raise StartupError(f"a token lives for 1 to {LONGEST_TOKEN_LIFE.days} days")
        now, token = self.sign_ins.clock(), TOKEN_PREFIX + secrets.token_urlsafe(32)
        with self.sign_ins.database.transaction() as session:
            user = _named(session, name)
            if not user.enabled:
                raise StartupError(f"user {name} is disabled: `cspine user reset {name}` enables them")
            row = UserToken(digest=digest_of(token), user_id=user.id, created_at=now, expires_at=now + life)
            session.add(row)
            audit.record(session, actor, Act.TOKEN_MADE, now, detail=f"{name}, for {life.days} days")
        return token

    def lines(self) -> Sequence[UserLine]:
        """Every user."""
        with self.sign_ins.database.reading() as session:
            sessions, tokens = (_counts(session, table) for table in (UserSession, UserToken))
            return [
                UserLine(
                    user.name,
                    user.role,
                    user.sees_identity,
                    user.enabled,
                    user.password_hash is not None,
                    sessions.get(user.id, 0),
                    tokens.get(user.id, 0),
                )
                for user in session.scalars(select(User).order_by(User.name))
            ]

    def first_link(self) -> str | None:
        """The secret of a link that makes the first admin, in place of any before; None where somebody may sign in."""
        now = self.sign_ins.clock()
        with self.sign_ins.database.transaction() as session:
            if session.scalar(select(func.count()).select_from(User)):
                return None
            session.execute(delete(SetUpLink).where(SetUpLink.user_id.is_(None)))
            return _make_link(session, None, now)

    def link_is_for(self, secret: str) -> str | None:
        """The name of the user whose link it is, None for the first admin's. Raises ``LinkRefused``."""
        with self.sign_ins.database.reading() as session:
            link = _link(session, secret, self.sign_ins.clock())
            return None if link.user_id is None else session.get_one(User, link.user_id).name

    def use_link(self, secret: str, name: str, password: str, actor: Actor) -> str:
        """Set the password, once; return the user's name. ``name`` is the first admin's, and chosen by them.

        Raises ``LinkRefused``, ``PasswordRefused``, and ``StartupError`` for a name that cannot be one.
        """
        user_name = self.link_is_for(secret) or name
        if NAME.fullmatch(user_name) is None:
            raise StartupError("a user's name has 1 to 64 small letters, digits, dots, hyphens and underscores")
        passwords.check(password, user_name)
        hashed, now = self.sign_ins.passwords.hash(password), self.sign_ins.clock()
        with self.sign_ins.database.transaction() as session:
            link = _link(session, secret, now)
            if session.connection().execute(delete(SetUpLink).where(SetUpLink.id == link.id)).rowcount != 1:
                raise LinkRefused
            if link.user_id is None:
                if session.scalar(select(func.count()).select_from(User)):
                    raise LinkRefused
                user = User(name=user_name, role=Role.ADMIN, sees_identity=True, enabled=True, created_at=now)
                session.add(user)
                audit.record(session, actor, Act.USER_ADDED, now, detail=f"{user_name}: {_rights(Role.ADMIN, True)}")
            else:
                user = session.get_one(User, link.user_id)
            user.password_hash = hashed
            audit.record(session, Actor(user_name, actor.address), Act.PASSWORD_SET, now)
        return user_name


def _named(session: Session, name: str) -> User:
    user = session.scalar(select(User).where(User.name == name).with_for_update())
    if user is None:
        raise StartupError(f"there is no user {name}: see `cspine user list`")
    return user


def _rights(role: Role, sees_identity: bool) -> str:  # noqa: FBT001  (read as one word)
    return f"{role.value}, {'sees' if sees_identity else 'does not see'} identity"


def _counts(session: Session, table: type[UserSession] | type[UserToken]) -> dict[int, int]:
    """How many rows of a table each user has."""
    query = select(table.user_id, func.count()).group_by(table.user_id)
    return {row[0]: row[1] for row in session.execute(query)}


def _make_link(session: Session, user_id: int | None, now: datetime) -> str:
    secret = secrets.token_urlsafe(32)
    session.add(SetUpLink(digest=digest_of(secret), user_id=user_id, expires_at=now + LINK_LIFE))
    return secret


def _link(session: Session, secret: str, now: datetime) -> SetUpLink:
    query = select(SetUpLink).where(SetUpLink.digest == digest_of(secret), SetUpLink.expires_at > now)
    link = session.scalar(query)
    if link is None:
        raise LinkRefused
    return link


def _end_everything(session: Session, user_id: int) -> None:
    end_sessions(session, user_id)
    session.execute(delete(UserToken).where(UserToken.user_id == user_id))
    session.execute(delete(SetUpLink).where(SetUpLink.user_id == user_id))
