"""``python -m training fit|evaluate|export``: make a bundle without patient data."""

import json
import logging
from pathlib import Path

import click

from model.network import Encoder, NetworkConfig, compact_config, local_weights

ATLAS_HELP = "Folder of the SPL head and neck atlas; without it only phantoms are used."


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train, measure and export the network of cspine. Not a medical device."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


def _encoder_weights(weights: str) -> str | None:
    """The encoder's weights that the option names; a missing file ends the command with a sentence."""
    if weights in {"none", "imagenet"}:
        return None if weights == "none" else weights
    try:
        return local_weights(Path(weights))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--weights") from error


@main.command()
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
    help='Encoder weights: "imagenet", "none" or a local file (InceptionResNetV2 only).',
)
@click.option(
    "--atlas",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help=ATLAS_HELP,
)
@click.option("--cases", default=200, show_default=True, help="Number of synthetic cases.")
@click.option("--steps", default=1800, show_default=True, help="Training steps.")
@click.option("--batch", default=16, show_default=True, help="Slices a step.")
@click.option("--learning-rate", default=2e-3, show_default=True, help="Peak learning rate of Adam.")
@click.option("--paper", is_flag=True, help="The paper's recipe: SGD and binary cross-entropy.")
@click.option(
    "--start",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Weights of an earlier run to go on from.",
)
@click.option("--seed", default=1, show_default=True, help="Seed of cases, slices and weights.")
def fit(
    output: Path, encoder: str, weights: str, atlas: Path | None, start: Path | None, **numbers: float | int | bool
) -> None:
    """Train a network on synthetic necks."""
    from training.fit import FitConfig  # noqa: PLC0415 -- Keras takes seconds to import; --help should not
    from training.fit import fit as run  # noqa: PLC0415 -- as above

    if Encoder(encoder) is Encoder.COMPACT:
        network = compact_config()
    else:
        network = NetworkConfig(encoder=Encoder(encoder), weights=_encoder_weights(weights))
    run(FitConfig(output=output, network=network, atlas=atlas, start=start, **numbers))  # type: ignore[arg-type]  # click's types


@main.command()
@click.option("--bundle", type=click.Path(path_type=Path), help="Bundle to measure; the embedded one by default.")
@click.option("--studies", default=20, show_default=True, help="Number of synthetic studies.")
@click.option("--atlas", type=click.Path(path_type=Path, exists=True, file_okay=False), help=ATLAS_HELP)
def evaluate(bundle: Path | None, studies: int, atlas: Path | None) -> None:
    """Measure a bundle on unseen synthetic necks and print the figures as JSON (synthetic, not patients)."""
    from model.bundle import load_bundle  # noqa: PLC0415 -- heavy imports only where they are used
    from model.predictor import Predictor  # noqa: PLC0415 -- as above
    from training.atlas import load_atlas  # noqa: PLC0415 -- as above
    from training.evaluate import evaluate as run  # noqa: PLC0415 -- as above

    result = run(Predictor(load_bundle(bundle)), studies, atlas=load_atlas(atlas) if atlas else None)
    click.echo(json.dumps(result.as_json(), indent=2))


@main.command()
@click.option(
    "--run", "folder", type=click.Path(path_type=Path, exists=True), required=True, help="Output folder of fit."
)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder of the bundle to write.")
@click.option("--name", default="cspine-synthetic", show_default=True, help="Name of the bundle.")
@click.option("--version", default="1", show_default=True, help="Version of the bundle.")
@click.option("--studies", default=60, show_default=True, help="Synthetic studies to calibrate fractures on.")
@click.option("--atlas", type=click.Path(path_type=Path, exists=True, file_okay=False), help=ATLAS_HELP)
def export(folder: Path, output: Path, name: str, version: str, studies: int, atlas: Path | None) -> None:
    """Turn trained weights into a calibrated, hash-checked bundle."""
    from training.release import release  # noqa: PLC0415 -- heavy imports only where they are used

    try:
        bundle = release(folder, output, name=name, version=version, studies=studies, atlas_folder=atlas)
    except ValueError as error:
        raise click.ClickException(f"{error} (more --studies?)") from error
    click.echo(f"{bundle.name} {bundle.version} {bundle.sha256}")


if __name__ == "__main__":
    main()
