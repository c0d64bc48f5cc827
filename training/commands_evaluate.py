"""``python -m training evaluate``: measure a bundle on every data set that is here, each in a row of its own."""

import json
from pathlib import Path

import click


@click.command()
@click.option("--bundle", type=click.Path(path_type=Path), help="Bundle to measure; the embedded one by default.")
@click.option(
    "--studies", default=20, show_default=True, type=click.IntRange(1, 100_000), help="Studies of each synthetic row."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("../shared/data"),
    show_default=True,
    help="Folder with the real CT; a row whose data is missing is left out.",
)
@click.option(
    "--atlas",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of the SPL head and neck atlas; spl-head-neck-atlas in the data folder by default.",
)
@click.option("--json", "figures", type=click.Path(path_type=Path, dir_okay=False), help="Write every figure here.")
@click.option(
    "--card",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Model card whose measured part is written anew.",
)
def evaluate(
    bundle: Path | None, studies: int, data: Path, atlas: Path | None, figures: Path | None, card: Path | None
) -> None:
    """Measure a bundle on synthetic, semi-synthetic and real CT and print the tables: none is of fractured patients."""
    from training.model_card import CardError, card_frame, measured_text, write_card  # noqa: PLC0415 -- imports are slow

    if card is not None:
        try:
            card_frame(card)
        except CardError as error:
            raise click.BadParameter(str(error), param_hint="--card") from error
    from model.bundle import load_bundle  # noqa: PLC0415 -- as above
    from model.predictor import Predictor  # noqa: PLC0415 -- as above
    from training.measure import DataSets, measure  # noqa: PLC0415 -- as above

    loaded = load_bundle(bundle)
    command = f"python -m training evaluate --studies {studies}"
    measured = measure(Predictor(loaded), DataSets(studies, data, atlas), command)
    click.echo(measured_text(measured, loaded))
    if figures is not None:
        figures.write_text(json.dumps(measured.as_json(loaded), indent=2) + "\n", encoding="utf-8")
    if card is not None:
        write_card(card, measured, loaded)
