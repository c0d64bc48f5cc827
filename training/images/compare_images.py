"""The source paper's three approaches on the same images with the same budget, measured on the same test split."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import keras
from pydantic import Field

from model.image_bundle import ImageBundle
from model.image_config import Approach
from model.network_config import Encoder
from training.config import save_config
from training.evaluation.tables import estimate_text, markdown_table, share_text
from training.fitting.recipes import Recipe
from training.images.evaluate_images import ImageEvaluation, evaluate_images
from training.images.export_images import ExportImagesConfig, export_images
from training.images.fit_images import fit_images
from training.images.image_fit_config import FitImagesConfig
from training.images.prepared_images import read_index

logger = logging.getLogger(__name__)

TABLE_FILE = "table.md"
FIGURES_FILE = "figures.json"


@dataclass(frozen=True, slots=True)
class CompareImagesConfig:
    """Settings of ``python -m training images compare``."""

    prepared: Annotated[Path, Field(description="Folder of `images prepare`")]
    output: Annotated[Path, Field(description="Folder for runs, bundles, table and figures")]
    approaches: Annotated[tuple[Approach, ...], Field(description="What to compare", min_length=1)] = tuple(Approach)
    encoder: Annotated[Encoder, Field(description="Encoder of the encoder-decoder and of the classifier")] = (
        Encoder.INCEPTION_RESNET_V2
    )
    weights: Annotated[str, Field(description='Encoder weights: "imagenet", "none" or a local file')] = "imagenet"
    recipe: Annotated[Recipe, Field(description="How each is fitted: paper or dice")] = Recipe.PAPER
    seconds: Annotated[float, Field(gt=0, description="Training time of each")] = 1800.0
    steps: Annotated[int, Field(gt=0, description="Most training steps of each")] = 1_000_000
    batch: Annotated[int, Field(ge=2, description="Images a step")] = 16
    learning_rate: Annotated[float | None, Field(gt=0, description="Peak learning rate; else the recipe's")] = None
    checkpoint_steps: Annotated[int, Field(gt=0, description="Steps between validations")] = 100
    seed: Annotated[int, Field(ge=0, description="Seed of each")] = 1

    def fit(self, approach: Approach) -> FitImagesConfig:
        """How one approach is trained."""
        given: dict[str, Any] = {"weights": self.weights}
        if self.weights not in {"imagenet", "none"}:
            given = {"weights": "none", "weights_file": Path(self.weights)}
        shared = "prepared encoder recipe seconds steps batch learning_rate checkpoint_steps seed"
        given |= {name: getattr(self, name) for name in shared.split()}
        return FitImagesConfig(output=self.output / folder_of(approach), approach=approach, tensorboard=False, **given)


@dataclass(frozen=True, slots=True)
class Compared:
    """One approach: its bundle, its figures, how far it was trained."""

    approach: Approach
    bundle: ImageBundle
    figures: ImageEvaluation
    record: dict[str, Any]


def folder_of(approach: Approach) -> str:
    """The folder of an approach's run."""
    return str(approach).replace(" ", "-")


def compare_images(config: CompareImagesConfig) -> str:
    """Train, export and measure each approach; returns the table, which is written too."""
    prepared = read_index(config.prepared)
    config.output.mkdir(parents=True, exist_ok=True)
    save_config(config, config.output)
    found = []
    for approach in config.approaches:
        fit = config.fit(approach)
        keras.backend.clear_session()
        fit_images(fit)
        bundle = export_images(
            ExportImagesConfig(fit.output, config.prepared, fit.output / "bundle", f"cspine-{folder_of(approach)}")
        )
        figures = evaluate_images(bundle, prepared)
        training = bundle.metadata.provenance["training"]
        found.append(Compared(approach, bundle, figures, training if isinstance(training, dict) else {}))
        logger.info("%s: %s", approach, share_text(figures.levels.right))
    content = [one.figures.as_json() | {"approach": str(one.approach), "steps": one.record["step"]} for one in found]
    (config.output / FIGURES_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    table = table_of(config, found)
    (config.output / TABLE_FILE).write_text(table + "\n", encoding="utf-8")
    return table


def table_of(config: CompareImagesConfig, found: Sequence[Compared]) -> str:
    """A Markdown table of the approaches."""
    header = (
        "Approach", "Encoder", "Steps", "Weights", "Level right", "Level right or beside it", "Fracture AUC",
        "Sensitivity", "Specificity", "ms an image", "Bundle, MB",
    )  # fmt: skip
    rows = [
        (
            str(one.approach),
            str(one.bundle.metadata.network.encoder),
            str(one.record["step"]),
            f"{sum(values.size for values in one.bundle.weights()):,}",
            share_text(one.figures.levels.right),
            share_text(one.figures.levels.within_one),
            estimate_text(one.figures.fractures.auc),
            share_text(one.figures.fractures.sensitivity),
            share_text(one.figures.fractures.specificity),
            f"{one.figures.milliseconds:.0f}",
            f"{sum(path.stat().st_size for path in one.bundle.path.iterdir()) / 1e6:.1f}",
        )
        for one in found
    ]
    first = found[0].figures
    origin = "Synthetic images, no patient. " if first.synthetic else ""
    about = (
        f"{origin}At most {config.seconds:.0f} s of training each, "
        f"recipe {config.recipe}, weights of the encoder: {config.weights}; {first.images} test images of "
        f"{first.studies} source studies; intervals: 95 %, source studies resampled. Not a medical device."
    )
    return f"{about}\n\n{markdown_table(header, rows)}"
