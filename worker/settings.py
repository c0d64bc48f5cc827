"""Everything a site can set: one frozen value, read once from CSPINE_* variables. Nothing else reads the environment.

``python -m worker.settings`` prints the table of all variables as Markdown, as the README shows it.
"""

import dataclasses
import difflib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from dicom_node.node import AETitle, Peer
from worker.options import LOG_LEVELS, Option, log_level, number, size, switch, uid, url, whole

PREFIX = "CSPINE_"


class SettingsError(ValueError):
    """A setting that cannot be used; the message names each variable and says what to do."""


def _about(
    meaning: str,
    parse: Callable[[str], Any],
    minimum: float | None = None,
    maximum: float | None = None,
    **more: Any,
) -> dict[str, Option]:
    """The metadata of a field: its Option."""
    return {"option": Option(meaning, parse, minimum, maximum, **more)}


def _ae_titles(text: str) -> frozenset[str]:
    """AE titles separated by commas."""
    return frozenset(str(AETitle(part.strip())) for part in text.split(",") if part.strip())


def _host_names(text: str) -> frozenset[str]:
    """Host names separated by commas, without ports."""
    names = frozenset(part.strip().lower() for part in text.split(",") if part.strip())
    if any(set(name) & set("/:@ ") for name in names):
        raise ValueError("expected host names without scheme and port, such as cspine.hospital.example")
    return names


RUNTIMES = ("auto", "keras", "openvino")


def _runtime(text: str) -> str:
    """One of RUNTIMES, in any case; ``model.engine`` is not imported here: it would load the network's engine."""
    if text.lower() not in RUNTIMES:
        raise ValueError(f"expected one of {', '.join(RUNTIMES)}")
    return text.lower()


