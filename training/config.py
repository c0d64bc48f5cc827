"""Configuration files of the training commands: one frozen dataclass each, read from TOML, checked, written back.

A command's dataclass annotates every setting with pydantic's ``Field(description=...)`` and its bounds. Files hold the
same names; what the command line gives goes before the file, and the defaults come last. ``config_text`` is the file of
all settings in force, with their explanations, which every command saves beside its result.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import tomlkit
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

Config = TypeVar("Config")
CONFIG_FILE = "config.toml"
"""The name of the saved settings beside a result."""


class ConfigError(ValueError):
    """A configuration file or option is wrong; the message names every setting and what it may be."""


def load_config(kind: type[Config], file: Path | None = None, **given: object) -> Config:
    """The settings of a command: options that are given (not None), then the file's, then the defaults.

    Relative paths in the file are relative to its folder. Raises ``ConfigError``.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{file} cannot be read as TOML: {error}") from error
        unknown = sorted(values.keys() - {one.name for one in fields(kind)})  # type: ignore[arg-type]  # a dataclass
        if unknown:
            known = ", ".join(one.name for one in fields(kind))  # type: ignore[arg-type]  # as above
            raise ConfigError(f"{file}: no such setting: {', '.join(unknown)}. Settings are: {known}")
        values = _resolved(kind, values, file.parent)
    values |= {name: value for name, value in given.items() if value is not None}
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        where = f"{file}: " if file else ""
        raise ConfigError("\n".join(f"{where}{_problem(problem)}" for problem in error.errors())) from error


def config_text(config: object) -> str:
    """All settings as TOML, each under its explanation; a setting that is None stands as a comment."""
    document = tomlkit.document()
    hints = get_type_hints(type(config), include_extras=True)
    for one in fields(config):  # type: ignore[arg-type]  # a dataclass
        explanation = _explanation(hints[one.name])
        if explanation:
            document.add(tomlkit.comment(explanation))
        value = _plain(getattr(config, one.name))
        if value is None:
            document.add(tomlkit.comment(f"{one.name} ="))
        else:
            document.add(one.name, value)
    return tomlkit.dumps(document)


def save_config(config: object, folder: Path) -> Path:
    """Write the settings in force into a result's folder."""
    path = folder / CONFIG_FILE
    path.write_text(config_text(config), encoding="utf-8")
    return path


def _problem(problem: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"]) or "settings"
    return f"{place}: {problem['msg']}"


def _explanation(hint: object) -> str:
    if get_origin(hint) is Annotated:
        for note in get_args(hint)[1:]:
            if isinstance(note, FieldInfo) and note.description:
                return note.description
    return ""


def _plain(value: object) -> Any:
    """A value as TOML knows it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        named = {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
        return {name: item for name, item in named.items() if item is not None}
    return value


def _resolved(kind: type, values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The file's values with its relative paths made absolute."""
    hints = get_type_hints(kind)
    return {name: _located(hints[name], value, folder) for name, value in values.items()}


def _located(hint: Any, value: Any, folder: Path) -> Any:
    if is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        inner = get_type_hints(hint)
        return {name: _located(inner.get(name, object), item, folder) for name, item in value.items()}
    if isinstance(value, list):
        item_hint = next(iter(get_args(hint)), object)
        return [_located(item_hint, item, folder) for item in value]
    if isinstance(value, str) and (hint is Path or Path in get_args(hint)):
        return str(folder / value)
    return value
