"""``python -m training``: from data sets to a measured bundle. Not a medical device."""

import logging
from pathlib import Path

import click

from training.commands.compare import compare
from training.commands.evaluate import evaluate
from training.commands.export import export
from training.commands.fit import fit
from training.commands.images import images
from training.commands.predict_image import predict_image
from training.commands.prepare import prepare

ATLAS_HELP = "Folder of the SPL head and neck atlas; without it only phantoms are used."
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train, measure and export the networks of cspine. Not a medical device."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


main.add_command(compare)
main.add_command(evaluate)
main.add_command(export)
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
    from training.evaluation.real_sets import SetUnavailable  # noqa: PLC0415 -- as above
    from training.preparation.crop_cases import CropPlan, make_crops  # noqa: PLC0415 -- heavy imports only where they are used
    from training.synthesis.real_patches import make_real_patches  # noqa: PLC0415 -- as above

    try:
        if head is not None:
            made = make_real_patches(head, output, anatomies, seed)
        else:
            made = make_crops(CropPlan(output, anatomies=anatomies, atlas=atlas, seed=seed), processes)
    except (SetUnavailable, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{made} crops in {output}")


if __name__ == "__main__":
    main()
