"""worker.accounts and worker.sign_in: who gets in, by what, for how long, and what is written down of it."""

import statistics
import threading
import time
from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from tests.worker.conftest import FakeClock
from worker.accounts import Accounts, LinkRefused
from worker.audit import Actor, entries
from worker.console_records import Act, AuditEntry, Role, SetUpLink, User, UserSession, UserToken
from worker.database import Database
from worker.errors import StartupError
from worker.installation_key import InstallationKey
from worker.lockout import ADDRESS_LIMIT, NAME_LIMIT, WINDOW
from worker.passwords import PasswordRefused, Passwords, check
from worker.sign_in import IDLE, LONGEST, SignIns

ROOT = Actor("root", "command line")
GOOD = "four words of mine"
QUICK = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def accounts(database: Database, clock: FakeClock) -> Accounts:
    return Accounts(SignIns(database, InstallationKey(b"k" * 32), clock, QUICK))


def with_password(accounts: Accounts, name: str = "anna", role: Role = Role.OPERATOR) -> None:
    link = accounts.add(name, role, ROOT, sees_identity=False)
    accounts.use_link(link, "", GOOD, Actor("(link)", "10.0.0.9"))


def sign_in(accounts: Accounts, name: str = "anna", password: str = GOOD, address: str = "10.0.0.9") -> str | None:
    return accounts.sign_ins.sign_in(name, password, address)


def acts(accounts: Accounts) -> list[tuple[Act, str]]:
    with accounts.sign_ins.database.reading() as session:
        return [(row.act, row.by) for row in session.scalars(select(AuditEntry).order_by(AuditEntry.id))]


def is_in(accounts: Accounts, secret: str | None) -> bool:
    assert secret is not None
    return accounts.sign_ins.of_session(secret, looks_by_itself=True) is not None


def test_the_first_link_makes_the_first_admin_once(accounts: Accounts):
    older, link = accounts.first_link(), accounts.first_link()
    assert older is not None
    assert link is not None
    with pytest.raises(LinkRefused):
        accounts.link_is_for(older)
    assert accounts.link_is_for(link) is None
    assert accounts.use_link(link, "anna", GOOD, Actor("(link)", "10.0.0.9")) == "anna"
    assert accounts.first_link() is None
    with pytest.raises(LinkRefused):
        accounts.use_link(link, "eve", GOOD, Actor("(link)", "10.0.0.9"))
    [line] = accounts.lines()
    assert (line.name, line.role, line.sees_identity, line.has_password) == ("anna", Role.ADMIN, True, True)
    assert is_in(accounts, sign_in(accounts))
    assert acts(accounts) == [(Act.USER_ADDED, "(link)"), (Act.PASSWORD_SET, "anna"), (Act.SIGNED_IN, "anna")]


def test_a_link_expires(accounts: Accounts, clock: FakeClock):
    link = accounts.add("anna", Role.VIEWER, ROOT, sees_identity=False)
    clock.advance(24 * 3600)
    with pytest.raises(LinkRefused):
        accounts.use_link(link, "", GOOD, ROOT)


def test_a_refused_password_leaves_the_link_as_it_is(accounts: Accounts):
    link = accounts.add("anna", Role.VIEWER, ROOT, sees_identity=False)
    with pytest.raises(PasswordRefused):
        accounts.use_link(link, "", "short", ROOT)
    assert accounts.link_is_for(link) == "anna"


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaaa", "I am Anna, really", "x" * 300])
def test_obvious_passwords_are_refused(password: str):
    with pytest.raises(PasswordRefused):
        check(password, "anna")


def test_nothing_that_lets_somebody_in_is_stored_as_it_is(accounts: Accounts, database: Database):
    with_password(accounts)
    link = accounts.add("ben", Role.VIEWER, ROOT, sees_identity=False)
    session_secret, token = sign_in(accounts), accounts.make_token("anna", timedelta(days=1), ROOT)
    with database.reading() as session:
        stored = [
            *session.scalars(select(SetUpLink.digest)),
            *session.scalars(select(UserSession.digest)),
            *session.scalars(select(UserToken.digest)),
            *session.scalars(select(User.password_hash).where(User.password_hash.is_not(None))),
        ]
    assert len(stored) == 4
    assert not any(secret in text for text in stored for secret in (link, session_secret, token, GOOD))
    assert stored[-1].startswith("$argon2id$")


