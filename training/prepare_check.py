"""``prepare --check-only``: everything that can be said before an hour is spent, and what the whole will cost."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model.crops import CropConfig
from model.preprocess import PreprocessConfig
from training.prepare import found_by
from training.prepare_config import PrepareConfig
from training.prepare_plan import Plan, make_plan
from training.prepare_pool import outcomes_of
from training.prepared import Split, begin
from training.split import class_of
from training.studies import DataSet, DataSetError


@dataclass(frozen=True, slots=True)
class Estimate:
    """What all studies will take, by the first one: ``disk_mb``, ``memory_mb`` of all processes, ``seconds``.

    ``free_mb`` is what the disk of the prepared folder has now.
    """

    studies: int
    disk_mb: float
    memory_mb: float
    seconds: float
    free_mb: float


def check(config: PrepareConfig, data_sets: Sequence[DataSet]) -> tuple[Plan, Estimate]:
    """The plan, and what it will cost by its first study, which is read and thrown away.

    Raises ``DataSetError`` as ``prepare`` would, for a first study that cannot be read, and for too little disk.
    """
    plan = make_plan(config, data_sets)
    found_by(config)
    home = next(folder for folder in (config.output, *config.output.absolute().parents) if folder.is_dir())
    with tempfile.TemporaryDirectory() as scratch:
        trial = replace(config, output=Path(scratch) / "trial", processes=1)
        begin(trial.output, PreprocessConfig(), CropConfig())
        [first] = outcomes_of(trial, plan.tasks[:1], data_sets)
    if first.problems:
        raise DataSetError(*first.problems)
    count = len(plan.tasks)
    processes = min(config.processes, count)
    disk_mb, free_mb = first.size_mb * count, shutil.disk_usage(home).free / 1e6
    estimate = Estimate(count, disk_mb, first.peak_mb * processes, first.seconds * count / processes, free_mb)
    if disk_mb > free_mb:
        raise DataSetError(
            f"{config.output} will need about {disk_mb / 1000:.1f} GB, and its disk has {free_mb / 1000:.1f} GB free: "
            "free some space or name a folder on a larger disk"
        )
    return plan, estimate


def check_text(plan: Plan, estimate: Estimate) -> str:
    """What the check found, for a person."""
    lines = [
        f"{'data set':<20} {'split':<10} {'studies':>7} {'patients':>8} {'fractured':>9} {'intact':>6} {'masks':>6}"
    ]
    rows = sorted({(task.data_set, list(Split).index(task.split)) for task in plan.tasks})
    for data_set, place in rows:
        split = list(Split)[place]
        mine = [task for task in plan.tasks if (task.data_set, task.split) == (data_set, split)]
        classes = Counter(class_of(task.fractures) for task in mine)
        patients = len({task.study.patient for task in mine})
        masks = sum(task.study.mask is not None for task in mine)
        numbers = f"{len(mine):>7} {patients:>8} {classes['fractured']:>9} {classes['intact']:>6} {masks:>6}"
        lines.append(f"{data_set:<20} {split:<10} {numbers}")
    lines += [f"Note: {warning}." for warning in plan.warnings]
    lines.append(
        f"By the first study, all {estimate.studies} take about {estimate.disk_mb / 1000:.2g} GB of disk "
        f"({estimate.free_mb / 1000:.0f} GB are free), {estimate.memory_mb / 1000:.2g} GB of memory "
        f"and {duration(estimate.seconds)}."
    )
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """A time in the unit that a person would use."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
