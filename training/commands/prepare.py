"""``python -m training prepare``: data sets into the folder that the other commands train on and measure with."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from training.datasets.studies import DataSet
    from training.preparation.prepare import Summary
    from training.preparation.prepare_config import PrepareConfig
    from training.preparation.prepare_study import Outcome

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.option("--config", "file", type=FILE, help="File of settings (TOML); options go before it.")
@click.option("--print-config", is_flag=True, help="Print all settings with their explanations and end.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Folder of the prepared studies.")
@click.option("--from-reviews", "reviews", type=FOLDER, help="Folder of `cspine reviews export`: one more source.")
@click.option("--split-file", type=FILE, help="CSV of a published split: study or patient, split.")
@click.option("--seed", type=int, help="Seed of the split.")
@click.option("--bundle", type=FOLDER, help="Bundle that finds the levels of studies without a mask.")
@click.option("--processes", type=click.IntRange(1, 256), help="Studies in work at the same time.")
@click.option("--skip-unreadable", is_flag=True, default=None, help="Go on without studies that cannot be read.")
@click.option("--allow-missing-class", is_flag=True, default=None, help="Accept a split without a class.")
@click.option("--check-only", is_flag=True, help="Check everything but pixels, tell what all will cost, and end.")
def prepare(
    file: Path | None,
    print_config: bool,  # noqa: FBT001 -- a flag
    reviews: Path | None,
    check_only: bool,  # noqa: FBT001 -- a flag
    **options: object,
) -> None:
    """Check, split, read and prepare CT studies with their labels, as serving would, and look for leaks.

    An interrupted run goes on with the same command. Not a medical device.
    """
    from model.errors import BundleError  # noqa: PLC0415 -- imports are slow
    from training.config import ConfigError, config_text, load_config  # noqa: PLC0415 -- as above
    from training.datasets.data_sets import DataSetKind, DataSourceConfig, open_data_set  # noqa: PLC0415 -- as above
    from training.datasets.studies import DataSetError  # noqa: PLC0415 -- as above
    from training.preparation.prepare_config import PrepareConfig  # noqa: PLC0415 -- as above

    try:
        config = load_config(PrepareConfig, file, **options)
        if reviews is not None:
            config = replace(config, sources=(*config.sources, DataSourceConfig(DataSetKind.REVIEWS, reviews)))
        if print_config:
            click.echo(config_text(config), nl=False)
            return
        data_sets = [open_data_set(source) for source in config.sources]
        if check_only:
            _check(config, data_sets)
        else:
            _run(config, data_sets)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    except (DataSetError, BundleError) as error:
        raise click.ClickException(str(error)) from error


def _check(config: "PrepareConfig", data_sets: "list[DataSet]") -> None:
    from training.preparation.cleaning import STEPS  # noqa: PLC0415 -- imports are slow
    from training.preparation.prepare_check import check, check_text  # noqa: PLC0415 -- as above

    click.echo("Each study goes through:")
    for step in STEPS:
        click.echo(f"  {step.name}: {step.what}")
    click.echo(check_text(*check(config, data_sets)))


def _run(config: "PrepareConfig", data_sets: "list[DataSet]") -> None:
    from training.preparation.prepare import prepare as run  # noqa: PLC0415 -- imports are slow

    with _Bar() as bar:
        summary = run(config, data_sets, bar.done)
    _tell(config, summary)


def _tell(config: "PrepareConfig", summary: "Summary") -> None:
    for warning in summary.warnings:
        click.echo(f"Note: {warning}.")
    if summary.left_out:
        click.echo(f"Left out, because they cannot be read (problems.csv): {', '.join(summary.left_out)}")
    counts = ", ".join(f"{count} {split}" for split, count in summary.studies.items())
    click.echo(f"{config.output}: {counts} ({summary.new} of them new); no leak between splits")


class _Bar:
    """A bar on a terminal that begins with the first study; studies that cannot be read are told at once."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __enter__(self) -> "_Bar":
        return self

    def done(self, outcome: "Outcome", count: int) -> None:
        """Take a study that is done."""
        for problem in outcome.problems:
            click.echo(f"\n{problem}" if self._bar is not None else problem, err=True)
        if self._bar is None and sys.stderr.isatty():
            self._bar = click.progressbar(length=count, label="Studies", file=sys.stderr, show_pos=True)
        if self._bar is not None:
            self._bar.update(1)
            self._bar.render_progress()

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.render_finish()
