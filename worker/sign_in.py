"""Sign-in to the console: passwords against guessing, sessions that end, bearer tokens; all of it is in the records."""

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from worker import audit, lockout, passwords
from worker.audit import Actor
from worker.console_records import Act, Role, User, UserSession, UserToken
from worker.database import Database
from worker.installation_key import InstallationKey
from worker.passwords import Passwords
from worker.ports import Clock

IDLE = timedelta(minutes=30)
LONGEST = timedelta(hours=12)
SEEN_EVERY = timedelta(minutes=1)
"""A session's last sign of life is not written for every request."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who is behind a request; ``session_id`` is None where a token let them in."""

    user_id: int
    name: str
    role: Role
    sees_identity: bool
    session_id: int | None


@dataclass(frozen=True, slots=True)
class SignIns:
    """Lets people and scripts in, and knows who is behind a request."""

    database: Database
    key: InstallationKey
    clock: Clock
    passwords: Passwords = field(default_factory=Passwords)

    def sign_in(self, name: str, password: str, address: str) -> str | None:
        """The secret of a new session, or None: the answer and the work tell nobody whether there is such a user.

        An address that is locked out gets no work done.
        """
        now, known = self.clock(), name.strip().casefold()[:64]
        name_key, address_key = self.name_key(known), self.key.digest("address", address)
        with self.database.transaction() as session:
            limits = {name_key: lockout.NAME_LIMIT, address_key: lockout.ADDRESS_LIMIT}
            verdict = lockout.begin(session, limits, now)
            user = session.scalar(select(User).where(User.name == known))
            actor = Actor(known if user is not None else "(unknown)", address)
            if verdict.begins:
                audit.record(session, actor, Act.LOCKED_OUT, now, detail=f"for {lockout.WINDOW.seconds // 60} minutes")
        if address_key in verdict.locked:
            return None
        usable = user.password_hash if user is not None and user.enabled and not verdict.locked else None
        if not self.passwords.matches(usable, password):
            if not verdict.locked:
                with self.database.transaction() as session:
                    audit.record(session, actor, Act.SIGN_IN_REFUSED, now)
            return None
        rehashed = self.passwords.hash(password) if usable and self.passwords.is_outdated(usable) else None
        with self.database.transaction() as session:
            current = session.scalar(select(User).where(User.name == known, User.enabled, User.password_hash == usable))
            if current is None:  # disabled or reset at this moment
                return None
            current.password_hash = rehashed or usable
            lockout.succeeded(session, name_key, address_key)
            audit.record(session, actor, Act.SIGNED_IN, now)
            return _begin_session(session, current.id, now)

    def change_password(self, who: SignedIn, old: str, new: str, actor: Actor) -> str | None:
        """Set another password, end all sessions, and return a new one's secret; None when the old one is wrong.

        Raises ``PasswordRefused``.
        """
        passwords.check(new, who.name)
        now, name_key = self.clock(), self.name_key(who.name)
        with self.database.transaction() as session:
            verdict = lockout.begin(session, {name_key: lockout.NAME_LIMIT}, now)
            stored = session.get_one(User, who.user_id).password_hash
        if not self.passwords.matches(None if verdict.locked else stored, old):
            return None
        hashed = self.passwords.hash(new)
        with self.database.transaction() as session:
            lockout.forget(session, name_key)
            session.get_one(User, who.user_id).password_hash = hashed
            end_sessions(session, who.user_id)
            audit.record(session, actor, Act.PASSWORD_SET, now)
            return _begin_session(session, who.user_id, now)

    def sign_out(self, who: SignedIn, actor: Actor) -> None:
        """End the session."""
        with self.database.transaction() as session:
            session.execute(delete(UserSession).where(UserSession.id == who.session_id))
            audit.record(session, actor, Act.SIGNED_OUT, self.clock())

    def of_session(self, secret: str, *, looks_by_itself: bool) -> SignedIn | None:
        """Who the session is of, if it is still good; a page that only looks again by itself does not keep it alive."""
        now = self.clock()
        query = (
            select(UserSession.id, UserSession.seen_at, UserSession.user_id, User.name, User.role, User.sees_identity)
            .join(UserSession.user)
            .where(UserSession.digest == digest_of(secret), User.enabled)
            .where(UserSession.seen_at > now - IDLE, UserSession.created_at > now - LONGEST)
        )
        with self.database.reading() as session:
            row = session.execute(query).one_or_none()
        if row is None:
            return None
        if not looks_by_itself and now - row.seen_at > SEEN_EVERY:
            with self.database.transaction() as session:
                session.execute(update(UserSession).where(UserSession.id == row.id).values(seen_at=now))
        return SignedIn(row.user_id, row.name, row.role, row.sees_identity, row.id)

    def of_token(self, token: str) -> SignedIn | None:
        """Who the bearer token acts as, if it is still good."""
        query = (
            select(User.id, User.name, User.role, User.sees_identity)
            .join(UserToken, UserToken.user_id == User.id)
            .where(UserToken.digest == digest_of(token), UserToken.expires_at > self.clock(), User.enabled)
        )
        with self.database.reading() as session:
            row = session.execute(query).one_or_none()
        return None if row is None else SignedIn(row.id, row.name, row.role, row.sees_identity, None)

    def name_key(self, name: str) -> str:
        """Under what the refusals of a name are counted."""
        return self.key.digest("name", name)


def digest_of(secret: str) -> str:
    """What is stored of a secret that nobody can guess."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _begin_session(session: Session, user_id: int, now: datetime) -> str:
    """A new session; those that are over are forgotten."""
    over = or_(UserSession.seen_at <= now - IDLE, UserSession.created_at <= now - LONGEST)
    session.execute(delete(UserSession).where(over))
    session.execute(delete(UserToken).where(UserToken.expires_at <= now))
    secret = secrets.token_urlsafe(32)
    session.add(UserSession(digest=digest_of(secret), user_id=user_id, created_at=now, seen_at=now))
    return secret


def end_sessions(session: Session, user_id: int) -> None:
    """Sign a user out everywhere."""
    session.execute(delete(UserSession).where(UserSession.user_id == user_id))
