"""Whether a process of this installation can do its work: disk, database, broker and model, each with what to do.

For ``cspine doctor``, which asks more, and for ``/readyz``.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import redis

from model.bundle import EMBEDDED_BUNDLE, Bundle
from model.errors import BundleError
from worker.broker import embedded_socket, is_answering
from worker.database import Database, DatabaseError
from worker.errors import StartupError
from worker.heartbeats import Role
from worker.model_store import ModelStore
from worker.serving_bundle import recorded_choices, serving_bundle
from worker.settings import Settings, masked


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check; ``advice`` says what to do when it did not pass."""

    name: str
    passed: bool
    finding: str
    advice: str = ""

    def as_line(self) -> str:
        """One line of text."""
        mark = "ok  " if self.passed else "FAIL"
        advice = f" -> {self.advice}" if self.advice and not self.passed else ""
        return f"{mark}  {self.name:<9} {self.finding}{advice}"

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {"name": self.name, "passed": self.passed, "finding": self.finding, "advice": self.advice}


def check_disk(settings: Settings) -> Check:
    """Whether the data folder can be written and has more space than the watermark."""
    folder = nearest_folder(settings.data_dir)
    free = shutil.disk_usage(folder).free
    finding = f"{free / 1024**3:.1f} GiB free for {settings.data_dir}"
    if free < settings.min_free_bytes:
        advice = f"free space: below {settings.min_free_bytes / 1024**3:.1f} GiB instances are refused (0xA700)"
        return Check("disk", passed=False, finding=finding, advice=advice)
    return Check("disk", passed=True, finding=finding)


def check_database(settings: Settings) -> Check:
    """Whether the database answers with this program's schema."""
    shown = masked(settings.database_url) if settings.database_url else "SQLite in the data folder"
    if settings.database_url is None and not (settings.data_dir / "cspine.sqlite3").exists():
        return Check("database", passed=True, finding=f"{shown}: not made yet, the listener makes it")
    try:
        database = Database.open(settings.effective_database_url)
        try:
            database.check()
        finally:
            database.close()
    except DatabaseError as error:
        return Check(
            "database", passed=False, finding=f"{shown}: {error}", advice="start it, or set CSPINE_DATABASE_URL"
        )
    return Check("database", passed=True, finding=f"{shown} answers")


def check_broker(settings: Settings) -> Check:
    """Whether the broker answers."""
    if settings.broker_url is None:
        running = is_answering(embedded_socket(settings.data_dir))
        finding = "embedded broker " + ("answers" if running else "does not run")
        return Check(
            "broker", passed=running, finding=finding, advice="start `cspine up` or `cspine clerk`: it keeps the broker"
        )
    try:
        redis.Redis.from_url(settings.broker_url, socket_timeout=2, socket_connect_timeout=2).ping()
    except (redis.RedisError, ValueError) as error:
        finding = f"{masked(settings.broker_url)}: {type(error).__name__}"
        return Check(
            "broker",
            passed=False,
            finding=finding,
            advice="start Redis, or set CSPINE_BROKER_URL; nothing is lost meanwhile",
        )
    return Check("broker", passed=True, finding=f"{masked(settings.broker_url)} answers")


def check_models(settings: Settings) -> list[Check]:
    """Whether the bundle that serves is whole, and that of the shadow where there is one."""
    try:
        store, found = ModelStore.of(settings), recorded_choices(settings)
    except (StartupError, DatabaseError) as error:
        advice = "which model serves is not known without the database and the file of public keys"
        return [Check("bundle", passed=False, finding=str(error), advice=advice)]
    promoted = settings.bundle_path is None and found.serving.sha256 is not None
    advice = "install the bundle again, or set CSPINE_BUNDLE_PATH"
    if promoted:
        advice = "install it again on this machine (`cspine model install`), or `cspine model rollback`"
    checks = [_check_bundle("bundle", lambda: serving_bundle(settings, store, found.serving.sha256), advice)]
    shadow = found.shadow.sha256
    if shadow is not None:
        advice = "install it again on this machine, or end the shadow: `cspine model shadow --off`"
        checks.append(_check_bundle("shadow", lambda: store.open(shadow), advice))
    return checks


def _check_bundle(name: str, opened: Callable[[], Bundle], advice: str) -> Check:
    try:
        bundle = opened()
    except BundleError as error:
        return Check(name, passed=False, finding=str(error), advice=advice)
    where = "in the package" if bundle.path == EMBEDDED_BUNDLE else "all files whole"
    return Check(name, passed=True, finding=f"{bundle.name} {bundle.version}, SHA-256 {bundle.sha256[:12]}, {where}")


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    absolute = path.absolute()
    return next(folder for folder in (absolute, *absolute.parents) if folder.is_dir())


MODEL_SECONDS = 300.0
"""How long what was found of the model holds: looking means to read and hash all its files."""

_NEEDS: Mapping[Role, frozenset[str]] = MappingProxyType(
    {
        Role.LISTENER: frozenset({"disk", "database"}),
        Role.CLERK: frozenset({"disk", "database", "broker"}),
        Role.GPU: frozenset({"disk", "database", "broker", "model"}),
        Role.CONSOLE: frozenset({"disk", "database", "broker", "model"}),
    }
)
"""What each role cannot work without: the listener takes studies in while the broker is away."""


class Readiness:
    """Whether a process can do the work of its role now; safe to be asked from several threads."""

    def __init__(self, settings: Settings, role: Role, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._needs = _NEEDS[role]
        self._monotonic = monotonic
        self._models: tuple[float, list[Check]] | None = None

    def checks(self) -> Sequence[Check]:
        """Every check that the role needs."""
        found: list[Check] = []
        for name, check in (("disk", check_disk), ("database", check_database), ("broker", check_broker)):
            if name in self._needs:
                found.append(check(self._settings))
        return found + (self._model_checks() if "model" in self._needs else [])

    def reasons(self) -> list[str]:
        """What is not ready and what to do, without addresses (``cspine doctor`` shows them); empty if all is well."""
        return [f"{check.name}: {check.advice}" for check in self.checks() if not check.passed]

    def _model_checks(self) -> list[Check]:
        """What is found of the models; a fault is looked at again each time."""
        now = self._monotonic()
        found = self._models
        if found is None or now - found[0] > MODEL_SECONDS or not all(check.passed for check in found[1]):
            found = self._models = now, check_models(self._settings)
        return found[1]
