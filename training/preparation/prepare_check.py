"""``prepare --check-only``: everything that can be said before an hour is spent, and what the whole will cost."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model.crops import CropConfig
from model.preprocess import PreprocessConfig
from training.datasets.studies import DataSet, DataSetError
from training.preparation.prepare import found_by
from training.preparation.prepare_config import PrepareConfig
from training.preparation.prepare_plan import Plan, make_plan
from training.preparation.prepare_pool import outcomes_of
from training.preparation.prepared import Split, begin
from training.preparation.split import class_of


@dataclass(frozen=True, slots=True)
class Estimate:
    """What all studies will take, judged by one: ``disk_mb``, ``memory_mb`` of all processes, ``seconds``.

    ``free_mb`` is what the disk of the prepared folder has now.
    """

    studies: int
    disk_mb: float
    memory_mb: float
    seconds: float
    free_mb: float


def check(config: PrepareConfig, data_sets: Sequence[DataSet]) -> tuple[Plan, Estimate]:
    """The plan, and what it will cost by one study, which is prepared and thrown away.

    That is the first one, or the first one whose levels must be found, which takes most. Raises ``DataSetError`` as
    ``prepare`` would, when that study cannot be read, and for too little disk.
    """
    plan = make_plan(config, data_sets)
    found_by(config)
    home = next(folder for folder in (config.output, *config.output.absolute().parents) if folder.is_dir())
    with tempfile.TemporaryDirectory() as scratch:
        trial = replace(config, output=Path(scratch) / "trial", processes=1)
        begin(trial.output, PreprocessConfig(), CropConfig())
        task = next((task for task in plan.tasks if task.study.mask is None), plan.tasks[0])
        [first] = outcomes_of(trial, [task], data_sets)
    if first.problems:
        raise DataSetError(*first.problems)
    count = len(plan.tasks)
    processes = min(config.processes, count)
    disk_mb, free_mb = first.size_mb * count, shutil.disk_usage(home).free / 1e6
    estimate = Estimate(count, disk_mb, first.peak_mb * processes, first.seconds * count / processes, free_mb)
    require_room(estimate, config.output)
    return plan, estimate


def require_room(estimate: Estimate, folder: Path) -> None:
    """Raise ``DataSetError`` when the disk of the folder has less than all studies need."""
    if estimate.disk_mb > estimate.free_mb:
        raise DataSetError(
            f"{folder} will need about {estimate.disk_mb / 1000:.1f} GB, and its disk has "
            f"{estimate.free_mb / 1000:.1f} GB free: free some space or name a folder on a larger disk"
        )


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
        f"Judged by one study, all {estimate.studies} take about {estimate.disk_mb / 1000:.2g} GB of disk "
        f"({estimate.free_mb / 1000:.0f} GB are free), {estimate.memory_mb / 1000:.2g} GB of memory "
        f"and {duration(estimate.seconds)}."
    )
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """A time in the unit that a person would use."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
