"""``cspine``: one command line for every process, for sending and looking, and for the demo.

Options become ``CSPINE_*`` variables, so that each process reads its settings in one way; heavy modules are imported by
the command that needs them.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

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
        from model.errors import BundleError  # noqa: PLC0415
        from worker.database import DatabaseError  # noqa: PLC0415

        try:
            return command(*arguments, **options)
        except (StartupError, DatabaseError, DicomNodeError, BundleError) as error:
            raise click.ClickException(str(error)) from error

    return wrapper


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="cspine")
def main() -> None:
    """Find the cervical vertebrae C1-C7 and their fractures in CT studies that a PACS pushes.

    A study arrives by C-STORE at the listener, is queued, analyzed by a network, and goes back to the PACS as a DICOM
    segmentation and a structured report. `cspine demo` shows the whole way on this machine; `cspine up` runs it.

    Not a medical device. Not for diagnosis.
    """


@main.command()
@click.option(
    "--study",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with the DICOM files of one CT study; without it a synthetic neck is made.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("cspine-demo"),
    show_default=True,
    help="Folder that keeps the results.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write state, findings, files and seconds into this file.",
)
@explain_errors
def demo(study: Path | None, output: Path, json_file: Path | None) -> None:
    """Send one study through the whole product on this machine and show what comes back.

    Starts a listener, a clerk, a GPU worker (it runs on the CPU where there is no GPU) and a local PACS on free
    loopback ports, sends the study by C-STORE, waits for the result, and stops everything. Ends with status 1 unless
    the PACS holds the results.
    """
    from worker.demo import run_demo  # noqa: PLC0415

    report = run_demo(study, output, environment(), click.echo)
    if json_file is not None:
        json_file.write_text(report.as_json() + "\n")
    click.echo("")
    click.echo(f"state     {report.state}" + (f" ({report.reason})" if report.reason else ""))
    if report.findings is not None:
        echo_findings(report.findings)
    for kind, path in report.files.items():
        click.echo(f"{kind.lower():<13} {path}")
    click.echo(
        "seconds       " + ", ".join(f"{name} {value:g}" for name, value in report.seconds.items() if "." not in name)
    )
    click.echo(NOTICE)
    if not report.complete:
        click.echo("The PACS does not hold the results.", err=True)
        sys.exit(1)


@main.command()
@with_options("data", "host", "port", "ae_title")
@explain_errors
def listen(data: Path | None, host: str | None, port: int | None, ae_title: str | None) -> None:
    """Run the DICOM listener: receive CT instances by C-STORE, keep them durably, answer C-ECHO."""
    from worker.listener import run_listener  # noqa: PLC0415

    run_listener(read_settings(data=data, host=host, port=port, ae_title=ae_title))


@main.command()
@with_options("data")
@explain_errors
def work(data: Path | None) -> None:
    """Run a GPU worker: analyze queued studies, one at a time. Start one per GPU (CUDA_VISIBLE_DEVICES)."""
    from model.bundle import load_bundle  # noqa: PLC0415

    load_bundle(read_settings(data=data).bundle_path)  # refuse to start with a bundle that is not as it should be
    run_celery("gpu", 1, environment(data=data))


@main.command()
@with_options("data", "ae_title", "destination")
@explain_errors
def clerk(data: Path | None, ae_title: str | None, destination: str | None) -> None:
    """Run a clerk: find complete studies, ring the workers, deliver results, keep the embedded broker if it is used."""
    run_celery("clerk", 2, environment(data=data, ae_title=ae_title, destination=destination))


@main.command()
@with_options("data", "host", "port", "ae_title", "destination")
@explain_errors
def up(data: Path | None, host: str | None, port: int | None, ae_title: str | None, destination: str | None) -> None:
    """Run listener, clerk and GPU worker of one small machine; a process that dies is started again. Ctrl-C drains."""
    from worker.logs import configure_logging  # noqa: PLC0415
    from worker.supervisor import Supervisor  # noqa: PLC0415

    options = {"data": data, "host": host, "port": port, "ae_title": ae_title, "destination": destination}
    configure_logging(read_settings(**options))
    Supervisor(environment(**options)).run()


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the result files."
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@explain_errors
def analyze(folder: Path, output: Path, as_json: bool) -> None:  # noqa: FBT001  (click passes flags so)
    """Analyze the study in FOLDER without any network.

    Writes segmentation.dcm, report.dcm, narrative.dcm, summary.dcm, findings.json and overlay.png.
    """
    from worker.offline import analyze_folder  # noqa: PLC0415

    findings = analyze_folder(folder, output, read_settings())
    if as_json:
        click.echo(json.dumps(findings, indent=2))
    else:
        echo_findings(findings)
        click.echo(f"files in      {output}")
        click.echo(NOTICE)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("peer", metavar="AET@HOST:PORT")
@with_options("ae_title")
@explain_errors
def send(folder: Path, peer: str, ae_title: str | None) -> None:
    """Send every DICOM file of FOLDER to a peer by C-STORE."""
    from worker.sending import send_folder  # noqa: PLC0415

    sent = send_folder(folder, parse_peer(peer), read_settings(ae_title=ae_title).ae_title)
    for line in sent.refusals:
        click.echo(line, err=True)
    click.echo(f"{sent.accepted} of {sent.files} accepted")
    sys.exit(1 if sent.refusals else 0)


@main.command()
@click.argument("peer", metavar="AET@HOST:PORT")
@with_options("ae_title")
@explain_errors
def echo(peer: str, ae_title: str | None) -> None:
    """Ask a peer whether it is there (C-ECHO)."""
    from dicom_node.scu import echo as c_echo  # noqa: PLC0415

    target = parse_peer(peer)
    c_echo(target, read_settings(ae_title=ae_title).ae_title)
    click.echo(f"{target} answers")


@main.command()
@with_options("data")
@click.option("--state", "states", multiple=True, help="Only studies of this state; may be repeated.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many, newest first."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explain_errors
def studies(data: Path | None, states: tuple[str, ...], limit: int, as_json: bool) -> None:  # noqa: FBT001
    """List the studies, newest first."""
    from worker.queries import list_studies, open_database  # noqa: PLC0415

    with open_database(read_settings(data=data)) as database:
        lines = list_studies(database, parse_states(states), limit)
    if as_json:
        click.echo(json.dumps([line.as_json() for line in lines], indent=2))
        return
    for line in lines:
        received = line.last_received_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        click.echo(
            f"{received}  {line.state:<10} {line.instances:>5}  {line.study_instance_uid}  {line.reason or ''}".rstrip()
        )


@main.command()
@click.argument("uid")
@with_options("data")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explain_errors
def study(uid: str, data: Path | None, as_json: bool) -> None:  # noqa: FBT001
    """Show where the study UID is and why: every event, the series, the findings, the deliveries, the next step."""
    from worker.queries import find_study, open_database  # noqa: PLC0415

    with open_database(read_settings(data=data)) as database:
        view = find_study(database, uid)
    if view is None:
        raise click.ClickException(f"no study {uid} was received here: see `cspine studies`")
    click.echo(json.dumps(view.as_json(), indent=2) if as_json else "\n".join(view.as_lines()))


@main.command()
@click.argument("uid")
@with_options("data")
@explain_errors
def retry(uid: str, data: Path | None) -> None:
    """Try a FAILED or SKIPPED study again: its delivery when only that failed, else the analysis."""
    from worker.queries import open_database, retry_study  # noqa: PLC0415

    with open_database(read_settings(data=data)) as database:
        state = retry_study(database, uid, datetime.now(UTC))
    click.echo(f"the study waits again ({state}); the next sweep rings a worker")


@main.command()
@with_options("data")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(data: Path | None, as_json: bool) -> None:  # noqa: FBT001
    """Check disk, database, broker, model bundle and PACS: one line each, with what to do."""
    from worker.checks import run_checks  # noqa: PLC0415

    checks = run_checks(read_settings(data=data), os.environ)
    if as_json:
        click.echo(json.dumps([check.as_json() for check in checks], indent=2))
    else:
        for check in checks:
            click.echo(check.as_line())
    sys.exit(0 if all(check.passed for check in checks) else 1)


def run_celery(role: str, concurrency: int, variables: Mapping[str, str]) -> NoReturn:
    """Become the Celery worker of a role; its pool child is spawned, and its name tells the role."""
    read_settings_of(variables)
    level = variables.get("CSPINE_LOG_LEVEL", "INFO")
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "worker.app:app", "worker", "--pool", "prefork"]
    command += ["--concurrency", str(concurrency), "--queues", role, "--hostname", f"{role}-{os.getpid()}@%h"]
    command += ["--without-gossip", "--without-mingle", "--loglevel", level]
    sys.stdout.flush()
    os.execve(sys.executable, command, dict(variables))  # noqa: S606  (a fixed command of our own)


def read_settings_of(variables: Mapping[str, str]) -> Settings:
    """Check settings before another program is started with them."""
    try:
        return Settings.from_environment(variables)
    except SettingsError as error:
        raise click.ClickException(str(error)) from error


def parse_peer(text: str) -> Any:
    """A peer from AET@HOST:PORT."""
    from dicom_node.node import Peer  # noqa: PLC0415

    try:
        return Peer.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def parse_states(names: tuple[str, ...]) -> tuple[Any, ...]:
    """Study states from their names."""
    from worker.states import StudyState  # noqa: PLC0415

    try:
        return tuple(StudyState(name.upper()) for name in names)
    except ValueError as error:
        raise click.BadParameter(f"a state is one of {', '.join(StudyState)}") from error


def echo_findings(findings: Mapping[str, Any]) -> None:
    """Show levels and probabilities as a small table."""
    click.echo("level  fracture probability")
    for level in findings["levels"]:
        mark = "  SUSPECTED FRACTURE" if level["fractured"] else ""
        click.echo(f"{level['vertebra']:<6} {100 * level['probability']:5.1f} %{mark}")
    click.echo(f"any fracture {100 * findings['probability']:5.1f} % (threshold {100 * findings['threshold']:.0f} %)")
    for limitation in findings["limitations"]:
        click.echo(f"limitation    {limitation['text']}")


if __name__ == "__main__":
    main()
