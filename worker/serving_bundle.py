"""From the choice of a model to its checked bundle: CSPINE_BUNDLE_PATH first, then the records, then the package."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from model.bundle import Bundle, load_bundle
from worker.database import Database
from worker.errors import StartupError
from worker.model_choice import BUILT_IN, Chosen, chosen
from worker.model_store import ModelStore
from worker.records import ModelRole
from worker.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Choices:
    """The serving model and the shadow."""

    serving: Chosen
    shadow: Chosen


NO_CHOICES = Choices(Chosen(ModelRole.SERVING, None, 0, None), Chosen(ModelRole.SHADOW, None, 0, None))


def choices(database: Database) -> Choices:
    """The present choices of the records."""
    with database.reading() as session:
        return Choices(chosen(session, ModelRole.SERVING), chosen(session, ModelRole.SHADOW))


def recorded(settings: Settings, read: Callable[[Database], T], before_the_first_start: T) -> T:
    """What the records of an installation say to a command, also before its first start.

    Raises ``StartupError`` when the database does not answer: nothing is guessed in its place.
    """
    if settings.database_url is None and not (settings.data_dir / "cspine.sqlite3").exists():
        return before_the_first_start
    try:
        with closing(Database.open(settings.effective_database_url)) as database:
            return read(database)
    except SQLAlchemyError as error:
        raise StartupError(
            f"which model serves is not known, the database does not answer ({type(error).__name__}): start it, or "
            "start the new version once after an upgrade"
        ) from error


def recorded_choices(settings: Settings) -> Choices:
    """The choices that the records of an installation say."""
    return recorded(settings, choices, NO_CHOICES)


def serving_bundle(settings: Settings, store: ModelStore, sha256: str | None) -> Bundle:
    """The bundle that serves while the records say ``sha256``; raises ``BundleError``."""
    if settings.bundle_path is not None:
        return store.open_folder(settings.bundle_path)
    return load_bundle() if sha256 is None else store.open(sha256)


def installed_sha256(store: ModelStore, name: str) -> str | None:
    """What an operator calls a model: the beginning of a SHA-256, or ``built-in`` (None); raises ``StartupError``."""
    return None if name == BUILT_IN else store.find(name)


def bundle_called(settings: Settings, name: str | None) -> Bundle:
    """The installed bundle that an operator calls so, or the one that serves where no name is given."""
    store = ModelStore.of(settings)
    if name is None:
        return serving_bundle(settings, store, recorded_choices(settings).serving.sha256)
    sha256 = installed_sha256(store, name)
    return load_bundle() if sha256 is None else store.open(sha256)


def check_start(settings: Settings) -> None:
    """Raise ``BundleError`` or ``StartupError`` when a worker could not serve, whatever the records say."""
    serving_bundle(settings, ModelStore.of(settings), None)
