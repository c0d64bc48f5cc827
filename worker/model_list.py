"""The models of an installation as ``cspine model list`` shows them."""

from dataclasses import asdict, dataclass

from model.bundle import load_bundle
from worker.database import Database
from worker.model_choice import BUILT_IN, history, served
from worker.model_store import Entry, ModelStore
from worker.serving_bundle import NO_CHOICES, Choices, choices, recorded
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One model; ``role`` is serving, shadow, previous (where a rollback goes) or empty."""

    sha256: str
    name: str
    version: str
    role: str
    signed: bool
    built_in: bool
    problem: str

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return asdict(self)

    def as_line(self) -> str:
        """One line of text."""
        notes = [BUILT_IN] if self.built_in else []
        notes += ["signed"] if self.signed else []
        notes += [self.problem] if self.problem else []
        return f"{self.role:<8}  {self.sha256[:12]}  {self.name} {self.version}  {', '.join(notes)}".rstrip()


def model_lines(settings: Settings) -> list[ModelLine]:
    """The built-in model and all installed ones, and what CSPINE_BUNDLE_PATH names where it is set."""
    store = ModelStore.of(settings)
    roles = _roles(settings)
    embedded = load_bundle()
    lines = [_line(Entry(embedded.sha256, embedded.name, embedded.version, signed=False), roles.get(None, ""))]
    lines += [_line(entry, roles.get(entry.sha256, "")) for entry in store.entries()]
    there = {entry.sha256 for entry in store.entries()}
    lost = [sha256 for sha256 in roles if sha256 is not None and sha256 not in there]
    lines += [
        _line(Entry(sha256, "?", "?", signed=False, problem="is not installed here"), roles[sha256]) for sha256 in lost
    ]
    if settings.bundle_path is not None:
        bundle = store.open_folder(settings.bundle_path)
        entry = Entry(bundle.sha256, bundle.name, bundle.version, signed=False, problem="from CSPINE_BUNDLE_PATH")
        lines.append(_line(entry, "serving"))
    return lines


def _roles(settings: Settings) -> dict[str | None, str]:
    """The role of each model that has one; None is the built-in model."""

    def read(database: Database) -> tuple[Choices, list[str | None]]:
        with database.reading() as session:
            return choices(database), served(history(session))

    nothing: tuple[Choices, list[str | None]] = NO_CHOICES, [None]
    found, stack = recorded(settings, read, nothing)
    roles: dict[str | None, str] = {}
    if settings.bundle_path is None:
        roles |= dict.fromkeys(stack[-2:-1], "previous")
        roles[found.serving.sha256] = "serving"
    if found.shadow.sha256 is not None:
        roles[found.shadow.sha256] = "shadow"
    return roles


def _line(entry: Entry, role: str) -> ModelLine:
    built_in = entry.sha256 == load_bundle().sha256
    return ModelLine(entry.sha256, entry.name, entry.version, role, entry.signed, built_in, entry.problem)
