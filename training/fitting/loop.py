"""The loop of every training: draw, step, validate, keep a checkpoint; it goes on where it was interrupted."""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from model.preprocess import PREPROCESS_VERSION
from training.fitting.checkpoint import (
    WEIGHTS_FILE,
    Checkpoint,
    Checkpoints,
    RunState,
    TrainingStopped,
    changed,
    plain,
)
from training.fitting.curves import Metrics, draw_curves
from training.fitting.feed import Batch, Feed, Source
from training.fitting.fit_config import FitConfig, learning_rate, phase_of
from training.fitting.progress import Clock, Progress
from training.fitting.provenance import versions
from training.fitting.recipes import Phase
from training.fitting.start import load_start

logger = logging.getLogger(__name__)

RECORD_FILE = "training.json"
UNRECORDED = {"output", "processes", "resume", "tensorboard"}
"""Settings that change nothing of the result: a run goes on with others."""
LOCAL = {"start", "transfer"}
"""Files of this machine: they are named in no record."""
NAMED_SOURCES = 8

Losses = dict[str, float]


@dataclass(frozen=True, slots=True)
class Training:
    """What is trained: the network, how each phase compiles and begins it, its batches, and what is recorded."""

    config: FitConfig
    network: Any
    compiled: Callable[[Any, Phase], None]
    begin: Callable[[Any], None]
    make: Callable[[], Source]
    validation: Sequence[Batch]
    record: Mapping[str, object]
    settings: Mapping[str, Any]


def recorded(config: FitConfig) -> dict[str, Any]:
    """The settings that the result depends on."""
    return {name: value for name, value in asdict(config).items() if name not in UNRECORDED}


def train(training: Training) -> Path:
    """Train, or go on with the training in ``output``; returns the file of the last weights.

    Raises ``TrainingStopped`` where it cannot go on: other settings than before, a loss that is not finite, a full
    disk. Everything up to the last checkpoint is kept.
    """
    config = training.config
    config.output.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(config.output)
    earlier = _earlier(training, checkpoints)
    if earlier is not None and earlier.state.finished:
        logger.info("%s is finished after %d steps: %s", config.output, earlier.state.step, earlier.state.finished)
        return config.output / WEIGHTS_FILE
    state = earlier.state if earlier else RunState(settings=plain(training.settings))
    _begin(training, earlier)
    metrics = Metrics(config.output, state.step, tensorboard=config.tensorboard)
    feed = Feed(training.make, config.producers, first=state.step)
    try:
        _Run(training, checkpoints, metrics, state).steps(feed)
    finally:
        feed.close()
        metrics.close()
        _draw(config.output)
    return config.output / WEIGHTS_FILE


def _earlier(training: Training, checkpoints: Checkpoints) -> Checkpoint | None:
    """The checkpoint to go on from; ``TrainingStopped`` where the run in the folder is another one."""
    config = training.config
    earlier = checkpoints.newest() if config.resume else None
    if earlier is None:
        checkpoints.clear()
        return None
    differences = changed(earlier.state.settings, plain(training.settings))
    if differences:
        raise TrainingStopped(
            f"{config.output} holds a run with other settings ({'; '.join(differences)}): name another output, give"
            " the same settings to go on with it, or resume = false (--no-resume) to train anew in its place"
        )
    logger.info("going on with %s after step %d", config.output, earlier.state.step)
    return earlier


def _begin(training: Training, earlier: Checkpoint | None) -> None:
    """Give the network the weights that it begins, or goes on, with."""
    if earlier is not None:
        training.compiled(training.network, training.config.phases[earlier.state.phase])
        load_start(training.network, earlier.weights)
        return
    first = training.config.phases[0]
    if first.frozen:  # what is begun with may hold an optimizer of all weights
        training.begin(training.network)
    training.compiled(training.network, first)
    if not first.frozen:
        training.begin(training.network)


