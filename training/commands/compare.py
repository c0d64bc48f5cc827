"""``python -m training compare``: encoders and recipes on the same data for the same time, one row each."""

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.option("--config", "file", type=FILE, help="File of settings (TOML); options go before it.")
@click.option("--print-config", is_flag=True, help="Print all settings with their explanations and end.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder for runs, table and figures.")
@click.option("--crops", type=FOLDER, multiple=True, help="Folders of `crops`, the same for all.")
@click.option("--test-crops", type=FOLDER, help="Folder of crops of other seeds, to measure on.")
@click.option("--atlas", type=FOLDER, help="Folder of the SPL head and neck atlas; else only phantoms are used.")
@click.option("--seconds", type=float, help="Training time of every network; 600 by default.")
@click.option("--studies", type=int, help="Synthetic studies to measure levels on; 12 by default.")
@click.option("--only", multiple=True, help="Name of a contender; may be given again. All by default.")
def compare(file: Path | None, print_config: bool, **options: object) -> None:  # noqa: FBT001 -- a flag
    """Train encoders and recipes on the same data for the same time and print a table of what they can."""
    from training.config import ConfigError, config_text, load_config, save_config  # noqa: PLC0415 -- as above
    from training.fitting.compare_config import Comparison  # noqa: PLC0415 -- slow to import

    given = {name: value for name, value in options.items() if value not in {None, ()}}
    if print_config and file is None:
        given = {"output": Path("comparison"), "crops": [Path("crops")], "test_crops": Path("test-crops")} | given
    try:
        plan = load_config(Comparison, file, **given)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    if print_config:
        click.echo(config_text(plan), nl=False)
        return
    from training.fitting.compare import compare as run  # noqa: PLC0415 -- Keras takes seconds to import

    try:
        table = run(plan)
        save_config(plan, plan.output)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(table)
