"""Training: cases are made once from seeds, slices are drawn and painted without end, a network is fitted."""

import json
import logging
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

import keras
import numpy as np

from model.network import NetworkConfig, build_unet
from model.preprocess import PREPROCESS_VERSION
from training.anatomy import Anatomy
from training.atlas import Atlas, load_atlas
from training.dataset import SliceBatch, SliceConfig, SliceSampler, make_case
from training.losses import fracture_loss, level_loss, paper_fracture_loss, paper_level_loss

logger = logging.getLogger(__name__)

STATE_FILE = "training.json"
WEIGHTS_FILE = "latest.weights.h5"
WAIT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class FitConfig:
    """What to train, on what, for how long.

    ``atlas_share`` is the share of cases made from the atlas (if given); ``start``: weights of an earlier run.
    """

    output: Path
    network: NetworkConfig = field(default_factory=NetworkConfig)
    slices: SliceConfig = field(default_factory=SliceConfig)
    atlas: Path | None = None
    atlas_share: float = 0.5
    cases: int = 200
    steps: int = 1800
    batch: int = 16
    learning_rate: float = 2e-3
    paper: bool = False
    seed: int = 1
    checkpoint_steps: int = 200
    start: Path | None = None


def make_cases(config: FitConfig) -> list[Anatomy]:
    """The training cases of this configuration; case k always comes from the seed ``seed * 1000000 + k``."""
    atlas = load_atlas(config.atlas) if config.atlas else None
    from_atlas = round(config.cases * config.atlas_share) if atlas else 0
    seeds = [config.seed * 1_000_000 + k for k in range(config.cases)]
    choice: list[Atlas | None] = [atlas if k < from_atlas else None for k in range(config.cases)]
    return [make_case(seed, chosen) for seed, chosen in zip(seeds, choice, strict=True)]


def _produce(cases: list[Anatomy], config: FitConfig, seed: int, queue: Any) -> None:
    sampler = SliceSampler(cases, config.slices, np.random.default_rng(seed))
    for batch in sampler.batches(config.batch):
        queue.put((batch.images, batch.levels, batch.fracture))


class _Feed:
    """Batches from one producer process, so that painting and fitting overlap."""

    def __init__(self, config: FitConfig) -> None:
        context = multiprocessing.get_context("spawn")
        self._queue = context.Queue(maxsize=8)
        self._process = context.Process(target=_make_and_produce, args=(config, self._queue), daemon=True)
        self._process.start()

    def __iter__(self) -> Iterator[SliceBatch]:
        while True:
            try:
                yield SliceBatch(*self._queue.get(timeout=WAIT_SECONDS))
            except Empty as error:
                raise RuntimeError("the process that makes training slices stopped") from error

    def close(self) -> None:
        """End the producer."""
        self._process.terminate()
        self._process.join(timeout=10)


def _make_and_produce(config: FitConfig, queue: Any) -> None:
    _produce(make_cases(config), config, config.seed + 77, queue)


def compiled(config: FitConfig) -> Any:
    """The network with its optimizer and losses: Adam and Dice, or the paper's SGD and binary cross-entropy."""
    network = build_unet(config.network)
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-4,
        config.steps,
        alpha=0.02,
        warmup_target=config.learning_rate,
        warmup_steps=min(100, config.steps // 10 + 1),
    )
    if config.paper:
        optimizer: Any = keras.optimizers.SGD(0.01, momentum=0.9)
        losses = {"levels": paper_level_loss, "fracture": paper_fracture_loss}
    else:
        optimizer = keras.optimizers.Adam(schedule, clipnorm=1.0)
        losses = {"levels": level_loss, "fracture": fracture_loss}
    network.compile(optimizer=optimizer, loss=losses)
    return network


def fit(config: FitConfig) -> Path:
    """Train and return the file of the last weights; checkpoints and a JSON record are written beside it."""
    config.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(config.seed)
    network = compiled(config)
    if config.start is not None:
        network.load_weights(config.start)
    feed = _Feed(config)
    started = time.monotonic()
    losses: list[float] = []
    try:
        for step, batch in enumerate(feed, start=1):
            truth = {"levels": batch.levels, "fracture": batch.fracture}
            losses.append(float(np.sum(network.train_on_batch(batch.images, truth)[0])))
            network.reset_metrics()
            if step % config.checkpoint_steps == 0 or step == config.steps:
                _checkpoint(network, config, step, float(np.mean(losses[-100:])), time.monotonic() - started)
            if step == config.steps:
                break
    finally:
        feed.close()
    return config.output / WEIGHTS_FILE


def _checkpoint(network: Any, config: FitConfig, step: int, loss: float, seconds: float) -> None:
    temporary = config.output / f"writing-{WEIGHTS_FILE}"
    network.save_weights(temporary)
    temporary.replace(config.output / WEIGHTS_FILE)
    settings = {key: value for key, value in asdict(config).items() if key not in {"output", "atlas", "start"}}
    record = {
        "step": step,
        "loss": round(loss, 4),
        "seconds": round(seconds, 1),
        "preprocess": PREPROCESS_VERSION,
        "continues_another_run": config.start is not None,
        "data": "parametric phantom" + (" and SPL head and neck atlas" if config.atlas else ""),
        "config": settings,
    }
    (config.output / STATE_FILE).write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
    logger.info("step %d of %d: loss %.3f after %.0f s", step, config.steps, loss, seconds)
