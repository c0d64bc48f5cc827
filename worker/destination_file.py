"""The destinations of an installation, from CSPINE_DESTINATION or from the TOML file of CSPINE_DESTINATIONS_FILE.

Everything is checked when a process starts; each error names its key. ``deploy/destinations.example.toml`` shows all.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dicom_node.node import Peer
from dicom_node.profiles import PROFILES, Profile, Switch, profile_of
from dicom_node.tls import TlsFiles, UnusableTlsFiles, client_context
from worker import toml_table
from worker.destinations import CommitmentMode, Destination
from worker.settings import Settings, SettingsError
from worker.toml_table import TomlTable

MAX_DESTINATIONS = 16
"""Destinations are served one after the other within the time limit of one task."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_WAIT_SECONDS = {CommitmentMode.STORAGE_COMMITMENT: 3600.0, CommitmentMode.QUERY: 60.0, CommitmentMode.NONE: 0.0}


def read_destinations(settings: Settings) -> tuple[Destination, ...]:
    """The destinations of these settings, none where no one is set; one ``SettingsError`` names all that is wrong."""
    if settings.destinations_file is not None:
        return parse_destinations(settings.destinations_file)
    if settings.destination is None:
        return ()
    return (Destination(str(settings.destination), peer=settings.destination),)


def parse_destinations(path: Path) -> tuple[Destination, ...]:
    """Read and check the file; paths in it are relative to its folder."""
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"CSPINE_DESTINATIONS_FILE: {path} cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"CSPINE_DESTINATIONS_FILE: {path} is no TOML: {error}") from error
    tables = content.pop("destination", None)
    problems = [f"{path.name}: {name} is not known: begin each destination with [[destination]]" for name in content]
    if not isinstance(tables, list) or not 1 <= len(tables) <= MAX_DESTINATIONS:
        problems.append(f"{path.name}: expected 1 to {MAX_DESTINATIONS} tables [[destination]]")
        tables = []
    readers = [_DestinationTable(table, path, number) for number, table in enumerate(tables, 1)]
    destinations = [reader.destination() for reader in readers]
    problems += [problem for reader in readers for problem in reader.problems]
    problems += [f"{path.name}: {problem}" for problem in _repeated(destinations)]
    if destinations and not any(destination.automatic for destination in destinations):
        problems.append(f"{path.name}: automatic: let at least one destination get every result")
    if problems:
        raise SettingsError("; ".join(problems))
    return tuple(destinations)


def _repeated(destinations: Sequence[Destination]) -> list[str]:
    """Names and addresses that two destinations have in common: a PACS must not get the results twice."""
    problems = []
    for what, values in (
        ("name", [destination.name for destination in destinations]),
        ("address", [str(destination.peer or destination.url) for destination in destinations]),
    ):
        twice = sorted({value for value in values if value not in {"", "None"} and values.count(value) > 1})
        problems += [f"{what} {value} is used by two destinations" for value in twice]
    return problems


