"""``python -m training export``: the weights of both runs as a calibrated, hash-checked bundle."""

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.option("--config", "file", type=FILE, help="File of settings (TOML); options go before it.")
@click.option("--print-config", is_flag=True, help="Print all settings with their explanations and end.")
@click.option("--levels", type=FOLDER, help="Output folder of `fit --stage levels`.")
@click.option("--fractures", type=FOLDER, help="Output folder of `fit --stage fractures`.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the bundle to write.")
@click.option("--prepared", type=FOLDER, multiple=True, help="Folder of `prepare`: its validation split calibrates.")
@click.option("--crops", type=FOLDER, multiple=True, help="Crops of seeds of their own to calibrate fractures on.")
@click.option("--weights", type=click.Choice(["best", "latest"]), help="Which of each run; best by default.")
@click.option("--name", help="Name of the bundle; cspine-synthetic by default.")
@click.option("--version", help="Version of the bundle; 1 by default.")
def export(file: Path | None, print_config: bool, **options: object) -> None:  # noqa: FBT001 -- a flag
    """Turn the weights of both networks into a calibrated, hash-checked bundle. Not a medical device.

    The settings are saved beside the bundle's folder: a bundle holds nothing but what its metadata lists.
    """
    from training.config import ConfigError, config_text, load_config  # noqa: PLC0415 -- slow to import
    from training.fitting.release_config import Release  # noqa: PLC0415 -- as above

    given = {name: value for name, value in options.items() if value not in {None, ()}}
    if print_config and file is None:
        given = {name: Path(name) for name in ("levels", "fractures", "output")} | given
    try:
        plan = load_config(Release, file, **given)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    if print_config:
        click.echo(config_text(plan), nl=False)
        return
    from training.fitting.release import release  # noqa: PLC0415 -- Keras takes seconds to import

    try:
        bundle = release(plan)
        beside = plan.output.with_name(f"{plan.output.name}.config.toml")
        beside.write_text(config_text(plan), encoding="utf-8")
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{bundle.name} {bundle.version} {bundle.sha256}")
