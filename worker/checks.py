"""``cspine doctor``: is this installation sound? One line a check, each with what to do."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import redis

from dicom_node.errors import PeerError
from model.bundle import EMBEDDED_BUNDLE, Bundle
from model.errors import BundleError
from worker.broker import embedded_socket, is_answering
from worker.database import Database, DatabaseError
from worker.destination_file import read_destinations
from worker.destinations import Destination
from worker.errors import StartupError
from worker.links import LinkMaker
from worker.model_store import ModelStore
from worker.serving_bundle import recorded_choices, serving_bundle
from worker.settings import Settings, SettingsError, masked, misspelled


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


def run_checks(settings: Settings, environ: Mapping[str, str]) -> list[Check]:
    """Every check, in the order in which an operator would look; none changes anything."""
    checks: list[Callable[[Settings], Check]] = [check_disk, check_database, check_broker]
    found = [check_settings(environ), *(check(settings) for check in checks)]
    return [*found, *check_models(settings), *check_destinations(settings)]


def check_settings(environ: Mapping[str, str]) -> Check:
    """Whether a variable looks like a setting but is none."""
    wrong = misspelled(environ)
    return Check("settings", not wrong, "; ".join(wrong) or "all known", "correct or remove the variable")


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


def check_destinations(settings: Settings) -> list[Check]:
    """Whether each destination answers: a peer C-ECHO, a DICOMweb service a query."""
    try:
        destinations = read_destinations(settings)
    except SettingsError as error:
        return [Check("pacs", passed=False, finding=str(error), advice="correct the file of destinations")]
    if not destinations:
        advice = "set CSPINE_DESTINATION to AET@HOST:PORT, or CSPINE_DESTINATIONS_FILE"
        return [Check("pacs", passed=False, finding="no destination", advice=advice)]
    named = settings.destinations_file is not None
    return [_check_destination(item, settings, item.name if named else "pacs") for item in destinations]


def _check_destination(destination: Destination, settings: Settings, name: str) -> Check:
    try:
        LinkMaker(settings.ae_title)(destination).verify()
    except PeerError as error:
        advice = "check address, port, AE titles and certificates, and that the PACS knows ours"
        return Check(name, passed=False, finding=str(error), advice=advice)
    return Check(name, passed=True, finding=f"{destination} answers")


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    absolute = path.absolute()
    return next(folder for folder in (absolute, *absolute.parents) if folder.is_dir())
