"""The commands for models: cspine model list, show, history, verify, install, promote, rollback, shadow, report, ..."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from worker.command_line import explain_errors, read_settings, with_options

model_argument = click.argument("name", metavar="SHA256")
reason_option = click.option("--reason", default="", help="Why, for the history.")


@click.group()
def model() -> None:
    """Install models, choose the one that serves, let another look on, and go back.

    A model is a bundle: a folder that `python -m training export` writes, or a zip file of it. It is named by the
    SHA-256 of its metadata.json (the first six digits are enough), the one in the package by built-in. Running workers
    take a change over between two studies; a study ends under the model that it began with, and each result names
    the model that made it. Studies that were analyzed before are not analyzed again.
    """


@model.command("list")
@with_options("data")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explain_errors
def list_models(data: Path | None, as_json: bool) -> None:  # noqa: FBT001  (click passes flags so)
    """List the models: which serves, which is the shadow, which a rollback would bring back."""
    from worker.model_list import model_lines  # noqa: PLC0415

    lines = model_lines(read_settings(data=data))
    if as_json:
        click.echo(json.dumps([line.as_json() for line in lines], indent=2))
        return
    for line in lines:
        click.echo(line.as_line())


@model.command()
@model_argument
@with_options("data")
@explain_errors
def show(name: str, data: Path | None) -> None:
    """Show what a model says of itself: intended use, limits, operating points, provenance."""
    from worker.serving_bundle import bundle_called  # noqa: PLC0415

    bundle = bundle_called(read_settings(data=data), name)
    click.echo(json.dumps({"sha256": bundle.sha256, **asdict(bundle.metadata)}, indent=2, default=str))


@model.command()
@with_options("data")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@explain_errors
def history(data: Path | None, limit: int) -> None:
    """List what was done with models, newest first: when, what, by whom, why."""
    from worker import model_choice  # noqa: PLC0415
    from worker.model_operations import opened_database  # noqa: PLC0415

    with opened_database(read_settings(data=data)) as database, database.reading() as session:
        for event in reversed(model_choice.history(session)[-limit:]):
            at, name = event.at.astimezone().strftime("%Y-%m-%d %H:%M:%S"), model_choice.named(event.bundle_sha256)
            click.echo(f"{at}  {event.kind:<14}  {name:<12}  {event.by}  {event.reason}".rstrip())


@model.command()
@model_argument
@with_options("data")
@click.option("--probe", is_flag=True, help="Let it answer a small volume as well (seconds; needs the worker's Keras).")
@explain_errors
def verify(name: str, data: Path | None, probe: bool) -> None:  # noqa: FBT001  (click passes flags so)
    """Check every file of a model, and its signature where one is asked for."""
    from worker import model_operations  # noqa: PLC0415
    from worker.serving_bundle import bundle_called  # noqa: PLC0415

    settings = read_settings(data=data)
    bundle = bundle_called(settings, name)
    if probe:
        model_operations.probe(settings, bundle)
    click.echo(f"{bundle.name} {bundle.version}, SHA-256 {bundle.sha256}: whole{', and answers' if probe else ''}")


@model.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@with_options("data")
@reason_option
@explain_errors
def install(path: Path, data: Path | None, reason: str) -> None:
    """Copy the bundle at PATH, a folder or a zip file, into the data folder. It does not serve yet.

    Only the files that its metadata.json lists are taken. With CSPINE_MODEL_PUBLIC_KEYS_FILE it must be signed by one
    of those keys.
    """
    from worker import model_operations  # noqa: PLC0415

    done = model_operations.install(read_settings(data=data), path, model_operations.this_user(reason))
    bundle = done.bundle
    click.echo(f"{bundle.name} {bundle.version} is {'installed' if done.new else 'installed already'}")
    click.echo(f"SHA-256    {bundle.sha256}")
    click.echo(f"use it     cspine model promote {bundle.sha256[:12]}")


@model.command()
@model_argument
@with_options("data")
@reason_option
@explain_errors
def promote(name: str, data: Path | None, reason: str) -> None:
    """Let a model serve from the next study on, after it was checked and has answered a small volume.

    Run it where a worker could run: it needs Keras. When it fails nothing has changed.
    """
    from worker import model_operations  # noqa: PLC0415

    done = model_operations.promote(read_settings(data=data), name, model_operations.this_user(reason))
    click.echo(f"{done.bundle.name} {done.bundle.version} ({done.name}) serves from the next study on")
    click.echo("back with  cspine model rollback")


@model.command()
@with_options("data")
@reason_option
@explain_errors
def rollback(data: Path | None, reason: str) -> None:
    """Let the model serve again that served before; once more: the one before that."""
    from worker import model_operations  # noqa: PLC0415

    done = model_operations.roll_back(read_settings(data=data), model_operations.this_user(reason))
    click.echo(f"{done.bundle.name} {done.bundle.version} ({done.name}) serves again from the next study on")


@model.command()
@click.argument("name", metavar="[SHA256]", required=False)
@click.option("--off", is_flag=True, help="Have no shadow any more.")
@with_options("data")
@reason_option
@explain_errors
def shadow(name: str | None, off: bool, data: Path | None, reason: str) -> None:  # noqa: FBT001
    """Let a model look at each study after its result was handed on, and keep what it says; it sends nothing.

    It works while no study waits, and gives way when one comes. `cspine model report` compares it with the model that
    serves. The worker keeps both in memory meanwhile.
    """
    from worker import model_operations  # noqa: PLC0415

    if off == (name is not None):
        raise click.UsageError("name the model that is to look on, or end it with --off")
    settings, actor = read_settings(data=data), model_operations.this_user(reason)
    if name is None:
        model_operations.end_shadow(settings, actor)
        click.echo("there is no shadow any more")
        return
    bundle = model_operations.start_shadow(settings, name, actor)
    click.echo(f"{bundle.name} {bundle.version} ({bundle.sha256[:12]}) looks on from now on: cspine model report")


@model.command()
@click.argument("name", metavar="[SHA256]", required=False)
@with_options("data")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Folder for the report and pictures.")
@click.option("--uids", is_flag=True, help="Name the studies on which both differ by their Study Instance UIDs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explain_errors
def report(name: str | None, data: Path | None, output: Path | None, uids: bool, as_json: bool) -> None:  # noqa: FBT001
    """Compare the shadow (or another model that was one) with the serving model on what both have seen.

    Agreement of levels and of calls with 95 % intervals, seconds of both, and the studies on which they differ; with
    --output also as report.html with pictures, which hold no name (and show the CT: keep them as you keep images).
    """
    from worker import model_operations  # noqa: PLC0415
    from worker.shadow_report import write_report  # noqa: PLC0415

    settings = read_settings(data=data)
    found = model_operations.report(settings, name)
    if output is not None:
        count = write_report(found, output, settings.shadow_dir, with_uids=uids)
        click.echo(f"report.html, report.json and {count} pictures are in {output}", err=True)
    text = "\n".join(found.as_lines(with_uids=uids))
    click.echo(json.dumps(found.as_json(with_uids=uids), indent=2) if as_json else text)


@model.command()
@model_argument
@with_options("data")
@reason_option
@explain_errors
def remove(name: str, data: Path | None, reason: str) -> None:
    """Delete an installed model that neither serves nor looks on, nor is what a rollback goes back to."""
    from worker import model_operations  # noqa: PLC0415

    sha256 = model_operations.remove(read_settings(data=data), name, model_operations.this_user(reason))
    click.echo(f"model {sha256[:12]} is removed; results that it made still name it")


@model.command()
@click.argument("key", type=click.Path(path_type=Path, dir_okay=False))
@explain_errors
def keygen(key: Path) -> None:
    """Make a key that signs models: KEY (private, keep it away from the workers) and KEY.pub."""
    from worker.signatures import make_key  # noqa: PLC0415

    public = make_key(key)
    click.echo(f"private key {key}: keep it where models are made, not where they serve")
    click.echo(f"public key  {public}: name it in CSPINE_MODEL_PUBLIC_KEYS_FILE of every process")


@model.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--key", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True, help="Private key.")
@explain_errors
def sign(folder: Path, key: Path) -> None:
    """Sign the bundle in FOLDER, after its files were checked: writes metadata.json.sig into it."""
    from worker.signatures import sign_bundle  # noqa: PLC0415

    bundle = sign_bundle(folder, key)
    click.echo(f"{bundle.name} {bundle.version} ({bundle.sha256[:12]}) is signed")
