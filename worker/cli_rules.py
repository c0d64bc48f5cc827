"""The commands for the rules of the site: cspine rules check, test."""

from pathlib import Path
from typing import Any

import click

from worker.command_line import explain_errors, read_settings, with_options


@click.group()
def rules() -> None:
    """Check the rules that say which studies are analyzed, and try them on a study.

    They are a TOML file that CSPINE_RULES_FILE names; deploy/rules.example.toml explains every key. After a change
    start the clerk again.
    """


@rules.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@explain_errors
def check(file: Path | None) -> None:
    """Check FILE, or that of CSPINE_RULES_FILE, and show each rule in one line."""
    from worker.rule_report import describe  # noqa: PLC0415

    found = read_file(file)
    for line in describe(found):
        click.echo(line)
    click.echo(f"{found.file_name}: {len(found.rules)} rules, no mistake found")


@rules.command()
@click.argument("study", metavar="UID|FOLDER")
@with_options("data")
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="Rules; else those of CSPINE_RULES_FILE.")
@click.option("--calling-ae-title", help="Who would send the study in FOLDER.")
@explain_errors
def test(study: str, data: Path | None, file: Path | None, calling_ae_title: str | None) -> None:
    """Show which rule decides on a study, and why each one before it does not; nothing is changed.

    The study is one that was received here, by its UID, or a folder of DICOM files.
    """
    from worker.queries import open_database  # noqa: PLC0415
    from worker.rule_report import folder_facts, report, study_facts  # noqa: PLC0415

    found = read_file(file)
    if Path(study).is_dir():
        facts = folder_facts(Path(study), calling_ae_title)
    else:
        settings = read_settings(data=data)
        with open_database(settings) as database:
            facts = study_facts(database, study, settings.spool_dir)
    for line in report(found, facts):
        click.echo(line)


def read_file(file: Path | None) -> Any:
    """The rules of the file, or of the settings."""
    from worker.rule_file import parse_rules, read_rules  # noqa: PLC0415

    found = parse_rules(file) if file is not None else read_rules(read_settings())
    if found is None:
        raise click.ClickException("there are no rules: name a file, or set CSPINE_RULES_FILE")
    return found
