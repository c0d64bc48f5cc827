"""Training: one loop for both networks, with the recipe of the source paper or a better one, within a budget."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from model.network import build_fracture_network, build_unet, sequence_network
from model.network_config import NetworkConfig, network_of
from model.preprocess import PREPROCESS_VERSION
from training import losses
from training.atlas import load_atlas
from training.batches import CropData, LevelData, crop_batches, level_batches
from training.feed import Batch, Feed
from training.start import load_start, transfer_layers

logger = logging.getLogger(__name__)

STATE_FILE = "training.json"
WEIGHTS_FILE = "latest.weights.h5"
WARM_UP = 0.03


class Recipe(StrEnum):
    """How a network is fitted: the paper's SGD and binary cross-entropy, or Adam with Dice besides."""

    PAPER = "paper"
    DICE = "dice"


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How to train and for how long: ``steps``, or less where ``seconds`` are over first.

    ``start``: weights of an earlier run (``.weights.h5``), or of a bundle (``.npz``), as far as they fit.
    ``transfer``: weights of a level network with the same encoder, whose layers the fracture network begins with.
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


def learning_rate(config: FitConfig, progress: float) -> float:
    """The rate at this share (0..1) of the budget: a short warm-up, then a cosine to a fiftieth."""
    if progress < WARM_UP:
        return config.learning_rate * (0.05 + 0.95 * progress / WARM_UP)
    turned = 0.5 * (1 + float(np.cos(np.pi * min(1.0, (progress - WARM_UP) / (1 - WARM_UP)))))
    return config.learning_rate * (0.02 + 0.98 * turned)


def _optimizer(config: FitConfig) -> Any:
    if config.recipe is Recipe.PAPER:
        return keras.optimizers.SGD(config.learning_rate, momentum=0.9)
    return keras.optimizers.Adam(config.learning_rate, clipnorm=1.0)


def compiled_levels(config: FitConfig) -> Any:
    """The level network, ready to be trained."""
    network = build_unet(config.network)
    loss = losses.paper_level_loss if config.recipe is Recipe.PAPER else losses.level_loss
    network.compile(optimizer=_optimizer(config), loss={"levels": loss})
    return network


def compiled_fractures(config: FitConfig, data: CropData) -> Any:
    """The fracture network over sequences of slices, ready to be trained."""
    patch = data.sample.patch
    shape = (patch, patch) if patch else (data.crops.rows, data.crops.columns)
    settings = asdict(config.network) | {"height": shape[0], "width": shape[1]}
    network = sequence_network(build_fracture_network(NetworkConfig(**settings)), data.sample.slices, (*shape, 4))
    mask = losses.paper_mask_loss if config.recipe is Recipe.PAPER else losses.fracture_mask_loss
    network.compile(
        optimizer=_optimizer(config),
        loss={"mask": mask, "slice": losses.slice_loss, "fracture": losses.fracture_loss},
        loss_weights={"mask": 1.0, "slice": 0.5, "fracture": 1.0},
    )
    return network


def matched(data: CropData, network: Any) -> CropData:
    """The same crops with truth as fine as this network's mask."""
    rows, columns = network.output["mask"].shape[2:4]
    return replace(data, sample=replace(data.sample, mask_shape=(int(rows), int(columns))))


def fit_levels(config: FitConfig, data: LevelData | None = None) -> Path:
    """Train the level network; returns the file of the last weights, a record of the run lies beside it."""
    data = data or LevelData()
    atlas = load_atlas(data.atlas) if data.atlas else None
    keras.utils.set_random_seed(config.seed)
    about = "parametric phantom" + (" and SPL head and neck atlas" if data.atlas else "")
    record = {"stage": "levels", "data": about, "cases": data.cases, "atlas_share": data.atlas_share if atlas else 0.0}
    make = partial(level_batches, data, atlas, config.batch, config.seed)
    return _run(compiled_levels(config), make, config, record | {"slices": asdict(data.slices)})


def fit_fractures(config: FitConfig, data: CropData) -> Path:
    """Train the fracture network on prepared crops; returns the file of the last weights."""
    keras.utils.set_random_seed(config.seed)
    network = compiled_fractures(config, data)
    data = matched(data, network)
    contents = [json.loads((folder / "crops.json").read_text(encoding="utf-8")) for folder in data.folders]
    record: dict[str, object] = {
        "stage": "fractures",
        "data": contents,
        "crops": asdict(data.crops),
        "sample": asdict(data.sample),
    }
    return _run(network, partial(crop_batches, data, config.batch, config.seed), config, record)


def _run(network: Any, make: Callable[[], Iterator[Batch]], config: FitConfig, record: dict[str, object]) -> Path:
    """The loop: draw, step, keep the weights from time to time."""
    config.output.mkdir(parents=True, exist_ok=True)
    record = record | {"continues": _earlier(config.start)}
    if config.start is not None:
        load_start(network, config.start)
    if config.transfer is not None:
        levels = build_unet(network_of("levels", config.network.encoder))
        transfer_layers(network.get_layer("slices"), levels, config.transfer)
    feed = Feed(make)
    started: float | None = None
    recent: list[NDArray[np.float64]] = []
    try:
        for step, (images, truth) in enumerate(feed, start=1):
            started = started or time.monotonic()
            elapsed = time.monotonic() - started
            progress = max(step / config.steps, elapsed / config.seconds if config.seconds else 0.0)
            network.optimizer.learning_rate = learning_rate(config, progress)
            recent.append(np.array(network.train_on_batch(images, truth), dtype=np.float64).ravel())
            network.reset_metrics()
            if step % config.checkpoint_steps == 0 or progress >= 1:
                mean = [round(float(value), 4) for value in np.mean(recent[-config.checkpoint_steps :], axis=0)]
                measured = {"step": step, "loss": mean[0], "losses": mean[1:], "seconds": round(elapsed, 1)}
                _checkpoint(network, config, record | measured)
            if progress >= 1:
                break
    finally:
        feed.close()
    return config.output / WEIGHTS_FILE


def _earlier(start: Path | None) -> object:
    """What is recorded of the weights that a run began with: the record beside them, or else their name."""
    if start is None:
        return None
    record = start.parent / STATE_FILE
    return json.loads(record.read_text(encoding="utf-8")) if record.is_file() else start.name


def _checkpoint(network: Any, config: FitConfig, record: dict[str, object]) -> None:
    temporary = config.output / f"writing-{WEIGHTS_FILE}"
    network.save_weights(temporary)
    temporary.replace(config.output / WEIGHTS_FILE)
    settings = {key: value for key, value in asdict(config).items() if key not in {"output", "start", "transfer"}}
    content = record | {
        "preprocess": PREPROCESS_VERSION,
        "begins_with_the_level_network": config.transfer is not None,
        "config": settings,
    }
    (config.output / STATE_FILE).write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
    said = (record["step"], config.steps, record["loss"], record["losses"], record["seconds"])
    logger.info("step %s of %d: loss %s %s after %s s", *said)
