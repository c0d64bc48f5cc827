"""What an operator does with models: install, promote, roll back, let one look on, remove; all recorded.

All raise ``StartupError`` or ``BundleError`` with the next step, and have changed nothing then.
"""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from model.bundle import Bundle
from worker import model_choice
from worker.database import Database, migrate
from worker.errors import StartupError
from worker.model_choice import Actor, named
from worker.model_store import Installed, ModelStore
from worker.queries import open_database
from worker.records import ModelEventKind, ModelRole
from worker.serving_bundle import bundle_called, choices, installed_sha256, serving_bundle
from worker.settings import Settings
from worker.shadow_report import ShadowReport, shadow_report

WINS = "CSPINE_BUNDLE_PATH is set and wins over any choice of a model: remove it from all settings first"


@dataclass(frozen=True, slots=True)
class Served:
    """The bundle that serves after a change, and how it is called."""

    bundle: Bundle
    name: str


def this_user(reason: str) -> Actor:
    """The user of this process, now."""
    try:
        by = getpass.getuser()
    except (KeyError, OSError):
        by = f"user {os.getuid()}"
    return Actor(by, datetime.now(UTC), reason)


@contextmanager
def opened_database(settings: Settings) -> Iterator[Database]:
    """The database of these settings with this program's schema; ``StartupError`` when it does not answer."""
    try:
        with open_database(settings) as database:
            migrate(database)
            yield database
    except SQLAlchemyError as error:
        raise StartupError(f"the database does not answer ({type(error).__name__}): see `cspine doctor`") from error


def install(settings: Settings, path: Path, actor: Actor) -> Installed:
    """Copy the bundle at ``path``, a folder or a zip file, into the store; it does not serve yet."""
    done = ModelStore.of(settings).install(path)
    if done.new:
        with opened_database(settings) as database, database.transaction() as session:
            model_choice.record(session, ModelEventKind.INSTALLED, done.bundle.sha256, actor)
    return done


def remove(settings: Settings, name: str, actor: Actor) -> str:
    """Delete an installed bundle that nothing needs; return its SHA-256."""
    store = ModelStore.of(settings)
    sha256 = store.find(name)
    with opened_database(settings) as database, database.transaction() as session:
        needed = set(model_choice.served(model_choice.history(session))[-2:])
        needed.add(model_choice.chosen(session, ModelRole.SHADOW).sha256)
        if sha256 in needed:
            raise StartupError(f"model {sha256[:12]} serves, looks on, or is what a rollback goes back to: it is kept")
        model_choice.record(session, ModelEventKind.REMOVED, sha256, actor)
        store.remove(sha256)
    return sha256


def promote(settings: Settings, name: str, actor: Actor) -> Served:
    """Let a model serve from the next study on, after it was checked and has answered a probe."""
    _refuse_where_a_path_wins(settings)
    with opened_database(settings) as database:
        before = choices(database).serving
        bundle = bundle_called(settings, name)
        sha256 = None if name == model_choice.BUILT_IN else bundle.sha256
        if sha256 == before.sha256:
            raise StartupError(f"model {named(sha256)} serves already")
        probe(settings, bundle)
        with database.transaction() as session:
            _still_installed(settings, sha256)
            model_choice.promote(session, before, sha256, actor)
    return Served(bundle, named(sha256))


def roll_back(settings: Settings, actor: Actor) -> Served:
    """Let the model serve again that served before, if it is whole; it has answered a probe once."""
    _refuse_where_a_path_wins(settings)
    with opened_database(settings) as database:
        before = choices(database).serving
        with database.reading() as session:
            target = model_choice.previous(session)
        bundle = serving_bundle(settings, ModelStore.of(settings), target)
        with database.transaction() as session:
            _still_installed(settings, target)
            model_choice.roll_back(session, before, actor)
    return Served(bundle, named(target))


def start_shadow(settings: Settings, name: str, actor: Actor) -> Bundle:
    """Let an installed model look on from now on, after it was checked and has answered a probe."""
    store = ModelStore.of(settings)
    bundle = store.open(store.find(name))
    with opened_database(settings) as database:
        before = choices(database).shadow
        probe(settings, bundle)
        with database.transaction() as session:
            _still_installed(settings, bundle.sha256)
            model_choice.start_shadow(session, before, bundle.sha256, actor)
    return bundle


def end_shadow(settings: Settings, actor: Actor) -> None:
    """Have no shadow any more; what it said is kept."""
    with opened_database(settings) as database, database.transaction() as session:
        model_choice.end_shadow(session, model_choice.chosen(session, ModelRole.SHADOW), actor)


def report(settings: Settings, name: str | None) -> ShadowReport:
    """The report on the shadow, or on an installed model that was one."""
    with opened_database(settings) as database:
        sha256 = choices(database).shadow.sha256
        if name is not None:
            sha256 = installed_sha256(ModelStore.of(settings), name)
        if sha256 is None:
            raise StartupError("there is no shadow: name the model that was one, see `cspine model history`")
        with database.reading() as session:
            return shadow_report(session, sha256)


def probe(settings: Settings, bundle: Bundle) -> None:
    """Let a bundle answer a small volume."""
    from worker.tools import probe_bundle  # noqa: PLC0415  (a chain of heavy modules)

    try:
        probe_bundle(settings, bundle)
    except ModuleNotFoundError as error:
        raise StartupError(f"{error.name} is not installed here: run this command where a worker runs") from error


def _refuse_where_a_path_wins(settings: Settings) -> None:
    if settings.bundle_path is not None:
        raise StartupError(WINS)


def _still_installed(settings: Settings, sha256: str | None) -> None:
    """Inside the transaction that chooses a model: ``remove`` deletes in one of its own."""
    if sha256 is not None and not ModelStore.of(settings).is_there(sha256):
        raise StartupError(f"model {sha256[:12]} was removed in this moment: install it again")
