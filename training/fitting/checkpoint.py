"""Checkpoints of a training: everything that it needs to go on as if it had never been interrupted.

::

    RUN/checkpoints/000000100/network.weights.h5    weights, those of the optimizer too
                              state.json            where the run stands, its settings, SHA-256 of the weights
        latest.weights.h5                           the newest checkpoint's weights
        best.weights.h5                             those with the best validation loss

A checkpoint is written beside the others, forced to the disk and renamed last: it is there whole or not at all. The one
before it is kept; it is taken where the newest is damaged. Random numbers need no room: data are a function of seed and
step (``training.fitting.batches``), and layers with random numbers keep theirs among the weights.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

FOLDER = "checkpoints"
NETWORK_FILE = "network.weights.h5"
STATE_FILE = "state.json"
WEIGHTS_FILE = "latest.weights.h5"
BEST_FILE = "best.weights.h5"
KEPT = 2


class TrainingStopped(ValueError):
    """A training cannot go on; the message says where it stands and what to do."""


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands after ``step`` steps.

    ``seconds`` and ``waited_seconds`` (for data) count across interruptions. ``best``: the best validation loss, of
    ``best_step``; ``without_better``: validations since. ``finished`` tells why the run ended ("" while it has not).
    """

    step: int = 0
    phase: int = 0
    seconds: float = 0.0
    waited_seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    without_better: int = 0
    finished: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was found whole."""

    weights: Path
    state: RunState


class Checkpoints:
    """The checkpoints of the run in ``output``."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._folder = output / FOLDER

    def newest(self) -> Checkpoint | None:
        """The newest that is whole; None where there is none."""
        for folder in sorted(self._folder.glob("[0-9]*"), reverse=True):
            try:
                content = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
                digest = content.pop("sha256")
                state = RunState(**content)
                whole = _sha256(folder / NETWORK_FILE) == digest
            except (OSError, ValueError, KeyError, TypeError):
                whole = False
            if whole:
                return Checkpoint(folder / NETWORK_FILE, state)
            logger.warning("checkpoint %s is damaged: the one before it is taken", folder)
        return None

    def save(self, network: Any, state: RunState, *, best: bool) -> None:
        """Write a checkpoint, and as the best one if it is.

        Raises ``TrainingStopped`` where weights are not finite or the disk is full; those before stay as they were.
        """
        if not all(np.isfinite(values).all() for values in network.get_weights()):
            raise TrainingStopped(f"step {state.step}: the weights are not finite. {self._advice()}")
        part = self._folder / "writing"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            network.save_weights(part / NETWORK_FILE)
            content = asdict(state) | {"sha256": _sha256(part / NETWORK_FILE)}
            (part / STATE_FILE).write_text(json.dumps(content, indent=1, sort_keys=True, default=str), encoding="utf-8")
            for path in (part / NETWORK_FILE, part / STATE_FILE, part):
                _force(path)
            final = self._folder / f"{state.step:09d}"
            shutil.rmtree(final, ignore_errors=True)
            part.rename(final)
            _force(self._folder)
            for name in [WEIGHTS_FILE, BEST_FILE] if best else [WEIGHTS_FILE]:
                _linked(final / NETWORK_FILE, self._output / name)
        except (OSError, RuntimeError) as error:  # HDF5 tells of a full disk by either
            shutil.rmtree(part, ignore_errors=True)
            raise TrainingStopped(
                f"the checkpoint of step {state.step} cannot be written into {self._folder} ({_reason(error)})."
                f" {self._advice()}"
            ) from error
        for old in sorted(self._folder.glob("[0-9]*"))[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def clear(self) -> None:
        """Forget the run; its last weights stay until the first checkpoint, because another may begin with them."""
        shutil.rmtree(self._folder, ignore_errors=True)
        (self._output / BEST_FILE).unlink(missing_ok=True)

    def _advice(self) -> str:
        last = self.newest()
        kept = f"The checkpoint of step {last.state.step} is kept" if last else "There is no checkpoint yet"
        return f"{kept}: when the cause is mended the same command goes on from there"


def changed(earlier: Mapping[str, Any], now: Mapping[str, Any], where: str = "") -> list[str]:
    """The settings that differ, as sentences: name, what it was, what it is."""
    found = []
    for name in sorted(earlier.keys() | now.keys()):
        before, after = earlier.get(name), now.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += changed(before, after, f"{where}{name}.")
        elif before != after:
            found.append(f"{where}{name} was {before}, is {after}")
    return found


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they come back from a file."""
    read: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return read


def _reason(error: OSError | RuntimeError) -> str:
    """Why a file could not be written, in the system's words where it has some."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error).split("\n", maxsplit=1)[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _force(path: Path) -> None:
    """Have what was written on the disk before the call returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _linked(source: Path, target: Path) -> None:
    """The same file under another name at once, or a copy where the file system has no links."""
    temporary = target.with_name(f"writing-{target.name}")
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(target)