class _Run:
    """One run while it trains."""

    def __init__(self, training: Training, checkpoints: Checkpoints, metrics: Metrics, state: RunState) -> None:
        self._training, self._config, self._network = training, training.config, training.network
        self._checkpoints, self._metrics = checkpoints, metrics
        self._state = state
        self._recent: list[Losses] = []

    def steps(self, feed: Feed) -> None:
        """All steps up to the end of the run."""
        step, clock = self._state.step, None
        bar = Progress(self._progress(step, self._state.seconds))
        try:
            for batch in feed:
                clock = clock or Clock(self._state, feed)
                step += 1
                progress = self._progress(step, clock.seconds)
                self._enter_phase(progress)
                losses = self._losses(step, batch, progress)
                waited = f"{100 * clock.waiting_share:.0f} % waiting for data"
                bar.advance(progress, f"step {step}, loss {losses['loss']:.4f}, {waited}")
                if step % self._config.checkpoint_steps == 0 or progress >= 1:
                    bar.say(f"{self._keep(step, progress, clock)}, {waited}, {bar.left(progress)} left")
                if self._state.finished:
                    break
        finally:
            bar.close()
        logger.info("%s after %d steps", self._state.finished, step)

    def _progress(self, step: int, seconds: float) -> float:
        """The share (0..1) of the budget that is used up."""
        budget = self._config.seconds
        return max(step / self._config.steps, seconds / budget if budget else 0.0)

    def _enter_phase(self, progress: float) -> None:
        """Compile anew where a phase begins; its optimizer begins without a past."""
        place = phase_of(self._config, progress)
        if place != self._state.phase:
            phase = self._config.phases[place]
            logger.info("%s begins", phase.name)
            self._training.compiled(self._network, phase)
            self._state = replace(self._state, phase=place)

    def _losses(self, step: int, batch: Batch, progress: float) -> Losses:
        """Take one step; ``TrainingStopped`` where the loss is not finite."""
        self._network.optimizer.learning_rate = learning_rate(self._config, progress)
        measured = self._network.train_on_batch(batch.images, batch.truth, return_dict=True)
        self._network.reset_metrics()
        losses = {name: float(measured[name]) for name in sorted(measured, key=lambda name: name != "loss")}
        if not all(map(math.isfinite, losses.values())):
            raise TrainingStopped(self._diverged(step, batch, losses))
        self._recent.append(losses)
        return losses

    def _diverged(self, step: int, batch: Batch, losses: Losses) -> str:
        names = ", ".join(sorted(set(batch.sources))[:NAMED_SOURCES])
        if np.isfinite(batch.images).all():
            advice = (
                "The data are finite: train anew with a lower learning_rate"
                f"{'' if self._config.precision == 'float32' else ' or precision = float32'}, into another output"
            )
        else:
            advice = "The data themselves are not finite: prepare these studies again"
        last = self._checkpoints.newest()
        kept = f"; start = {last.weights} begins with the weights of step {last.state.step}" if last else ""
        return f"step {step}: the loss is {losses['loss']} on a batch of {names}. {advice}{kept}."

    def _keep(self, step: int, progress: float, clock: Clock) -> str:
        """Validate, write checkpoint, record and metrics; returns what was measured as a sentence."""
        means = {name: float(np.mean([one[name] for one in self._recent])) for name in self._recent[0]}
        self._recent = []
        validation = self._validated()
        better = bool(validation) and (self._state.best is None or validation["loss"] < self._state.best)
        self._state = replace(
            self._state,
            step=step,
            seconds=clock.seconds,
            waited_seconds=clock.waited_seconds,
            best=validation["loss"] if better else self._state.best,
            best_step=step if better else self._state.best_step,
            without_better=0 if better or not validation else self._state.without_better + 1,
        )
        self._state = replace(self._state, finished=self._end(progress))
        self._checkpoints.save(self._network, self._state, best=better)
        rate = learning_rate(self._config, progress)
        row = {"step": step, **means, "learning_rate": rate, "waiting_share": clock.waiting_share}
        self._metrics.add(row | ({"validation": validation} if validation else {}))
        self._write_record(means, clock)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
        return f"step {step} of {self._config.steps}: {shown}" + (
            f", validation {validation['loss']:.4f}{' (best)' if better else ''}" if validation else ""
        )

    def _validated(self) -> Losses:
        """The mean losses of the validation batches; none where there are none."""
        found = []
        for batch in self._training.validation:
            found.append(self._network.test_on_batch(batch.images, batch.truth, return_dict=True))
            self._network.reset_metrics()
        return {name: float(np.mean([one[name] for one in found])) for name in found[0]} if found else {}

    def _end(self, progress: float) -> str:
        """Why the run ends here; "" where it does not."""
        if progress >= 1:
            return "the budget is used up"
        if self._config.patience and self._state.without_better >= self._config.patience:
            return f"no better validation loss since step {self._state.best_step}"
        return ""

    def _write_record(self, means: Losses, clock: Clock) -> None:
        content = {
            **self._training.record,
            "step": self._state.step,
            "loss": round(means["loss"], 4),
            "losses": {name: round(value, 4) for name, value in means.items() if name != "loss"},
            "seconds": round(clock.seconds, 1),
            "waiting_share": round(clock.waiting_share, 4),
            "best": {"step": self._state.best_step, "validation_loss": self._state.best} if self._state.best else None,
            "finished": self._state.finished,
            "preprocess": PREPROCESS_VERSION,
            "phases": [asdict(phase) for phase in self._config.phases],
            "versions": versions(),
            "begins_with_the_level_network": self._config.transfer is not None,
            "config": _told(self._config),
        }
        path = self._config.output / RECORD_FILE
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True, default=str), encoding="utf-8")
        temporary.replace(path)


def _told(config: FitConfig) -> dict[str, Any]:
    """The settings as a record tells them: files of this machine by their names alone."""
    told = {name: value for name, value in recorded(config).items() if name not in LOCAL}
    if config.network.weights is not None:
        told["network"]["weights"] = Path(config.network.weights).name
    return told


def _draw(output: Path) -> None:
    """Draw the curves; a full disk does not hide why the training ended."""
    try:
        draw_curves(output)
    except OSError as error:
        logger.warning("the curves could not be drawn: %s", error)
