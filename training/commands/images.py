"""``python -m training images ...``: the source paper's way, from a folder of pictures to an image bundle."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
ANY = click.Path(path_type=Path)
PLACES = {"folder": "images", "prepared": "prepared", "run": "run", "output": "output"}
"""What stands for folders that are needed where settings are only printed."""

Config = TypeVar("Config")
Function = Callable[..., None]


@click.group()
def images() -> None:
    """Single 2-D images, as in the source paper (training/PAPER.md): from a folder of pictures to an image bundle."""


def configured(command: Function) -> Function:
    """The options that every command has; options go before the file."""
    shown = click.option("--print-config", is_flag=True, help="Print all settings with their explanations and end.")
    return click.option("--config", "file", type=FILE, help="File of settings (TOML).")(shown(command))


def _settings(kind: type[Config], file: Path | None, print_config: bool, given: dict[str, Any]) -> Config | None:  # noqa: FBT001 -- click's flag
    """The settings of a command; None where they were only printed."""
    from training.config import ConfigError, config_text, load_config  # noqa: PLC0415 -- slow to import

    given = {name: value for name, value in given.items() if value is not None}
    if print_config and file is None:
        names: dict[str, Any] = getattr(kind, "__dataclass_fields__", {})
        given = {name: Path(place) for name, place in PLACES.items() if name in names} | given
    try:
        config = load_config(kind, file, **given)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    if not print_config:
        return config
    click.echo(config_text(config), nl=False)
    return None


@images.command()
@configured
@click.option("--output", type=ANY, help="Folder of the images.")
@click.option("--cases", type=int, help="Cases to train and validate on.")
@click.option("--test-cases", type=int, help="Cases to measure on.")
def synthetic(file: Path | None, print_config: bool, **given: object) -> None:  # noqa: FBT001 -- click's flag
    """Make a folder of synthetic images in the source paper's form: labels in names, no patient."""
    from training.synthesis.synthetic_images import SyntheticImages, make_images  # noqa: PLC0415 -- slow to import

    config = _settings(SyntheticImages, file, print_config, given)
    if config is not None:
        click.echo(f"{make_images(config)} images in {config.output}")


@images.command()
@configured
@click.option("--folder", type=FOLDER, help="The folder of the images.")
@click.option("--output", type=ANY, help="Folder of the prepared images.")
@click.option("--name", help="Name of the data set in every table.")
def prepare(file: Path | None, print_config: bool, **given: object) -> None:  # noqa: FBT001 -- click's flag
    """Check, clean, resize, label and split a folder of images: JPEG, PNG, single CT slices; labels in their names."""
    from training.images.prepare_images import PrepareImagesConfig, prepare_images  # noqa: PLC0415 -- slow to import
    from training.preparation.prepared import Split  # noqa: PLC0415 -- as above

    config = _settings(PrepareImagesConfig, file, print_config, given)
    if config is None:
        return
    try:
        outcome = prepare_images(config)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    prepared = outcome.prepared
    for remark in (*prepared.remarks, *outcome.told):
        click.echo(remark)
    counts = ", ".join(f"{len(prepared.of(split))} {split}" for split in Split)
    click.echo(f"{len(prepared.images)} images in {config.output}: {counts}")


@images.command()
@configured
@click.option("--prepared", type=FOLDER, help="Folder of `images prepare`.")
@click.option("--output", type=ANY, help="Folder of the run.")
@click.option("--approach", help='"encoder-decoder", "transfer-learning classifier" or "custom CNN".')
@click.option("--encoder", help="inception_resnet_v2 (default), mobilenet_v2 or compact.")
@click.option("--weights", help='Encoder weights: "imagenet" (default) or "none".')
@click.option("--recipe", help='"paper" (default: SGD, binary cross-entropy, frozen encoder first) or "dice" (Adam).')
@click.option("--steps", type=int, help="Training steps.")
@click.option("--seconds", type=float, help="End after this time if the steps are not over before.")
def fit(file: Path | None, print_config: bool, **given: object) -> None:  # noqa: FBT001 -- click's flag
    """Train an image network; an interrupted run goes on with the same command."""
    from training.images.image_fit_config import FitImagesConfig  # noqa: PLC0415 -- slow to import

    config = _settings(FitImagesConfig, file, print_config, given)
    if config is None:
        return
    from training.config import save_config  # noqa: PLC0415 -- as above
    from training.images.fit_images import fit_images  # noqa: PLC0415 -- Keras takes seconds to import

    try:
        weights = fit_images(config)
        save_config(config, config.output)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(str(weights))