class _DestinationTable(TomlTable):
    """One ``[[destination]]``."""

    def __init__(self, table: Any, path: Path, number: int) -> None:
        name = table.get("name") if isinstance(table, dict) else None
        super().__init__(table, f"{path.name}: destination {number}" + (f" ({name})" if isinstance(name, str) else ""))
        self._folder = path.absolute().parent

    def destination(self) -> Destination:
        """What the table says; to be used only when no problem was found."""
        mode = self.take("commitment", _commitment_mode, CommitmentMode.NONE)
        destination = Destination(
            name=self.take("name", _name, ""),
            peer=self.take("peer", _peer, None),
            url=self.take("url", _url, None),
            profile=self._profile(),
            tls=self._tls(),
            token_file=self.take("token_file", partial(_file, self._folder), None),
            commitment=mode,
            commitment_wait_seconds=self.take("commitment_wait_seconds", _seconds, _WAIT_SECONDS[mode]),
            reconcile=self.take("reconcile", _flag, False),
            automatic=self.take("automatic", _flag, True),
        )
        self._check(destination)
        self.refuse_others(_KEYS)
        return destination

    def _profile(self) -> Profile:
        name = self.take("profile", toml_table.text, "default")
        none: tuple[str, ...] = ()
        switches = self.take("switches", partial(toml_table.texts, example='["pdf", "ko"]'), none)
        for key, chosen in (("profile", none), ("switches", switches)):
            try:
                profile = profile_of(name, chosen)
            except ValueError as error:
                self.wrong(key, str(error))
                return PROFILES["default"]
        return profile

    def _tls(self) -> TlsFiles | None:
        table = self.take("tls", _tls_table, None)
        if table is None:
            return None
        problems = len(self.problems)
        files: dict[str, Path] = {}
        for key, value in table.items():
            if key not in {"trusted", "certificate", "key"}:
                self.wrong(f"tls.{key}", "is not a key: trusted, certificate and key are")
                continue
            try:
                files[key] = _file(self._folder, value)
            except ValueError as error:
                self.wrong(f"tls.{key}", str(error))
        if ("certificate" in table) != ("key" in table):
            self.wrong("tls.certificate", "give certificate and key together, or neither")
        return self._usable(files) if len(self.problems) == problems else None

    def _usable(self, files: Mapping[str, Path]) -> TlsFiles | None:
        """The files, tried out: what is no certificate is told at the start and not by the first delivery."""
        chosen = TlsFiles(files.get("trusted"), files.get("certificate"), files.get("key"))
        try:
            client_context(chosen)
        except UnusableTlsFiles as error:
            self.wrong("tls", str(error))
        return chosen

    def _check(self, destination: Destination) -> None:
        """What must fit together."""
        if not destination.name and not any(": name: " in problem for problem in self.problems):
            self.wrong("name", "give the destination a name")
        addressed = any(f": {key}: " in problem for problem in self.problems for key in ("peer", "url"))
        if (destination.peer is None) == (destination.url is None) and not addressed:
            self.wrong("peer", "give either peer (AET@HOST:PORT) or url (a DICOMweb service)")
        if destination.url is None:
            if destination.token_file is not None:
                self.wrong("token_file", "only a DICOMweb destination (url) takes a token")
            return
        parts = urlsplit(destination.url)
        if destination.commitment is CommitmentMode.STORAGE_COMMITMENT:
            self.wrong("commitment", "storage-commitment needs a peer, a DICOMweb destination can have query")
        if destination.profile.deflated:
            self.wrong("switches", f"{Switch.DEFLATED} is negotiated with a peer, a DICOMweb destination has none")
        if parts.scheme == "http" and destination.tls is not None:
            self.wrong("tls", "needs a url that begins with https:")
        if parts.scheme == "http" and destination.token_file is not None and parts.hostname not in _LOOPBACK:
            self.wrong("token_file", "a token is sent over https: alone")


_KEYS: Sequence[str] = (
    "name",
    "peer",
    "url",
    "profile",
    "switches",
    "tls",
    "token_file",
    "commitment",
    "commitment_wait_seconds",
    "reconcile",
    "automatic",
)


def _name(value: Any) -> str:
    text = toml_table.text(value)
    if _NAME.fullmatch(text) is None:
        raise ValueError("expected 1 to 63 letters, digits, dots, underscores and hyphens")
    return text


def _peer(value: Any) -> Peer:
    return Peer.parse(toml_table.text(value))


def _url(value: Any) -> str:
    """The base URL without a slash at its end; a URL that holds a password is refused without being repeated."""
    text = toml_table.text(value).rstrip("/")
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("expected the base URL of a DICOMweb service, such as https://pacs.example/dicom-web")
    if "@" in parts.netloc:
        raise ValueError("a URL must hold no user name or password: use token_file or tls")
    return text


def _file(folder: Path, value: Any) -> Path:
    path = folder / toml_table.text(value)
    try:
        with path.open("rb") as file:
            content = bool(file.read(1))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    if not content:
        raise ValueError(f"{path} is empty")
    return path


def _tls_table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("expected a table with trusted, certificate and key")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 30 * 86400:
        raise ValueError("expected a number of seconds, at most 30 days")
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("expected true or false")
    return value


def _commitment_mode(value: Any) -> CommitmentMode:
    try:
        return CommitmentMode(toml_table.text(value))
    except ValueError:
        raise ValueError(f"expected one of {', '.join(CommitmentMode)}") from None