@pytest.mark.parametrize(("name", "password"), [("anna", "wrong words of mine"), ("nobody", GOOD), ("ben", GOOD)])
def test_wrong_unknown_and_disabled_are_answered_alike(accounts: Accounts, name: str, password: str):
    with_password(accounts)
    with_password(accounts, "ben")
    accounts.disable("ben", ROOT)
    assert sign_in(accounts, name, password) is None
    assert acts(accounts)[-1] == (Act.SIGN_IN_REFUSED, name if name != "nobody" else "(unknown)")


def test_an_unknown_name_takes_the_time_of_a_known_one(database: Database, clock: FakeClock):
    slow = Passwords(PasswordHasher(time_cost=3, memory_cost=16384, parallelism=1))
    accounts = Accounts(SignIns(database, InstallationKey(b"k" * 32), clock, slow))
    with_password(accounts)

    def seconds(name: str, address: str) -> float:
        started = time.perf_counter()
        assert sign_in(accounts, name, "wrong words of mine", address) is None
        return time.perf_counter() - started

    known = [seconds("anna", f"10.0.1.{number}") for number in range(4)]
    unknown = [seconds("nobody", f"10.0.2.{number}") for number in range(4)]
    assert 0.4 < statistics.median(unknown) / statistics.median(known) < 2.5


def test_after_too_many_refusals_the_right_password_is_refused_too_for_a_while(accounts: Accounts, clock: FakeClock):
    with_password(accounts)
    for number in range(NAME_LIMIT + 3):
        assert sign_in(accounts, "anna", "wrong words of mine", f"10.0.0.{number}") is None
    assert sign_in(accounts) is None
    told = [act for act, _ in acts(accounts)]
    assert (told.count(Act.SIGN_IN_REFUSED), told.count(Act.LOCKED_OUT)) == (NAME_LIMIT, 1)
    clock.advance(WINDOW.total_seconds())
    assert is_in(accounts, sign_in(accounts))


def test_an_address_that_tries_many_names_is_locked_out(accounts: Accounts):
    with_password(accounts)
    for number in range(ADDRESS_LIMIT):
        assert sign_in(accounts, f"user{number}", GOOD) is None
    assert sign_in(accounts) is None
    assert is_in(accounts, sign_in(accounts, address="10.0.0.10"))
    assert [act for act, _ in acts(accounts)].count(Act.LOCKED_OUT) == 1


def test_signing_in_forgets_what_was_refused_before(accounts: Accounts):
    with_password(accounts)
    for _ in range(3):
        for _ in range(NAME_LIMIT - 1):
            assert sign_in(accounts, password="wrong words of mine") is None
        assert sign_in(accounts) is not None


def test_guesses_at_the_same_time_count_all(accounts: Accounts):
    with_password(accounts)
    guesses = [
        threading.Thread(target=sign_in, args=(accounts, "anna", "wrong words of mine", f"10.0.0.{number}"))
        for number in range(2 * NAME_LIMIT)
    ]
    for guess in guesses:
        guess.start()
    for guess in guesses:
        guess.join()
    assert [act for act, _ in acts(accounts)].count(Act.SIGN_IN_REFUSED) == NAME_LIMIT


def test_a_session_ends_when_nobody_uses_it(accounts: Accounts, clock: FakeClock):
    with_password(accounts)
    secret = sign_in(accounts)
    assert secret is not None
    clock.advance(IDLE.total_seconds() - 1)
    assert accounts.sign_ins.of_session(secret, looks_by_itself=False) is not None
    clock.advance(IDLE.total_seconds() - 1)
    assert accounts.sign_ins.of_session(secret, looks_by_itself=True) is not None
    clock.advance(2)
    assert not is_in(accounts, secret)


def test_a_session_ends_after_half_a_day_whatever_is_done(accounts: Accounts, clock: FakeClock):
    with_password(accounts)
    secret = sign_in(accounts)
    assert secret is not None
    for _ in range(int(LONGEST / IDLE) * 2 - 1):
        clock.advance(IDLE.total_seconds() / 2)
        assert accounts.sign_ins.of_session(secret, looks_by_itself=False) is not None
    clock.advance(IDLE.total_seconds() / 2)
    assert not is_in(accounts, secret)


