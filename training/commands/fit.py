"""``python -m training fit``: train one of the two networks, from a file of settings, options, or both."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from model.network_config import Encoder

if TYPE_CHECKING:
    from training.fitting.fit_config import FitSettings, Job

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.option("--config", "file", type=FILE, help="File of settings (TOML); options go before it.")
@click.option("--print-config", is_flag=True, help="Print all settings with their explanations and end.")
@click.option("--stage", type=click.Choice(["levels", "fractures"]), help="Which network; levels by default.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder for checkpoints, curves and the record.")
@click.option(
    "--encoder", type=click.Choice([str(e) for e in Encoder]), help="Encoder; inception_resnet_v2 by default."
)
@click.option(
    "--weights", help='Encoder weights: "imagenet" (default), "none" or a local file (keras.applications only).'
)
@click.option("--recipe", type=click.Choice(["paper", "dice"]), help="How to fit; dice by default.")
@click.option("--paper", is_flag=True, help="The same as --recipe paper.")
@click.option("--prepared", type=FOLDER, multiple=True, help="Folder of `prepare`; may be given again.")
@click.option("--synthetic-share", type=float, help="Share of synthetic samples among those of --prepared.")
@click.option("--atlas", type=FOLDER, help="Folder of the SPL head and neck atlas; else only phantoms are used.")
@click.option("--cases", type=int, help="Synthetic cases (levels); 160 by default.")
@click.option("--crops", type=FOLDER, multiple=True, help="Folder of `crops` (fractures); may be given again.")
@click.option("--patch", type=int, help="Rows and columns of pieces of the crops to begin with; else whole crops.")
@click.option("--slices", type=int, help="Slices of each vertebra in a step (fractures); 8 by default.")
@click.option("--least-contrast", type=float, help="Leave out fractures that stand out less from their bone.")
@click.option("--steps", type=int, help="Training steps; 1800 by default.")
@click.option("--seconds", type=float, help="End after this time, if the steps are not over before.")
@click.option("--batch", type=int, help="Slices (levels) or vertebrae (fractures) a step; 16 by default.")
@click.option("--learning-rate", type=float, help="Peak learning rate; 0.01 (paper) or 0.002 (dice) by default.")
@click.option("--transfer", type=FILE, help="Weights of a level network that the fracture network begins with.")
@click.option("--start", type=FILE, help="Weights of an earlier run, or of a bundle, to begin with.")
@click.option("--seed", type=int, help="Seed of data, augmentation and weights; 1 by default.")
@click.option("--patience", type=int, help="End after so many validations without a better loss.")
@click.option("--precision", type=click.Choice(["float32", "mixed_float16", "mixed_bfloat16"]), help="For layers.")
@click.option("--processes", type=int, help="Processes that make batches; half the cores by default.")
@click.option("--resume/--no-resume", default=None, help="Go on with an interrupted run in --output (default).")
def fit(file: Path | None, print_config: bool, paper: bool, **options: object) -> None:  # noqa: FBT001 -- flags
    """Train one of the two networks, on prepared studies, synthetic necks or both.

    An interrupted run goes on with the same command. All settings, more than there are options, are printed by
    --print-config. Not a medical device.
    """
    from training.config import ConfigError, config_text, load_config  # noqa: PLC0415 -- slow to import
    from training.fitting.fit_config import FitSettings, job_of  # noqa: PLC0415 -- as above

    given = _given(options)
    if paper:
        given["recipe"] = "paper"
    if print_config and file is None:
        given.setdefault("output", Path("run"))
    try:
        settings = load_config(FitSettings, file, **given)
        if print_config:
            click.echo(config_text(settings), nl=False)
            return
        job = job_of(settings)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    _train(settings, job)


def _given(options: dict[str, object]) -> dict[str, object]:
    """The options that were given, by the names of settings."""
    given = {name: value for name, value in options.items() if value not in {None, ()}}
    if given.get("weights") not in {None, "imagenet", "none"}:
        given["weights_file"] = given.pop("weights")
    return given


def _train(settings: "FitSettings", job: "Job") -> None:
    from training.config import CONFIG_FILE, save_config  # noqa: PLC0415 -- as above
    from training.fitting.batches import LevelData  # noqa: PLC0415 -- slow to import
    from training.fitting.determinism import deterministic_environment  # noqa: PLC0415 -- as above

    if settings.deterministic:
        deterministic_environment()
    from training.fitting.fit import fit_fractures, fit_levels  # noqa: PLC0415 -- Keras takes seconds to import

    try:
        settings.output.mkdir(parents=True, exist_ok=True)
        if not (settings.output / CONFIG_FILE).exists():
            save_config(settings, settings.output)
        if isinstance(job.data, LevelData):
            weights = fit_levels(job.config, job.data)
        else:
            weights = fit_fractures(job.config, job.data)
        save_config(settings, settings.output)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(str(weights))
