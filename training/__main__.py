"""``python -m training fit|crops|evaluate|export|compare``: make, measure and choose a bundle without patient data."""

import logging
from pathlib import Path

import click

from training.commands_evaluate import evaluate
from training.commands_fit import fit
from training.commands_images import images
from training.commands_predict_image import predict_image
from training.commands_prepare import prepare

ATLAS_HELP = "Folder of the SPL head and neck atlas; without it only phantoms are used."
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train, measure and export the networks of cspine. Not a medical device."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


main.add_command(evaluate)
main.add_command(fit)
main.add_command(images)
main.add_command(predict_image)
main.add_command(prepare)


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