@pytest.mark.parametrize("change", ["disable", "reset", "role", "password"])
def test_sessions_end_with_what_they_were_begun_with(accounts: Accounts, change: str):
    with_password(accounts)
    secret = sign_in(accounts)
    assert secret is not None
    who = accounts.sign_ins.of_session(secret, looks_by_itself=True)
    assert who is not None
    if change == "disable":
        accounts.disable("anna", ROOT)
    elif change == "reset":
        accounts.reset("anna", ROOT)
    elif change == "role":
        accounts.change("anna", Role.VIEWER, ROOT, sees_identity=True)
    else:
        renewed = accounts.sign_ins.change_password(who, GOOD, "other words of mine", ROOT)
        assert is_in(accounts, renewed)
    assert not is_in(accounts, secret)


def test_the_old_password_is_asked_for_before_it_is_changed(accounts: Accounts):
    with_password(accounts)
    secret = sign_in(accounts)
    assert secret is not None
    who = accounts.sign_ins.of_session(secret, looks_by_itself=True)
    assert who is not None
    assert accounts.sign_ins.change_password(who, "wrong words of mine", "other words of mine", ROOT) is None
    assert is_in(accounts, secret)


def test_signing_out_ends_the_session(accounts: Accounts):
    with_password(accounts)
    secret = sign_in(accounts)
    assert secret is not None
    who = accounts.sign_ins.of_session(secret, looks_by_itself=True)
    assert who is not None
    accounts.sign_ins.sign_out(who, Actor("anna", "10.0.0.9"))
    assert not is_in(accounts, secret)


def test_a_reset_gives_a_new_link_and_ends_password_tokens_and_the_old_link(accounts: Accounts):
    old_link = accounts.add("anna", Role.VIEWER, ROOT, sees_identity=False)
    token = accounts.make_token("anna", timedelta(days=1), ROOT)
    link = accounts.reset("anna", ROOT)
    assert accounts.sign_ins.of_token(token) is None
    with pytest.raises(LinkRefused):
        accounts.link_is_for(old_link)
    accounts.use_link(link, "", GOOD, ROOT)
    accounts.disable("anna", ROOT)
    accounts.reset("anna", ROOT)
    assert sign_in(accounts) is None


def test_a_token_acts_as_its_user_until_it_expires(accounts: Accounts, clock: FakeClock):
    with_password(accounts)
    token = accounts.make_token("anna", timedelta(days=2), ROOT)
    who = accounts.sign_ins.of_token(token)
    assert who is not None
    assert (who.name, who.role, who.session_id) == ("anna", Role.OPERATOR, None)
    clock.advance(2 * 86400)
    assert accounts.sign_ins.of_token(token) is None
    assert accounts.sign_ins.of_token("cspine_made_up") is None


def test_a_password_hash_of_less_effort_is_made_anew(accounts: Accounts, database: Database):
    with_password(accounts)
    stronger = Passwords(PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    later = SignIns(database, accounts.sign_ins.key, accounts.sign_ins.clock, stronger)
    assert later.sign_in("anna", GOOD, "10.0.0.9") is not None
    with database.reading() as session:
        assert "t=2" in (session.scalars(select(User.password_hash)).one() or "")


def test_a_stored_hash_that_is_none_lets_nobody_in(accounts: Accounts, database: Database):
    with_password(accounts)
    with database.transaction() as session:
        session.scalars(select(User)).one().password_hash = "plain text"
    assert sign_in(accounts, password="plain text") is None


@pytest.mark.parametrize("name", ["", "Anna", "a b", "<b>", "x" * 65])
def test_names_that_are_none_are_refused(accounts: Accounts, name: str):
    with pytest.raises(StartupError, match="name"):
        accounts.add(name, Role.VIEWER, ROOT, sees_identity=False)


def test_a_name_is_given_once(accounts: Accounts):
    accounts.add("anna", Role.VIEWER, ROOT, sees_identity=False)
    with pytest.raises(StartupError, match="already"):
        accounts.add("anna", Role.ADMIN, ROOT, sees_identity=False)


def test_the_trail_is_read_from_its_end(accounts: Accounts, database: Database):
    for name in ("anna", "ben", "carl"):
        accounts.add(name, Role.VIEWER, ROOT, sees_identity=False)
    with database.reading() as session:
        newest = entries(session, None, 2)
        rest = entries(session, newest[-1].id, 2)
        assert [row.detail.split(":")[0] for row in [*newest, *rest]] == ["carl", "ben", "anna"]
        assert entries(session, None, 2, by="eve") == []
