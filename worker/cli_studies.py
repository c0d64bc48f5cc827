"""The commands that look at studies and speak to peers: analyze, send, echo, studies, study, retry, retract."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from worker.command_line import NOTICE, echo_findings, explain_errors, read_settings, with_options


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the result files."
)
@with_options("data")
@click.option("--model", "model_name", metavar="SHA256", help="An installed model, or built-in; else the serving one.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@explain_errors
def analyze(folder: Path, output: Path, data: Path | None, model_name: str | None, as_json: bool) -> None:  # noqa: FBT001  (click passes flags so)
    """Analyze the study in FOLDER without any network connection.

    With the model that serves this installation (see cspine model), in a new one with the built-in model. Writes
    segmentation.dcm, report.dcm, narrative.dcm, summary.dcm, findings.json and overlay.png.
    """
    from worker.offline import analyze_folder  # noqa: PLC0415
    from worker.serving_bundle import bundle_called  # noqa: PLC0415

    settings = read_settings(data=data)
    findings = analyze_folder(folder, output, settings, bundle_called(settings, model_name))
    if as_json:
        click.echo(json.dumps(findings, indent=2))
    else:
        echo_findings(findings)
        click.echo(f"files in      {output}")
        click.echo(NOTICE)


@click.command()
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


@click.command()
@click.argument("peer", metavar="AET@HOST:PORT")
@with_options("ae_title")
@explain_errors
def echo(peer: str, ae_title: str | None) -> None:
    """Ask a peer whether it is there (C-ECHO)."""
    from dicom_node.scu import echo as c_echo  # noqa: PLC0415

    target = parse_peer(peer)
    c_echo(target, read_settings(ae_title=ae_title).ae_title)
    click.echo(f"{target} answers")


@click.command()
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


@click.command()
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


@click.command()
@click.argument("uid")
@with_options("data")
@explain_errors
def retry(uid: str, data: Path | None) -> None:
    """Try a FAILED or SKIPPED study again: its delivery when only that failed, else the analysis."""
    from worker.queries import open_database, retry_study  # noqa: PLC0415

    with open_database(read_settings(data=data)) as database:
        state = retry_study(database, uid, datetime.now(UTC))
    click.echo(f"the study waits again ({state}); the next sweep rings a worker")


@click.command()
@click.argument("uid")
@with_options("data", "ae_title")
@click.option(
    "--reason",
    type=click.Choice(["quality", "patient-safety"]),
    default="quality",
    show_default=True,
    help="Why: wrong or of no use; or it must not be seen again, for example because it is another patient's.",
)
@explain_errors
def retract(uid: str, data: Path | None, ae_title: str | None, reason: str) -> None:
    """Withdraw a wrong result: UID is its study (every version) or one of its SOP instances.

    It is never sent again, and every destination that may have it gets a Key Object "rejected".
    """
    from dicom_node.retraction import RejectionReason  # noqa: PLC0415
    from worker.devices import device_of  # noqa: PLC0415
    from worker.queries import open_database  # noqa: PLC0415
    from worker.retraction import Retraction  # noqa: PLC0415
    from worker.storage import ResultStore  # noqa: PLC0415

    settings = read_settings(data=data, ae_title=ae_title)
    store, now = ResultStore(settings.results_dir), datetime.now().astimezone()
    with open_database(settings) as database:
        done = Retraction(database, store, device_of(settings), now, RejectionReason(reason)).retract(uid)
    click.echo(f"withdrawn: {done.versions} version(s), {done.objects} objects that may have left this machine")
    if done.unreadable:
        click.echo(f"{done.unreadable} stored objects cannot be read: reject them in the PACS by hand", err=True)
    if done.destinations:
        click.echo(f"a clerk sends the rejection to {', '.join(done.destinations)}")


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
