"""Passwords: what is accepted, how they are hashed (Argon2id, RFC 9106), checked in a time that tells nothing."""

import secrets
import threading
from dataclasses import dataclass, field

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

MINIMUM = 12
MAXIMUM = 256
"""Characters; nobody types more, and hashing them costs time."""
MINIMUM_DIFFERENT = 5
AT_ONCE = 2
"""Passwords that are hashed at the same time: each takes 64 MiB, and whoever floods the sign-in waits."""


class PasswordRefused(ValueError):
    """The password is none that we take: the message says why."""


def check(password: str, name: str) -> None:
    """Raise ``PasswordRefused`` unless it is long enough and no obvious one."""
    if not MINIMUM <= len(password) <= MAXIMUM:
        raise PasswordRefused(f"Choose a password of {MINIMUM} to {MAXIMUM} characters, such as four words.")
    if len(set(password)) < MINIMUM_DIFFERENT:
        raise PasswordRefused(f"Choose a password with at least {MINIMUM_DIFFERENT} different characters.")
    if name.casefold() in password.casefold():
        raise PasswordRefused("Choose a password that does not hold your name.")


def check_repeated(password: str, again: str) -> None:
    """Raise ``PasswordRefused`` unless it was typed alike twice."""
    if password != again:
        raise PasswordRefused("The two passwords are not the same.")


@dataclass(frozen=True, slots=True)
class Passwords:
    """Hashes and checks; ``hasher`` says with which effort."""

    hasher: PasswordHasher = field(default_factory=PasswordHasher)
    _nobodys: str = field(init=False, repr=False)
    _turn: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(AT_ONCE), repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_nobodys", self.hasher.hash(secrets.token_urlsafe(16)))

    def hash(self, password: str) -> str:
        """The hash that is stored."""
        with self._turn:
            return self.hasher.hash(password)

    def matches(self, stored: str | None, password: str) -> bool:
        """Whether the password is the one of the hash; without a hash the same work is done, in vain."""
        with self._turn:
            try:
                self.hasher.verify(stored or self._nobodys, password[: MAXIMUM + 1])
            except VerifyMismatchError:
                return False
            except (VerificationError, InvalidHashError):  # a hash that was tampered with lets nobody in
                return False
        return stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash was made with less effort than is usual now."""
        return self.hasher.check_needs_rehash(stored)