_parse_database_url = url("sqlite", "postgresql", "postgres", "postgresql+psycopg")
_parse_broker_url = url("redis", "rediss", "redis+socket", "unix")


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """The configuration of every process; see the table (``as_markdown``) for what each field means."""

    data_dir: Path = field(
        default=Path("cspine-data"),
        metadata=_about(
            "Folder of everything this installation keeps: spool, database, results. Must be on a local disk.", Path
        ),
    )
    ae_title: str = field(
        default="CSPINE",
        metadata=_about("AE title of this node, as called by peers and as calling towards them.", AETitle),
    )
    host: str = field(
        default="127.0.0.1",
        metadata=_about("Address that the listener binds. Set it to a LAN address to accept peers.", str),
    )
    port: int = field(
        default=11112, metadata=_about("TCP port of the listener; 0 takes any free port.", whole, 0, 65535)
    )
    health_host: str = field(
        default="127.0.0.1",
        metadata=_about(
            "Address that `/healthz`, `/readyz` and `/metrics` are served on, for programs of the site.", str
        ),
    )
    health_port: int | None = field(
        default=None,
        metadata=_about(
            "TCP port of those pages; under `cspine up` the clerk serves them. Without it only the console does.",
            whole,
            1,
            65535,
            default_text="none",
        ),
    )
    allowed_calling_ae_titles: frozenset[str] = field(
        default=frozenset(),
        metadata=_about("AE titles that may send, separated by commas. Empty: any.", _ae_titles, default_text="any"),
    )
    reviews: bool = field(
        default=True,
        metadata=_about(
            "Whether segmentations, SR and Key Objects are taken as reviews of our results: on or off.",
            switch,
            default_text="`on`",
        ),
    )
    destination: Peer | None = field(
        default=None,
        metadata=_about("PACS that receives the results, as AETITLE@HOST:PORT.", Peer.parse, default_text="none"),
    )
    destinations_file: Path | None = field(
        default=None,
        metadata=_about(
            "TOML file with several destinations in place of the one, each with its profile, TLS, confirmation "
            "(see `deploy/destinations.example.toml`).",
            Path,
            default_text="none",
        ),
    )
    rules_file: Path | None = field(
        default=None,
        metadata=_about(
            "TOML file of rules: which studies are analyzed, and which of them first (see "
            "`deploy/rules.example.toml`).",
            Path,
            default_text="every study is analyzed",
        ),
    )
    database_url: str | None = field(
        default=None,
        metadata=_about(
            "Database: postgresql://USER:PASSWORD@HOST/NAME, or sqlite:///PATH.",
            _parse_database_url,
            secret=True,
            default_text="SQLite in the data folder",
        ),
    )
    broker_url: str | None = field(
        default=None,
        metadata=_about(
            "Redis or Valkey that rings the workers: redis://HOST:PORT/0.",
            _parse_broker_url,
            secret=True,
            default_text="embedded Valkey in the data folder",
        ),
    )
    bundle_path: Path | None = field(
        default=None,
        metadata=_about(
            "Folder of the model bundle that serves, whatever `cspine model promote` says.",
            Path,
            default_text="the promoted model, else the one in the package",
        ),
    )
    model_public_keys_file: Path | None = field(
        default=None,
        metadata=_about(
            "Ed25519 public keys (PEM, or a line of base64 each): only bundles signed by one of them are used.",
            Path,
            default_text="signatures are not asked for",
        ),
    )
    shadow_keep: int = field(
        default=2000,
        metadata=_about("Comparisons of a shadow model, rows and pictures, that are kept: the newest.", whole, 10),
    )
    runtime: str = field(
        default="auto",
        metadata=_about(
            "What runs the network: `keras`, `openvino` (faster, only on a CPU), or `auto`: the fastest that is there.",
            _runtime,
        ),
    )
    quiet_seconds: float = field(
        default=30.0, metadata=_about("A study is complete when no instance came for this long.", number, 0.1, 3600)
    )
    max_receiving_seconds: float = field(
        default=3600.0,
        metadata=_about("A study that still receives after this long is analyzed with what is there.", number, 1),
    )
    sweep_seconds: float = field(
        default=2.0, metadata=_about("Pause between two sweeps of the clerk.", number, 0.05, 60)
    )
    ring_again_seconds: float = field(
        default=30.0,
        metadata=_about("A waiting study that no worker took is announced again after this long.", number, 0.1, 3600),
    )
    lease_seconds: float = field(
        default=60.0,
        metadata=_about("A worker that shows no progress for this long loses the study.", number, 0.5, 3600),
    )
    max_attempts: int = field(
        default=3,
        metadata=_about("A study that crashed its worker this many times is FAILED (code POISON).", whole, 1, 100),
    )
    retry_base_seconds: float = field(
        default=30.0,
        metadata=_about("First pause before something transient is tried again; it doubles each time.", number, 0.01),
    )
    retry_max_seconds: float = field(default=900.0, metadata=_about("Longest pause between two tries.", number, 0.01))
    retry_age_seconds: float = field(
        default=259200.0, metadata=_about("Tries end after this long (72 h) and the study is FAILED.", number, 0)
    )
    min_free_bytes: int = field(
        default=4 * 1024**3,
        metadata=_about("Below this free space instances are refused with 0xA700.", size, 0, default_text="4GiB"),
    )
    max_associations: int = field(
        default=64,
        metadata=_about("Associations that are served at the same time; more are rejected.", whole, 1, 1000),
    )
    reading_memory_bytes: int = field(
        default=8 * 1024**3,
        metadata=_about("Memory limit of the process that decodes a study.", size, 256 * 1024**2, default_text="8GiB"),
    )
    reading_seconds: float = field(
        default=300.0, metadata=_about("Time limit of the process that decodes a study.", number, 1)
    )
    reading_voxels: int = field(default=2**31, metadata=_about("Largest volume, in voxels, that is decoded.", whole, 1))
    console: bool = field(
        default=True,
        metadata=_about("Whether `cspine up` runs the console: on or off.", switch, default_text="`on`"),
    )
    console_host: str = field(
        default="127.0.0.1",
        metadata=_about("Address that the console binds; another than loopback needs CSPINE_CONSOLE_HTTPS.", str),
    )
    console_port: int = field(
        default=8090, metadata=_about("TCP port of the console; 0 takes any free port.", whole, 0, 65535)
    )
    console_names: frozenset[str] = field(
        default=frozenset(),
        metadata=_about(
            "Host names that browsers reach the console by, separated by commas; requests for others are refused.",
            _host_names,
            default_text="its address",
        ),
    )
    console_https: bool = field(
        default=False,
        metadata=_about(
            "Whether browsers reach the console by HTTPS, through a reverse proxy: on or off.",
            switch,
            default_text="`off`",
        ),
    )
    console_proxy: str = field(
        default="",
        metadata=_about(
            "Address of the reverse proxy, whose X-Forwarded-For, -Host and -Proto are believed.",
            str,
            default_text="none",
        ),
    )
    upload_bytes: int = field(
        default=2 * 1024**3,
        metadata=_about(
            "Largest upload at the console; what it unpacks to may be 8 times as much.",
            size,
            1024**2,
            default_text="2GiB",
        ),
    )
    image_bundle_path: Path | None = field(
        default=None,
        metadata=_about(
            "Folder of the image bundle that judges single images.", Path, default_text="the one in the package, if any"
        ),
    )
    image_keep_days: float = field(
        default=30.0,
        metadata=_about("Single images and their predictions are deleted after this many days.", number, 0.01, 36500),
    )
    device_uid: str | None = field(
        default=None,
        metadata=_about("Device UID written into every result.", uid, default_text="made from the serial number"),
    )
    device_serial: str = field(
        default="", metadata=_about("Serial number of this installation, written into every result.", str)
    )
    log_level: str = field(default="INFO", metadata=_about(f"One of {', '.join(LOG_LEVELS)}.", log_level))

    def __post_init__(self) -> None:
        problems = [problem for item in dataclasses.fields(self) for problem in self._problems(item)]
        if self.retry_max_seconds < self.retry_base_seconds:
            problems.append(f"{PREFIX}RETRY_MAX_SECONDS is below {PREFIX}RETRY_BASE_SECONDS: raise it")
        if self.destination is not None and self.destinations_file is not None:
            problems.append(f"remove either {PREFIX}DESTINATION or {PREFIX}DESTINATIONS_FILE")
        if problems:
            raise SettingsError("; ".join(problems))

    def _problems(self, item: "dataclasses.Field[Any]") -> list[str]:
        option: Option = item.metadata["option"]
        value = getattr(self, item.name)
        if value is None:
            return []
        if option.minimum is not None and value < option.minimum:
            return [f"{variable(item.name)} is {value}: set it to {option.minimum:g} or more"]
        if option.maximum is not None and value > option.maximum:
            return [f"{variable(item.name)} is {value}: set it to {option.maximum:g} or less"]
        return []

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read every CSPINE_* variable; raise one SettingsError that names all that are wrong."""
        values: dict[str, Any] = {}
        problems: list[str] = []
        for item in dataclasses.fields(cls):
            option: Option = item.metadata["option"]
            try:
                text = _text(environ, item.name, option)
                if text is not None:
                    values[item.name] = option.parse(text)
            except (ValueError, OSError) as error:
                problems.append(_problem(item.name, option, error))
        if problems:
            raise SettingsError("; ".join(problems))
        return cls(**values)

    @property
    def spool_dir(self) -> Path:
        """Folder of the instances as received."""
        return self.data_dir / "spool"

    @property
    def results_dir(self) -> Path:
        """Folder of the encoded results."""
        return self.data_dir / "results"

    @property
    def models_dir(self) -> Path:
        """Folder of the installed model bundles."""
        return self.data_dir / "models"

    @property
    def shadow_dir(self) -> Path:
        """Folder of the pictures of what a shadow model answered otherwise."""
        return self.data_dir / "shadow"

    @property
    def images_dir(self) -> Path:
        """Folder of single images and the pictures of their predictions."""
        return self.data_dir / "images"

    @property
    def scratch_dir(self) -> Path:
        """Folder of files that no process needs after it ended."""
        return self.data_dir / "scratch"

    @property
    def effective_database_url(self) -> str:
        """The database URL to open: the configured one, or SQLite in the data folder."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'cspine.sqlite3').absolute()}"

    @property
    def console_url(self) -> str:
        """Where browsers find the console, as far as these settings tell."""
        name = min(self.console_names, default=self.console_host)
        if self.console_https:
            return f"https://{name}"
        return f"http://{f'[{name}]' if ':' in name else name}:{self.console_port}"

    def __repr__(self) -> str:
        shown = []
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if item.metadata["option"].secret and value is not None:
                value = masked(value)
            shown.append(f"{item.name}={value!r}")
        return f"Settings({', '.join(shown)})"


