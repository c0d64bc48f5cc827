"""What tests of image networks share: a prepared folder and a run of a few steps, made once a session; read-only."""

import tempfile
from functools import cache
from pathlib import Path

from model.image_bundle import ImageBundle
from model.network_config import Encoder
from tests.training.image_trees import image_tree
from training.fitting.recipes import Recipe
from training.images.export_images import ExportImagesConfig, export_images
from training.images.fit_images import fit_images
from training.images.image_fit_config import FitImagesConfig
from training.images.prepare_images import PrepareImagesConfig, prepare_images
from training.images.prepared_images import PreparedImages


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="image-runs-"))


@cache
def tree() -> Path:
    """84 drawn images of 42 studies."""
    return image_tree(_folder() / "tree", studies=42)


@cache
def prepared() -> PreparedImages:
    """The tree as 32 x 32 images."""
    settings = {"rows": 32, "columns": 32, "validation": 0.25, "test": 0.25, "name": "drawn", "synthetic": True}
    return prepare_images(PrepareImagesConfig(tree(), _folder() / "prepared", **settings)).prepared


def fit_config(output: Path, **changes) -> FitImagesConfig:
    """A short training of the compact encoder-decoder."""
    settings = {
        "encoder": Encoder.COMPACT,
        "weights": "none",
        "recipe": Recipe.DICE,
        "steps": 60,
        "checkpoint_steps": 30,
        "batch": 8,
        "processes": 1,
        "tensorboard": False,
    }
    folder = changes.pop("prepared", None) or prepared().folder
    return FitImagesConfig(folder, output, **(settings | changes))


@cache
def run() -> Path:
    """The folder of a short training."""
    output = _folder() / "run"
    fit_images(fit_config(output))
    return output


@cache
def bundle() -> ImageBundle:
    """The bundle of the short training."""
    return export_images(ExportImagesConfig(run(), prepared().folder, _folder() / "bundle", "drawn"))
