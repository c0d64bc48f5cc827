"""``python -m training fit|crops|evaluate|export|compare``: make, measure and choose a bundle without patient data."""

import logging
from dataclasses import replace
from pathlib import Path

import click

from model.network_config import Encoder, NetworkConfig, local_weights, network_of
from training.commands_evaluate import evaluate

ATLAS_HELP = "Folder of the SPL head and neck atlas; without it only phantoms are used."
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train, measure and export the networks of cspine. Not a medical device."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


main.add_command(evaluate)


def _network(stage: str, encoder: str, weights: str) -> NetworkConfig:
    """What the options describe; a missing weights file ends the command with a sentence."""
    config = network_of(stage, Encoder(encoder))
    if config.encoder in {Encoder.COMPACT, Encoder.CNN} or weights == "none":
        return config
    if weights == "imagenet":
        return replace(config, weights=weights)
    try:
        return replace(config, weights=local_weights(Path(weights)))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--weights") from error


@main.command()
@click.option("--stage", type=click.Choice(["levels", "fractures"]), default="levels", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder for checkpoints and the record.")
@click.option(
    "--encoder",
    type=click.Choice([str(e) for e in Encoder]),
    default=str(Encoder.INCEPTION_RESNET_V2),
    show_default=True,
    help="Encoder of the U-Net.",
)
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    help='Encoder weights: "imagenet", "none" or a local file (encoders of keras.applications only).',
)
@click.option("--atlas", type=FOLDER, help=ATLAS_HELP)
@click.option("--cases", default=160, show_default=True, help="Synthetic cases (levels).")
@click.option("--crops", type=FOLDER, multiple=True, help="Folder of `crops` (fractures); may be given again.")
@click.option("--patch", type=int, help="Rows and columns of pieces of the crops to begin with; else whole crops.")
@click.option("--slices", default=8, show_default=True, help="Slices of each vertebra in a step (fractures).")
@click.option("--least-contrast", type=float, help="Leave out fractures that stand out less from their bone.")
@click.option("--steps", default=1800, show_default=True, help="Training steps.")
@click.option("--seconds", type=float, help="End after this time, if the steps are not over before.")
@click.option("--batch", default=16, show_default=True, help="Slices (levels) or vertebrae (fractures) a step.")
@click.option("--learning-rate", default=2e-3, show_default=True, help="Peak learning rate.")
@click.option("--paper", is_flag=True, help="The paper's recipe: SGD and binary cross-entropy.")
@click.option("--transfer", type=FILE, help="Weights of a level network that the fracture network begins with.")
@click.option("--start", type=FILE, help="Weights of an earlier run, or of a bundle, to go on from.")
@click.option("--seed", default=1, show_default=True, help="Seed of cases, slices and weights.")
def fit(  # noqa: PLR0913, PLR0917 -- one parameter an option
    stage: str,
    output: Path,
    encoder: str,
    weights: str,
    atlas: Path | None,
    cases: int,
    crops: tuple[Path, ...],
    paper: bool,  # noqa: FBT001 -- a flag
    **numbers: float | int | Path | None,
) -> None:
    """Train one of the two networks on synthetic necks."""
    if stage == "fractures" and not crops:
        raise click.UsageError("--crops is missing: make them first with `python -m training crops`")
    network = _network(stage, encoder, weights)
    from training import batches  # noqa: PLC0415 -- heavy imports only where they are used
    from training import fit as fitting  # noqa: PLC0415 -- Keras takes seconds to import; --help should not

    sample = {name: numbers.pop(name) for name in ("patch", "slices", "least_contrast")}
    recipe = fitting.Recipe.PAPER if paper else fitting.Recipe.DICE
    config = fitting.FitConfig(output=output, network=network, recipe=recipe, **numbers)  # type: ignore[arg-type]  # click's types
    try:
        if stage == "levels":
            fitting.fit_levels(config, batches.LevelData(atlas=atlas, cases=cases))
        else:
            data = batches.CropData(crops)
            chosen = replace(data.sample, **sample)  # type: ignore[arg-type]  # click's types
            fitting.fit_fractures(config, replace(data, sample=chosen))
    except ValueError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder of the crops.")
@click.option("--atlas", type=FOLDER, help=ATLAS_HELP)
@click.option("--anatomies", default=800, show_default=True, help="Synthetic anatomies; each is painted twice.")
@click.option("--head", type=FOLDER, help="Folder that holds harvard-head: pieces of real bone instead of synthetic.")
@click.option("--processes", default=2, show_default=True, help="Processes that work at the same time.")
@click.option("--seed", default=11, show_default=True, help="Seed of the crops.")
def crops(output: Path, atlas: Path | None, anatomies: int, head: Path | None, processes: int, seed: int) -> None:
    """Make the vertebra crops that the fracture network is trained on."""
    from training.crop_cases import CropPlan, make_crops  # noqa: PLC0415 -- heavy imports only where they are used
    from training.real_patches import make_real_patches  # noqa: PLC0415 -- as above
    from training.real_sets import SetUnavailable  # noqa: PLC0415 -- as above

    try:
        if head is not None:
            made = make_real_patches(head, output, anatomies, seed)
        else:
            made = make_crops(CropPlan(output, anatomies=anatomies, atlas=atlas, seed=seed), processes)
    except (SetUnavailable, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{made} crops in {output}")


@main.command()
@click.option("--levels", type=FOLDER, required=True, help="Output folder of `fit --stage levels`.")
@click.option("--fractures", type=FOLDER, required=True, help="Output folder of `fit --stage fractures`.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder of the bundle to write.")
@click.option("--name", default="cspine-synthetic", show_default=True, help="Name of the bundle.")
@click.option("--version", default="1", show_default=True, help="Version of the bundle.")
@click.option(
    "--crops", type=FOLDER, multiple=True, required=True, help="Crops of seeds of their own to calibrate fractures on."
)
def export(**options: Path | str | tuple[Path, ...]) -> None:
    """Turn the weights of both networks into a calibrated, hash-checked bundle."""
    from training.release import Release, release  # noqa: PLC0415 -- heavy imports only where they are used

    try:
        bundle = release(Release(**options))  # type: ignore[arg-type]  # click's types
    except ValueError as error:
        raise click.ClickException(f"{error} (more --crops?)") from error
    click.echo(f"{bundle.name} {bundle.version} {bundle.sha256}")


@main.command()
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder for runs, table and figures.")
@click.option("--crops", type=FOLDER, multiple=True, required=True, help="Folders of `crops`, the same for all.")
@click.option("--test-crops", type=FOLDER, required=True, help="Folder of crops of other seeds, to measure on.")
@click.option("--atlas", type=FOLDER, help=ATLAS_HELP)
@click.option("--seconds", default=600.0, show_default=True, help="Training time of every network.")
@click.option("--studies", default=12, show_default=True, help="Synthetic studies to measure levels on.")
@click.option("--only", multiple=True, help="Name of a contender; may be given again. All by default.")
def compare(  # noqa: PLR0913, PLR0917 -- one parameter an option
    output: Path,
    crops: tuple[Path, ...],
    test_crops: Path,
    atlas: Path | None,
    seconds: float,
    studies: int,
    only: tuple[str, ...],
) -> None:
    """Train encoders and recipes on the same data for the same time and print a table of what they can."""
    from training.compare import Comparison  # noqa: PLC0415 -- heavy imports only where they are used
    from training.compare import compare as run  # noqa: PLC0415 -- as above

    try:
        table = run(Comparison(output, crops, test_crops, atlas, seconds, studies, only))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(table)


if __name__ == "__main__":
    main()
