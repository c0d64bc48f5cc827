"""``cspine``: one command line for every process, for sending and looking, and for the demo.

Heavy modules are imported by the command that needs them.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import click

from worker import cli_models, cli_reviews, cli_rules, cli_studies, cli_users
from worker.command_line import NOTICE, echo_findings, environment, explain_errors, read_settings, with_options
from worker.settings import Settings, SettingsError


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
    """Run a GPU worker: analyze queued studies, one at a time, and let a shadow model look when none waits.

    Start one per GPU (CUDA_VISIBLE_DEVICES).
    """
    from worker.serving_bundle import check_start  # noqa: PLC0415

    check_start(read_settings(data=data))  # refuse to start with a bundle that is not as it should be
    run_celery("gpu", 1, environment(data=data), "gpu,shadow")


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
    """Run listener, clerk, GPU worker and console of one machine; what dies is started again. Ctrl-C drains.

    The log names the address of the console, and at the first start the link by which its first user comes in.
    """
    from worker.logs import configure_logging  # noqa: PLC0415
    from worker.supervisor import PROCESSES, Supervisor  # noqa: PLC0415

    options = {"data": data, "host": host, "port": port, "ae_title": ae_title, "destination": destination}
    settings = read_settings_of(environment(**options))
    configure_logging(settings)
    commands = [command for command in PROCESSES if settings.console or command != "console"]
    Supervisor(environment(**options), commands).run()


@main.command()
@with_options("data")
@explain_errors
def console(data: Path | None) -> None:
    """Run the console: pages and JSON about studies and queues, on loopback unless set otherwise."""
    from worker.console.server import run_console  # noqa: PLC0415

    run_console(read_settings(data=data))


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


def run_celery(role: str, concurrency: int, variables: Mapping[str, str], queues: str = "") -> NoReturn:
    """Become the Celery worker of a role, which takes the queue of its name unless others are given.

    Its pool child is spawned, and its name tells the role.
    """
    read_settings_of(variables)
    level = variables.get("CSPINE_LOG_LEVEL", "INFO")
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "worker.app:app", "worker", "--pool", "prefork"]
    command += ["--concurrency", str(concurrency), "--queues", queues or role, "--hostname", f"{role}-{os.getpid()}@%h"]
    command += ["--without-gossip", "--without-mingle", "--loglevel", level]
    sys.stdout.flush()
    os.execve(sys.executable, command, dict(variables))  # noqa: S606  (a fixed command of our own)


def read_settings_of(variables: Mapping[str, str]) -> Settings:
    """Check settings, destinations and rules before another program is started with them."""
    from worker.destination_file import read_destinations  # noqa: PLC0415
    from worker.rule_file import read_rules  # noqa: PLC0415

    try:
        settings = Settings.from_environment(variables)
        read_destinations(settings)
        read_rules(settings)
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    return settings


for command in (
    cli_studies.analyze,
    cli_studies.send,
    cli_studies.echo,
    cli_studies.studies,
    cli_studies.study,
    cli_studies.retry,
    cli_studies.retract,
    cli_reviews.reviews,
    cli_rules.rules,
    cli_models.model,
    cli_users.user,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
