"""``python -m training evaluate``: measure a bundle, each data set in a row of its own."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from training.evaluation.evaluate_config import EvaluateConfig

FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command()
@click.option("--config", "file", type=FILE, help="File of settings (TOML); options go before it.")
@click.option("--print-config", is_flag=True, help="Print all settings with their explanations and end.")
@click.option("--prepared", type=FOLDER, help="Folder of `prepare` whose test split is measured.")
@click.option("--split", type=click.Choice(["train", "validation", "test"]), help="Another split of it.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Folder of the report.")
@click.option("--bundle", type=click.Path(path_type=Path), help="Bundle to measure; the embedded one by default.")
@click.option("--worst", type=click.IntRange(0, 100), help="Pictures of the worst mistakes of each kind; 5 by default.")
@click.option("--studies", type=click.IntRange(1, 100_000), help="Studies of each synthetic row; 20 by default.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with the real CT, ../shared/data by default; a row whose data is missing is left out.",
)
@click.option("--atlas", type=FOLDER, help="SPL head and neck atlas; the one in the data folder by default.")
@click.option("--json", "figures", type=click.Path(path_type=Path, dir_okay=False), help="Write every figure here.")
@click.option("--card", type=FILE, help="Model card whose measured part is written anew.")
def evaluate(file: Path | None, print_config: bool, **options: object) -> None:  # noqa: FBT001 -- a flag
    """Measure a bundle on the test split of your data, or on the studies of the model card.

    With --prepared: every data set of the split in a row of its own, leakage between splits fails the run, and a run
    that was interrupted goes on with the same command. Without: synthetic, semi-synthetic and real CT, none of it of
    fractured patients. Not a medical device.
    """
    from training.config import ConfigError, config_text, load_config  # noqa: PLC0415 -- slow to import
    from training.evaluation.evaluate_config import EvaluateConfig  # noqa: PLC0415 -- as above

    try:
        config = load_config(EvaluateConfig, file, **options)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    if print_config:
        click.echo(config_text(config), nl=False)
        return
    if config.prepared is not None and config.output is None:
        raise click.UsageError("--output is missing: the folder for report.html and everything beside it")
    click.echo(_measured(config))


def _measured(config: "EvaluateConfig") -> str:
    """Measure; whatever a user can repair ends the command with a sentence."""
    from model.errors import BundleError  # noqa: PLC0415 -- slow to import
    from training.datasets.studies import DataSetError  # noqa: PLC0415 -- as above
    from training.evaluation.evaluate_run import measured  # noqa: PLC0415 -- as above
    from training.evaluation.model_card import CardError, card_frame  # noqa: PLC0415 -- as above

    if config.card is not None:
        try:
            card_frame(config.card)
        except CardError as error:
            raise click.BadParameter(str(error), param_hint="--card") from error
    try:
        return measured(config)
    except (BundleError, DataSetError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        place = error.filename or config.output
        raise click.ClickException(f"{place}: {error.strerror}: repair it and run the same command again") from error
