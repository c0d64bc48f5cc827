"""Settings of a training of an image network. No Keras here, so that commands start at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from model.image_config import PRETRAINED, Approach, ImageNetworkConfig, image_network_config
from model.image_preprocess import ImageConfig
from model.network_config import Encoder, local_weights
from training.config import ConfigError
from training.fitting.fit_config import FitConfig, Precision
from training.fitting.recipes import RATES, Recipe


@dataclass(frozen=True, slots=True)
class FitImagesConfig:
    """Settings of ``python -m training images fit``; by default the source paper's own recipe."""

    prepared: Annotated[Path, Field(description="Folder of `images prepare`")]
    output: Annotated[Path, Field(description="Folder of the run: weights, record, curves, checkpoints")]
    approach: Annotated[Approach, Field(description=f"What to build: {', '.join(Approach)}")] = Approach.ENCODER_DECODER
    encoder: Annotated[Encoder, Field(description=f"Encoder: {', '.join(Encoder)}; the custom CNN has its own")] = (
        Encoder.INCEPTION_RESNET_V2
    )
    weights: Annotated[
        Literal["imagenet", "none"],
        Field(description='What an encoder of keras.applications begins with: "imagenet" (fetched) or "none"'),
    ] = "imagenet"
    weights_file: Annotated[
        Path | None, Field(description="A local file of encoder weights instead, where there is no internet")
    ] = None
    recipe: Annotated[
        Recipe,
        Field(description='"paper": SGD, binary cross-entropy, frozen encoder first; "dice": Adam'),
    ] = Recipe.PAPER
    steps: Annotated[int, Field(gt=0, description="Training steps")] = 3000
    seconds: Annotated[
        float | None, Field(gt=0, description="End after this time if the steps are not over before")
    ] = None
    batch: Annotated[int, Field(ge=2, description="Images a step, half of them fractured")] = 16
    learning_rate: Annotated[
        float | None, Field(gt=0, description="Peak learning rate; else the recipe's: paper 0.01, dice 0.002")
    ] = None
    frozen_share: Annotated[
        float | None,
        Field(ge=0, lt=1, description="Share with a frozen encoder; else the recipe's: paper 0.3"),
    ] = None
    fine_tuning_rate: Annotated[
        float | None, Field(gt=0, description="Peak rate after the frozen part; else a tenth of the rate")
    ] = None
    augment: Annotated[bool, Field(description="Turn, shift, zoom, mirror and brighten training images")] = True
    masks: Annotated[
        bool, Field(description="Learn the map of evidence from masks of fractures, where there are any")
    ] = True
    start: Annotated[Path | None, Field(description="Weights of an earlier run or of a bundle to begin with")] = None
    transfer: Annotated[
        Literal["none", "embedded"],
        Field(description='"embedded": begin with the embedded volume bundle\'s fracture layers (encoder compact)'),
    ] = "none"
    transfer_bundle: Annotated[Path | None, Field(description="A volume bundle to begin with instead")] = None
    seed: Annotated[int, Field(ge=0, description="Seed of batches, augmentation and weights")] = 1
    checkpoint_steps: Annotated[int, Field(gt=0, description="Steps between checkpoints and validations")] = 100
    patience: Annotated[
        int, Field(ge=0, description="End after so many validations without a better loss; 0: never")
    ] = 0
    precision: Annotated[Precision, Field(description=f"What layers compute in: {', '.join(Precision)}")] = (
        Precision.FLOAT32
    )
    processes: Annotated[int | None, Field(gt=0, description="Processes that make batches; else half the cores")] = None
    resume: Annotated[bool, Field(description="Go on with the run in `output` that was interrupted")] = True
    tensorboard: Annotated[bool, Field(description="Write logs for TensorBoard into output/tensorboard")] = True

    def network(self, images: ImageConfig) -> ImageNetworkConfig:
        """What to build for prepared images; ``ConfigError`` where there is no weights file or sizes do not fit."""
        weights: str | None = None if self.weights == "none" else self.weights
        try:
            if self.weights_file is not None:
                weights = local_weights(self.weights_file)
            encoder = Encoder.COMPACT if self.encoder is Encoder.CNN else self.encoder
            chosen = weights if encoder in PRETRAINED else None
            return image_network_config(self.approach, encoder, chosen, images.rows, images.columns)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def fit(self, network: ImageNetworkConfig, validation_batches: int) -> FitConfig:
        """The settings as the loop takes them."""
        return FitConfig(
            output=self.output,
            network=network.network,
            recipe=self.recipe,
            steps=self.steps,
            seconds=self.seconds,
            batch=self.batch,
            learning_rate=self.learning_rate or RATES[self.recipe],
            seed=self.seed,
            checkpoint_steps=self.checkpoint_steps,
            start=self.start,
            frozen_share=self.frozen_share,
            fine_tuning_rate=self.fine_tuning_rate,
            precision=self.precision,
            patience=self.patience,
            validation_batches=validation_batches,
            processes=self.processes,
            resume=self.resume,
            tensorboard=self.tensorboard,
        )