@images.command()
@configured
@click.option("--run", type=FOLDER, help="Folder of `images fit`.")
@click.option("--prepared", type=FOLDER, help="Folder of `images prepare` that it was trained on.")
@click.option("--output", type=ANY, help="Folder of the bundle to write.")
@click.option("--name", help="Name of the bundle.")
@click.option("--version", help="Version of the bundle.")
def export(file: Path | None, print_config: bool, **given: object) -> None:  # noqa: FBT001 -- click's flag
    """Turn a run into a calibrated, hash-checked image bundle."""
    from training.images.export_images import ExportImagesConfig, export_images  # noqa: PLC0415 -- slow to import

    config = _settings(ExportImagesConfig, file, print_config, given)
    if config is None:
        return
    try:
        bundle = export_images(config)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{bundle.name} {bundle.version} {bundle.sha256}")


@images.command()
@configured
@click.option("--bundle", type=FOLDER, help="Image bundle to measure; the embedded one by default.")
@click.option("--prepared", type=FOLDER, help="Folder of `images prepare`.")
@click.option("--json", "figures", type=ANY, help="Write every figure here.")
@click.option("--into-bundle", is_flag=True, default=None, help="Record the figures in the bundle's metadata.")
def evaluate(file: Path | None, print_config: bool, **given: object) -> None:  # noqa: FBT001 -- click's flag
    """Measure an image bundle on the test split of a prepared folder and print the tables."""
    from training.images.image_evaluate_config import EvaluateImagesConfig  # noqa: PLC0415 -- slow to import

    config = _settings(EvaluateImagesConfig, file, print_config, given)
    if config is None:
        return
    from model.errors import ModelError  # noqa: PLC0415 -- as above
    from training.images.evaluate_images import run_evaluation  # noqa: PLC0415 -- Keras takes seconds to import

    try:
        text = run_evaluation(config)
    except (ModelError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(text)


@images.command()
@configured
@click.option("--prepared", type=FOLDER, help="Folder of `images prepare`.")
@click.option("--output", type=ANY, help="Folder for runs, bundles, table and figures.")
@click.option("--encoder", help="Encoder of the encoder-decoder and of the classifier.")
@click.option("--weights", help='Encoder weights: "imagenet" (default), "none" or a local file.')
@click.option("--seconds", type=float, help="Training time of each.")
def compare(file: Path | None, print_config: bool, **given: object) -> None:  # noqa: FBT001 -- click's flag
    """Train the source paper's three approaches on the same images for the same time and print a table."""
    from training.images.compare_images import CompareImagesConfig, compare_images  # noqa: PLC0415 -- slow to import

    config = _settings(CompareImagesConfig, file, print_config, given)
    if config is None:
        return
    try:
        table = compare_images(config)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(table)


@images.command()
@configured
@click.option("--prepared", type=FOLDER, help="Folder of `images prepare`.")
@click.option("--output", type=ANY, help="Folder for features, tables and pictures.")
@click.option("--bundle", type=FOLDER, help="Image bundle whose encoder is used; else a pretrained encoder.")
@click.option("--encoder", help="The pretrained encoder; inception_resnet_v2 by default.")
@click.option("--weights", help='Its weights: "imagenet" (default), "none" or a local file.')
def features(file: Path | None, print_config: bool, **given: object) -> None:  # noqa: FBT001 -- click's flag
    """Extract an encoder's features: as arrays, as a table, as a scatter plot and as maps of one image."""
    from training.images.features import FeaturesConfig, extract_features  # noqa: PLC0415 -- slow to import

    config = _settings(FeaturesConfig, file, print_config, given)
    if config is None:
        return
    from model.errors import ModelError  # noqa: PLC0415 -- as above

    try:
        found = extract_features(config)
    except (ModelError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{found.values.shape[1]} features of {len(found.images)} images in {config.output}")
