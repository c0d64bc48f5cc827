"""The commands for what readers sent back: cspine reviews list, export, retry."""

import json
from pathlib import Path

import click

from worker.command_line import explain_errors, read_settings, with_options


@click.group()
def reviews() -> None:
    """Look at what readers made of the results, and export it as training labels.

    A segmentation or report that a radiologist edited or verified, and that the PACS sends to the listener, is kept as
    a review of the result (see CSPINE_REVIEWS). It is never analyzed; its study's timeline shows what it says.
    """


@reviews.command("list")
@with_options("data")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many, newest first."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explain_errors
def list_reviews(data: Path | None, limit: int, as_json: bool) -> None:  # noqa: FBT001  (click passes flags so)
    """List the reviews, newest first: when, by whom sent, of which study, and what they say."""
    from worker.queries import open_database  # noqa: PLC0415
    from worker.review_list import review_lines  # noqa: PLC0415

    with open_database(read_settings(data=data)) as database:
        lines = review_lines(database, limit)
    if as_json:
        click.echo(json.dumps([line.as_json() for line in lines], indent=2))
        return
    for line in lines:
        click.echo(line.as_line())


@reviews.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@with_options("data")
@click.option("--copy-images", is_flag=True, help="Copy the CT files as well; else labels.json has their paths.")
@explain_errors
def export(folder: Path, data: Path | None, copy_images: bool) -> None:  # noqa: FBT001  (click passes flags so)
    """Write the reviewed studies into FOLDER, a new or empty one, as labels for training.

    One folder a study: the segmentations and reports byte for byte as they came back, and labels.json with what they
    say of each level (fracture present, absent or undetermined; result accepted, rejected, at the wrong level, with a
    corrected mask). Where reviews differ the verified one holds, else the later one.

    labels.json names neither the patient nor the reader. THE DICOM FILES NAME BOTH: treat FOLDER like the archive.
    """
    from worker.queries import open_database  # noqa: PLC0415
    from worker.review_export import export_reviews  # noqa: PLC0415

    settings = read_settings(data=data)
    with open_database(settings) as database:
        report = export_reviews(database, settings, folder, copy_images=copy_images)
    click.echo(f"{report.studies} studies with {report.reviews} reviews in {folder}")
    if report.missing_images:
        click.echo(f"{report.missing_images} CT files are not in the spool any more", err=True)
    click.echo("The DICOM files in it name patients and readers.")


@reviews.command()
@with_options("data")
@explain_errors
def retry(data: Path | None) -> None:
    """Let the clerk read again what could not be read."""
    from worker.queries import open_database  # noqa: PLC0415
    from worker.reviewing import read_again  # noqa: PLC0415

    with open_database(read_settings(data=data)) as database:
        count = read_again(database)
    click.echo(f"{count} reviews wait to be read again")
