"""What the commands of ``cspine`` share: options that become settings, errors that say what to do, findings as a table.

Options become ``CSPINE_*`` variables, so that each process reads its settings in one way.
"""

import os
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import click

from worker.errors import StartupError
from worker.settings import Settings, SettingsError

NOTICE = "Not a medical device. Not for diagnosis. The embedded model was trained without any real fracture."

OPTION_VARIABLES: Mapping[str, str] = {
    "data": "CSPINE_DATA_DIR",
    "host": "CSPINE_HOST",
    "port": "CSPINE_PORT",
    "ae_title": "CSPINE_AE_TITLE",
    "destination": "CSPINE_DESTINATION",
}


def environment(**options: object) -> dict[str, str]:
    """The environment of this process with the given options in it."""
    chosen = {OPTION_VARIABLES[name]: str(value) for name, value in options.items() if value is not None}
    return {**os.environ, **chosen}


def read_settings(**options: object) -> Settings:
    """The settings of this process; ends the command with the operator's next step when they are wrong."""
    try:
        return Settings.from_environment(environment(**options))
    except SettingsError as error:
        raise click.ClickException(str(error)) from error


def with_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the named shared options to a command."""
    shared = {
        "data": click.option(
            "--data",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder of spool, database and results.  [CSPINE_DATA_DIR]",
        ),
        "host": click.option("--host", help="Address to listen on; loopback unless set.  [CSPINE_HOST]"),
        "port": click.option("--port", type=click.IntRange(0, 65535), help="TCP port of the listener.  [CSPINE_PORT]"),
        "ae_title": click.option("--ae-title", help="Our AE title.  [CSPINE_AE_TITLE]"),
        "destination": click.option(
            "--destination", metavar="AET@HOST:PORT", help="PACS that receives the results.  [CSPINE_DESTINATION]"
        ),
    }

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            command = shared[name](command)
        return command

    return decorate


def explain_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """End a command that cannot run with its message instead of a traceback."""

    @wraps(command)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        from dicom_node.errors import DicomNodeError  # noqa: PLC0415
        from model.errors import ModelError  # noqa: PLC0415
        from worker.database import DatabaseError  # noqa: PLC0415

        try:
            return command(*arguments, **options)
        except (StartupError, SettingsError, DatabaseError, DicomNodeError, ModelError) as error:
            raise click.ClickException(str(error)) from error

    return wrapper


def echo_findings(findings: Mapping[str, Any]) -> None:
    """Show levels and probabilities as a small table."""
    click.echo("level  fracture probability")
    for level in findings["levels"]:
        mark = "  SUSPECTED FRACTURE" if level["fractured"] else ""
        click.echo(f"{level['vertebra']:<6} {100 * level['probability']:5.1f} %{mark}")
    click.echo(f"any fracture {100 * findings['probability']:5.1f} % (threshold {100 * findings['threshold']:.0f} %)")
    for limitation in findings["limitations"]:
        click.echo(f"limitation    {limitation['text']}")