def variable(name: str) -> str:
    """The environment variable of the field ``name``."""
    return PREFIX + name.upper()


def masked(address: str) -> str:
    """The URL as it may be shown: the user name, the password and the query are left out."""
    parts = urlsplit(address)
    place = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{'***@' if place[1] else ''}{place[2]}{parts.path}"


def misspelled(environ: Mapping[str, str]) -> tuple[str, ...]:
    """One sentence for each CSPINE_* variable that looks like a setting but is none (shown by ``cspine doctor``)."""
    known = {variable(item.name) for item in dataclasses.fields(Settings)}
    known |= {f"{variable(item.name)}_FILE" for item in dataclasses.fields(Settings) if item.metadata["option"].secret}
    sentences = []
    for name in sorted(name for name in environ if name.startswith(PREFIX) and name not in known):
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.8)
        if near:
            sentences.append(f"{name} is not a setting and has no effect: did you mean {near[0]}?")
    return tuple(sentences)


def as_markdown() -> str:
    """The table of all settings for the README."""
    lines = ["| Variable | Default | Meaning |", "|---|---|---|"]
    for item in dataclasses.fields(Settings):
        option: Option = item.metadata["option"]
        default = option.default_text
        if default is None:
            default = f"`{item.default:g}`" if isinstance(item.default, float) else f"`{item.default}`"
            default = "" if item.default == "" else default
        also = f" May be given in a file named by `{variable(item.name)}_FILE`." if option.secret else ""
        lines.append(f"| `{variable(item.name)}` | {default} | {option.meaning}{also} |")
    return "\n".join(lines) + "\n"


def _text(environ: Mapping[str, str], name: str, option: Option) -> str | None:
    """The text of a setting, or None where it is not set (an empty variable counts as not set)."""
    direct = environ.get(variable(name), "").strip()
    path = environ.get(f"{variable(name)}_FILE", "").strip() if option.secret else ""
    if direct and path:
        raise ValueError(f"remove either this variable or {variable(name)}_FILE")
    if path:
        return Path(path).read_text(encoding="utf-8").strip() or None
    return direct or None


def _problem(name: str, option: Option, error: ValueError | OSError) -> str:
    """A sentence for the operator; the value of a secret is never repeated."""
    if isinstance(error, OSError):
        return f"{variable(name)}_FILE cannot be read ({error.strerror}): name a readable file"
    return f"{variable(name)} cannot be used: {error}. Meaning: {option.meaning}"


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
    for sentence in misspelled(os.environ):
        sys.stderr.write(sentence + "\n")
