"""Share of a training's time spent waiting for data, in the shapes in which both networks are really trained.

Prepared studies of usual size, batches of 16, and the compact network, whose steps are the shortest and so the hardest
to feed. What is printed: the share of the time that the trainer waited (goal < 5 %), a step's time against a batch's
making in one process, how much faster several processes are, and so for which step times a number of processes is
enough, which tells what an accelerator needs. Time never fails it. ``make bench ARGS="-k feed"`` prints it.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from model.crops import CropConfig
from model.findings import Vertebra
from model.network_config import Encoder, network_of
from model.preprocess import PreprocessConfig
from training.fitting.batches import CropData, Drawing, LevelData, crop_source, level_source
from training.fitting.crop_sampler import CropCase, write_shard
from training.fitting.feed import Feed, Source
from training.fitting.fit import fit_fractures, fit_levels
from training.fitting.fit_config import FitConfig
from training.preparation import prepared
from training.preparation.prepared import PreparedStudy, Split

SHAPE = (190, 150, 80)
"""Slices, rows and columns of a neck at network spacing."""
STUDIES = 8
BATCH = 16
STEPS = 12
BATCHES = 12
GOAL = 0.05


def usual_studies(folder: Path) -> Path:
    """A prepared folder whose arrays are as large as those of a real one."""
    prepared.begin(folder, PreprocessConfig(), CropConfig())
    rng = np.random.default_rng(1)
    for number in range(STUDIES):
        labels = np.zeros(SHAPE, dtype=np.uint8)
        for level in range(1, 8):
            labels[20 + 20 * level : 38 + 20 * level, 50:100, 20:60] = level
        field = (labels > 0) + rng.normal(0, 0.1, SHAPE)
        name = prepared.study_name("bench", str(number))
        prepared.write_field(folder, name, field.astype(np.float32), labels)
        crops = []
        for level in Vertebra:
            shown = rng.normal(0.5, 0.3, (18, 80, 96)).astype(np.float32)
            mask = np.zeros((18, 40, 48), dtype=np.uint8)
            mask[6:12, 18:22, 20:26] = 255 * (level == Vertebra.C2)
            crops.append(CropCase(shown, np.ones_like(shown), mask, level, "burst" * (level == Vertebra.C2), "bench"))
        write_shard(folder / prepared.CROPS / f"{name}.npz", crops)
        truth = {level: level == Vertebra.C2 for level in Vertebra}
        split = Split.VALIDATION if number == 0 else Split.TRAIN
        prepared.write_study(
            folder, PreparedStudy(name, "bench", "", str(number), split, truth, labels=True, own_labels=True)
        )
    return folder


def seconds_a_batch(source: Source) -> float:
    """How long one process takes to make a batch."""
    times = []
    for step in range(BATCHES):
        started = time.perf_counter()
        source(step)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def seconds_fed(make: Callable[[], Source], processes: int) -> float:
    """How long a batch takes to come from several processes to a trainer that does nothing with it."""
    feed = Feed(make, processes)
    try:
        batches = iter(feed)
        for _ in range(2 * processes):
            next(batches)
        started = time.perf_counter()
        for _ in range(BATCHES):
            next(batches)
        return (time.perf_counter() - started) / BATCHES
    finally:
        feed.close()


def trained(stage: str, data: LevelData | CropData, output: Path) -> tuple[float, float, int]:
    """Seconds a step, share of waiting and processes of a short training."""
    network = network_of(stage, Encoder.COMPACT)
    config = FitConfig(output, network, steps=STEPS, batch=BATCH, checkpoint_steps=STEPS, validation_batches=1)
    if isinstance(data, LevelData):
        fit_levels(config, data)
    else:
        fit_fractures(config, data)
    record = json.loads((output / "training.json").read_text())
    return record["seconds"] / record["step"], record["waiting_share"], config.producers


@pytest.mark.timeout(3600)
def test_feed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = usual_studies(tmp_path / "prepared")
    lines = []
    cores = len(os.sched_getaffinity(0))
    kinds = {"levels": LevelData(prepared=(folder,)), "fractures": CropData(prepared=(folder,))}
    for stage, data in kinds.items():
        source = level_source if isinstance(data, LevelData) else crop_source
        make = partial(source, data, Drawing(BATCH, 1, tmp_path / "cases"))
        alone, fed = seconds_a_batch(make()), seconds_fed(make, cores)
        step, share, processes = trained(stage, data, tmp_path / stage)
        enough = ", ".join(f"{1000 * alone / count:.0f} ms ({count})" for count in (1, 4, 8))
        lines.append(
            f"  {stage}: {100 * share:.1f} % of the time waiting (goal < {100 * GOAL:.0f} %), {processes} process(es);"
            f" a step is {step / alone:.1f} x as long as the making of its batch"
        )
        lines.append(
            f"    a batch takes {1000 * alone:.0f} ms to make in one process, {cores} are {alone / fed:.1f} x as fast;"
            f" enough for steps from {enough} on (processes, a core each)"
        )
    with capsys.disabled():
        print(  # noqa: T201  (a benchmark prints)
            f"\ndata for training on {cores} cores (load {os.getloadavg()[0]:.1f}):\n" + "\n".join(lines)
        )
