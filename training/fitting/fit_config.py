"""Settings of a training: of one run, and of the command ``fit``. No Keras here, so that commands start at once."""

import os
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from model.network_config import Encoder, NetworkConfig, local_weights, network_of
from training.config import ConfigError
from training.fitting.batches import CropData, LevelData, with_prepared_crops, with_prepared_slices
from training.fitting.crop_sampler import SampleConfig
from training.fitting.recipes import RATES, Phase, Recipe, phase_at, phases_of, rate_at

MOST_PROCESSES = 8


class Stage(StrEnum):
    """The two networks of a bundle."""

    LEVELS = "levels"
    FRACTURES = "fractures"


class Precision(StrEnum):
    """What layers compute in; weights are float32 in each."""

    FLOAT32 = "float32"
    FLOAT16 = "mixed_float16"
    BFLOAT16 = "mixed_bfloat16"


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How to train and for how long: ``steps``, or less where ``seconds`` are over first.

    ``start``: weights of an earlier run (``.weights.h5``), or of a bundle (``.npz``), as far as they fit.
    ``transfer``: weights of a level network with the same encoder, whose layers the fracture network begins with.
    ``frozen_share``, ``fine_tuning_rate``: as in ``recipes.py``. ``patience``: so many validations without a better
    loss end the training (0: none does). ``processes``: that make batches (None: half the cores); they change nothing
    of the result. ``resume``: go on with a run in ``output`` that was interrupted. ``deterministic``: the same result
    each time on one machine, at some cost on an accelerator.
    """

    output: Path
    network: NetworkConfig
    recipe: Recipe = Recipe.DICE
    steps: int = 1800
    seconds: float | None = None
    batch: int = 16
    learning_rate: float = 2e-3
    seed: int = 1
    checkpoint_steps: int = 100
    start: Path | None = None
    transfer: Path | None = None
    frozen_share: float | None = None
    fine_tuning_rate: float | None = None
    precision: Precision = Precision.FLOAT32
    patience: int = 0
    validation_batches: int = 8
    processes: int | None = None
    resume: bool = True
    deterministic: bool = True
    tensorboard: bool = False

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of the recipe."""
        pretrained = any(one is not None for one in (self.network.weights, self.start, self.transfer))
        return phases_of(
            self.recipe,
            self.learning_rate,
            pretrained=pretrained,
            frozen_share=self.frozen_share,
            fine_tuning=self.fine_tuning_rate,
        )

    @property
    def producers(self) -> int:
        """How many processes make batches."""
        return self.processes or max(1, min(MOST_PROCESSES, (os.cpu_count() or 2) // 2))


def learning_rate(config: FitConfig, progress: float) -> float:
    """The rate at this share (0..1) of the budget."""
    return rate_at(config.phases, progress)


def phase_of(config: FitConfig, progress: float) -> int:
    """The number of the phase at this share (0..1) of the budget."""
    return phase_at(config.phases, progress)


Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Settings of ``python -m training fit``."""

    output: Annotated[Path, Field(description="Folder of the run: weights, record, curves, checkpoints.")]
    stage: Annotated[Stage, Field(description='Which network: "levels" names vertebrae, "fractures" judges them.')] = (
        Stage.LEVELS
    )
    encoder: Annotated[Encoder, Field(description=f"Encoder of the U-Net: {', '.join(Encoder)}.")] = (
        Encoder.INCEPTION_RESNET_V2
    )
    weights: Annotated[
        Literal["imagenet", "none"],
        Field(description='Weights that an encoder of keras.applications begins with: "imagenet" (fetched) or "none".'),
    ] = "imagenet"
    weights_file: Annotated[
        Path | None, Field(description="A local file of encoder weights instead, where there is no internet.")
    ] = None
    recipe: Annotated[
        Recipe,
        Field(description='"paper": SGD, binary cross-entropy, frozen encoder first; "dice": Adam, Dice besides.'),
    ] = Recipe.DICE
    prepared: Annotated[
        tuple[Path, ...], Field(description="Folders of `prepare`; without any, all data are synthetic.")
    ] = ()
    synthetic_share: Annotated[Share, Field(description="Share of synthetic samples among those of `prepared`.")] = 0.0
    own_labels_only: Annotated[
        bool, Field(description="Leave out studies whose levels were named by a bundle (levels).")
    ] = True
    atlas: Annotated[Path | None, Field(description="Folder of the SPL atlas, for synthetic cases (levels).")] = None
    cases: Annotated[int, Field(gt=0, description="Synthetic cases (levels).")] = 160
    validation_cases: Annotated[
        int, Field(ge=0, description="Synthetic cases to validate on where nothing is prepared (levels).")
    ] = 0
    crops: Annotated[tuple[Path, ...], Field(description="Folders of synthetic `crops` (fractures).")] = ()
    validation_crops: Annotated[
        tuple[Path, ...], Field(description="Folders of `crops` to validate on where nothing is prepared (fractures).")
    ] = ()
    patch: Annotated[
        int | None, Field(gt=0, description="Rows and columns of pieces of crops to begin with; else whole crops.")
    ] = None
    slices: Annotated[int, Field(gt=0, description="Slices of each vertebra in a step (fractures).")] = 8
    least_contrast: Annotated[
        float | None, Field(description="Leave out fractures that stand out less from their bone (fractures).")
    ] = None
    steps: Annotated[int, Field(gt=0, description="Training steps.")] = 1800
    seconds: Annotated[
        float | None, Field(gt=0, description="End after this time if the steps are not over before.")
    ] = None
    batch: Annotated[int, Field(gt=0, description="Slices (levels) or vertebrae (fractures) a step.")] = 16
    learning_rate: Annotated[
        float | None, Field(gt=0, description="Peak learning rate; else the recipe's: paper 0.01, dice 0.002.")
    ] = None
    frozen_share: Annotated[
        float | None,
        Field(ge=0, lt=1, description="Share of the training with a frozen encoder; else the recipe's: paper 0.3."),
    ] = None
    fine_tuning_rate: Annotated[
        float | None, Field(gt=0, description="Peak rate after the frozen part; else a tenth of the rate.")
    ] = None
    start: Annotated[Path | None, Field(description="Weights of an earlier run or of a bundle to begin with.")] = None
    transfer: Annotated[
        Path | None, Field(description="Weights of a level network that a fracture network begins with.")
    ] = None
    seed: Annotated[int, Field(ge=0, description="Seed of data, augmentation and weights.")] = 1
    checkpoint_steps: Annotated[int, Field(gt=0, description="Steps between checkpoints and validations.")] = 100
    validation_batches: Annotated[int, Field(gt=0, description="Batches of each validation.")] = 8
    patience: Annotated[
        int, Field(ge=0, description="End after so many validations without a better loss; 0: never.")
    ] = 0
    precision: Annotated[Precision, Field(description=f"What layers compute in: {', '.join(Precision)}.")] = (
        Precision.FLOAT32
    )
    deterministic: Annotated[
        bool, Field(description="The same result each time on one machine; slower on an accelerator.")
    ] = True
    processes: Annotated[
        int | None, Field(gt=0, description="Processes that make batches; else half the cores, at most 8.")
    ] = None
    resume: Annotated[bool, Field(description="Go on with the run in `output` that was interrupted.")] = True
    tensorboard: Annotated[bool, Field(description="Write logs for TensorBoard into output/tensorboard.")] = True


@dataclass(frozen=True, slots=True)
class Job:
    """What the settings of the command mean: how to train, and on what."""

    config: FitConfig
    data: LevelData | CropData = field(default_factory=LevelData)


def job_of(settings: FitSettings) -> Job:
    """Settings as a run and its data; raises ``ConfigError`` and ``DataSetError``."""
    shared = {
        name: getattr(settings, name)
        for name in FitConfig.__dataclass_fields__
        if name not in {"network", "learning_rate"}
    }
    rate = settings.learning_rate or RATES[settings.recipe]
    config = FitConfig(network=_network(settings), learning_rate=rate, **shared)
    data = _data(settings)
    validates = settings.prepared or settings.validation_cases or settings.validation_crops
    if settings.patience and not validates:
        raise ConfigError(
            "patience: nothing to validate on: name prepared folders, validation_cases or validation_crops"
        )
    return Job(config, data)


def _network(settings: FitSettings) -> NetworkConfig:
    """What is built; a missing weights file ends the command with a sentence."""
    config = network_of(settings.stage, settings.encoder)
    if config.encoder in {Encoder.COMPACT, Encoder.CNN}:
        return config
    if settings.weights_file is not None:
        try:
            return replace(config, weights=local_weights(settings.weights_file))
        except ValueError as error:
            raise ConfigError(f"weights_file: {error}") from error
    return config if settings.weights == "none" else replace(config, weights=settings.weights)


def _data(settings: FitSettings) -> LevelData | CropData:
    if settings.stage is Stage.LEVELS:
        levels = LevelData(
            atlas=settings.atlas,
            cases=settings.cases,
            prepared=settings.prepared,
            synthetic_share=settings.synthetic_share,
            own_labels_only=settings.own_labels_only,
            validation_cases=settings.validation_cases,
        )
        return with_prepared_slices(levels)
    sample = SampleConfig(slices=settings.slices, patch=settings.patch, least_contrast=settings.least_contrast)
    crops = CropData(
        settings.crops,
        sample=sample,
        prepared=settings.prepared,
        synthetic_share=settings.synthetic_share,
        validation_folders=settings.validation_crops,
    )
    return with_prepared_crops(crops)
