"""``python -m training fit|evaluate|export``: make a bundle without patient data."""

import logging
from pathlib import Path

import click

from model.network import Encoder, NetworkConfig, compact_config, local_weights


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train, measure and export the network of cspine. Not a medical device."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


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
    help="Folder of the SPL head and neck atlas; without it only phantoms.",
)
@click.option("--cases", default=200, show_default=True, help="Number of synthetic cases.")
@click.option("--steps", default=1800, show_default=True, help="Training steps.")
@click.option("--batch", default=16, show_default=True, help="Slices a step.")
@click.option("--learning-rate", default=2e-3, show_default=True, help="Peak learning rate of Adam.")
@click.option("--paper", is_flag=True, help="The paper's recipe: SGD and binary cross-entropy.")
@click.option("--seed", default=1, show_default=True, help="Seed of cases, slices and weights.")
def fit(output: Path, encoder: str, weights: str, atlas: Path | None, **numbers: float | int | bool) -> None:
    """Train a network on synthetic necks."""
    from training.fit import FitConfig  # noqa: PLC0415 -- Keras takes seconds to import; --help should not
    from training.fit import fit as run  # noqa: PLC0415 -- as above

    if Encoder(encoder) is Encoder.COMPACT:
        network = compact_config()
    else:
        chosen = None if weights == "none" else weights if weights == "imagenet" else local_weights(Path(weights))
        network = NetworkConfig(encoder=Encoder(encoder), weights=chosen)
    run(FitConfig(output=output, network=network, atlas=atlas, **numbers))  # type: ignore[arg-type]  # click's types


if __name__ == "__main__":
    main()
