"""``python -m training predict-image``: the level and a possible fracture in single pictures or CT slices."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from model.image_findings import ImageFindings

NOT_A_DEVICE = "Research software, not a medical device: not for diagnosis."


@click.command("predict-image")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Image bundle; the embedded one by default.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line instead of text.")
@click.option(
    "--overlay",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for a picture of each answer: 0001.png and so on, in the order of the images.",
)
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
def predict_image(bundle: Path | None, as_json: bool, overlay: Path | None, images: tuple[Path, ...]) -> None:  # noqa: FBT001 -- a flag
    """Say which level each IMAGE shows, by probability, and whether it is fractured.

    An IMAGE is a JPEG, a PNG or a single CT slice. An image that cannot be used is told, the others are answered; then
    the command ends with status 1. Not a medical device.
    """
    from model.errors import ModelError, UnusableImage  # noqa: PLC0415 -- slow to import
    from model.image_bundle import load_image_bundle  # noqa: PLC0415 -- as above
    from model.image_overlay import overlay_png  # noqa: PLC0415 -- as above
    from model.image_predictor import ImagePredictor  # noqa: PLC0415 -- as above
    from training.images.image_files import read_pictures  # noqa: PLC0415 -- as above

    try:
        predictor = ImagePredictor(load_image_bundle(bundle))
    except ModelError as error:
        raise click.ClickException(str(error)) from error
    failed = 0
    for number, (path, picture) in enumerate(read_pictures(images), start=1):
        try:
            if isinstance(picture, UnusableImage):
                raise picture
            prediction = predictor.predict_image(picture)
        except UnusableImage as error:
            failed += 1
            click.echo(_refused(path, error) if as_json else f"{path}: {error}", err=not as_json)
            continue
        click.echo(_line(path, prediction.findings) if as_json else _text(path, prediction.findings))
        if overlay is not None:
            overlay.mkdir(parents=True, exist_ok=True)
            (overlay / f"{number:04d}.png").write_bytes(overlay_png(picture, prediction))
    if not as_json:
        click.echo(NOT_A_DEVICE)
    if failed:
        raise SystemExit(1)


def _line(path: Path, findings: "ImageFindings") -> str:
    return json.dumps({"image": str(path), **findings.as_json(), "notice": NOT_A_DEVICE})


def _refused(path: Path, error: Exception) -> str:
    return json.dumps({"image": str(path), "error": str(error), "notice": NOT_A_DEVICE})


def _text(path: Path, findings: "ImageFindings") -> str:
    """The answer as a reader reads it."""
    said = "fracture suspected" if findings.fractured else "no fracture suspected"
    levels = "  ".join(f"{one.vertebra.name} {one.probability:.3f}" for one in findings.levels) or "not given"
    return "\n".join(
        [
            str(path),
            f"  level by probability: {levels}",
            f"  {said}: probability {findings.probability:.3f}, threshold {findings.threshold:.3f}",
            *(f"  ! {limitation.value}" for limitation in findings.limitations),
        ]
    )
