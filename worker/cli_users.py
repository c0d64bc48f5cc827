"""The commands for the users of the console: cspine user add, role, disable, reset, token, list."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.command_line import explain_errors, read_settings, with_options
from worker.settings import Settings

if TYPE_CHECKING:  # loaded by the commands that need them, so that --help stays fast
    from worker.accounts import Accounts
    from worker.audit import Actor

ROLES = ("viewer", "operator", "admin")


@click.group()
def user() -> None:
    """Say who may use the console: viewers look, operators also act, admins also see the audit trail.

    There are no default passwords: a new user gets a link that works once, for 24 hours, and chooses a password.
    """


def with_rights(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of what a user may do."""
    role = click.option(
        "--role", type=click.Choice(ROLES), default="viewer", show_default=True, help="What they may do."
    )
    identity = click.option("--identity", is_flag=True, help="May see whose studies they are, and download results.")
    return role(identity(command))


@user.command()
@click.argument("name")
@with_rights
@with_options("data")
@explain_errors
def add(name: str, role: str, identity: bool, data: Path | None) -> None:  # noqa: FBT001  (click passes flags so)
    """Add the user NAME and print the link by which they choose their password."""
    from worker.console_records import Role  # noqa: PLC0415

    settings = read_settings(data=data)
    with opened(settings) as (accounts, actor):
        secret = accounts.add(name, Role(role), actor, sees_identity=identity)
    _tell_link(settings, name, secret)


@user.command("role")
@click.argument("name")
@with_rights
@with_options("data")
@explain_errors
def change_role(name: str, role: str, identity: bool, data: Path | None) -> None:  # noqa: FBT001  (click passes flags so)
    """Give the user NAME another role; their sessions end."""
    from worker.console_records import Role  # noqa: PLC0415

    with opened(read_settings(data=data)) as (accounts, actor):
        accounts.change(name, Role(role), actor, sees_identity=identity)
    click.echo(f"{name} is {role} now and has to sign in again")


@user.command()
@click.argument("name")
@with_options("data")
@explain_errors
def disable(name: str, data: Path | None) -> None:
    """Let the user NAME in no more: sessions, tokens and links end at once."""
    with opened(read_settings(data=data)) as (accounts, actor):
        accounts.disable(name, actor)
    click.echo(f"{name} is disabled; `cspine user reset {name}` lets them in again")


@user.command()
@click.argument("name")
@with_options("data")
@explain_errors
def reset(name: str, data: Path | None) -> None:
    """Let the user NAME choose a new password: print a link; the old password, sessions and tokens end at once."""
    settings = read_settings(data=data)
    with opened(settings) as (accounts, actor):
        secret = accounts.reset(name, actor)
    _tell_link(settings, name, secret)


@user.command()
@click.argument("name")
@click.option("--days", type=click.IntRange(1, 366), default=90, show_default=True, help="How long it works.")
@with_options("data")
@explain_errors
def token(name: str, days: int, data: Path | None) -> None:
    """Print a bearer token by which scripts act as the user NAME; it is shown only now."""
    with opened(read_settings(data=data)) as (accounts, actor):
        click.echo(accounts.make_token(name, timedelta(days=days), actor))


@user.command("list")
@with_options("data")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explain_errors
def list_users(data: Path | None, as_json: bool) -> None:  # noqa: FBT001  (click passes flags so)
    """List the users: role, whether they see identity, whether they may sign in."""
    with opened(read_settings(data=data)) as (accounts, _):
        lines = accounts.lines()
    if as_json:
        click.echo(json.dumps([line.as_json() for line in lines], indent=2))
        return
    for line in lines:
        click.echo(line.as_line())


@contextmanager
def opened(settings: Settings) -> Iterator[tuple["Accounts", "Actor"]]:
    """The accounts of an installation, and who acts: the user of this machine."""
    import getpass  # noqa: PLC0415

    from worker.accounts import Accounts  # noqa: PLC0415
    from worker.audit import COMMAND_LINE, Actor  # noqa: PLC0415
    from worker.database import migrate  # noqa: PLC0415
    from worker.installation_key import InstallationKey  # noqa: PLC0415
    from worker.queries import open_database  # noqa: PLC0415
    from worker.sign_in import SignIns  # noqa: PLC0415

    with open_database(settings) as database:
        migrate(database)
        sign_ins = SignIns(database, InstallationKey.of(settings), lambda: datetime.now(UTC))
        yield Accounts(sign_ins), Actor(getpass.getuser(), COMMAND_LINE)


def _tell_link(settings: Settings, name: str, secret: str) -> None:
    click.echo(f"{name} chooses a password at this address, once, within 24 hours:")
    click.echo(f"{settings.console_url}/set-up/{secret}")
