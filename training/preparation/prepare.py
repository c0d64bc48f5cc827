"""``prepare``: all studies of all sources into one folder; what was done before an interruption is not done again.

A study that cannot be read costs itself and no other: the rest is prepared first, then the run fails and names them
all, unless it is told to go on without them. A full disk ends the run at once; nothing half-written stays.
"""

import csv
import fcntl
import io
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from model.bundle import load_bundle
from model.crops import CropConfig
from model.preprocess import PreprocessConfig
from training.config import save_config
from training.datasets.studies import DataSet, DataSetError
from training.preparation import leakage
from training.preparation.prepare_config import PrepareConfig
from training.preparation.prepare_plan import Plan, StudyTask, make_plan, split_study
from training.preparation.prepare_pool import outcomes_of
from training.preparation.prepare_study import Outcome, OutputFailed
from training.preparation.prepared import (
    UNFINISHED,
    Prepared,
    Split,
    begin,
    keep_only,
    read_prepared,
    write_study,
    write_whole,
)
from training.preparation.split import check_classes
from training.preparation.split_file import write_split

PROBLEMS_FILE = "problems.csv"
AGAIN = "then run the same command again: it goes on where it stopped"

OnDone = Callable[[Outcome, int], None]
"""Told what came of a study, and how many there are to do."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did: studies in the folder by split, how many of them are new, and what was left out or is odd."""

    studies: dict[Split, int]
    new: int
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]


def prepare(config: PrepareConfig, data_sets: Sequence[DataSet], on_done: OnDone = lambda *_: None) -> Summary:
    """Prepare all studies of ``data_sets``, which are the sources of ``config``, opened.

    Raises ``DataSetError`` that says what to do: for sources that do not fit, for a folder that cannot be written, for
    studies that cannot be read (after all others are done), for a split without a class, and for leaks between splits.
    Raises ``BundleError`` for a bundle that finds no levels.
    """
    plan = make_plan(config, data_sets)
    try:
        begin(config.output, PreprocessConfig(), CropConfig(), found_by(config))
        with _alone(config.output):
            outcomes = _prepare_all(config, plan, data_sets, on_done)
            problems = [problem for outcome in outcomes for problem in outcome.problems]
            _write_problems(config.output, outcomes)
            if problems and not config.skip_unreadable:
                raise _unreadable(config.output, problems, len(plan.tasks))
            return _checked(config, plan, outcomes)
    except OSError as error:
        raise DataSetError(
            f"{config.output} cannot be written ({error.strerror or error}): repair that, {AGAIN}"
        ) from error


def found_by(config: PrepareConfig) -> str:
    """The bundle that finds levels, by its SHA-256; "" where none is asked for."""
    return load_bundle(config.bundle).sha256 if config.find_levels else ""


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else prepares into the folder; what an interrupted run left unfinished is gone."""
    unfinished = folder / UNFINISHED
    lock = os.open(unfinished, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataSetError(f"another `prepare` works in {folder}: wait for it, or name another folder") from error
        for path in unfinished.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield
    finally:
        os.close(lock)


def _prepare_all(config: PrepareConfig, plan: Plan, data_sets: Sequence[DataSet], on_done: OnDone) -> list[Outcome]:
    """Every study that is not there yet."""
    save_config(config, config.output)
    write_split(config.output, [split_study(task) for task in plan.tasks], {t.name: t.split for t in plan.tasks})
    waiting = _waiting(config.output, plan)
    outcomes: list[Outcome] = []
    try:
        for outcome in outcomes_of(config, waiting, data_sets):
            outcomes.append(outcome)
            on_done(outcome, len(waiting))
    except OutputFailed as error:
        done = len(plan.tasks) - len(waiting) + sum(not outcome.problems for outcome in outcomes)
        raise DataSetError(f"{error}, {AGAIN} ({done} of {len(plan.tasks)} studies are prepared)") from error
    return outcomes


def _waiting(folder: Path, plan: Plan) -> list[StudyTask]:
    """The studies to prepare; what is known now is written into the records of those that are there.

    A study whose truth changed is prepared again. Those that no source has any more are put aside.
    """
    keep_only(folder, {task.name for task in plan.tasks})
    prepared = read_prepared(folder)
    records = {study.name: study for study in prepared.studies}
    waiting = []
    for task in plan.tasks:
        record, wanted = records.get(task.name), task.record()
        if (
            record is None
            or (record.fractures, record.kinds) != (wanted.fractures, wanted.kinds)
            or not prepared.field_file(record).is_file()
        ):
            waiting.append(task)
            continue
        current = replace(record, split=wanted.split, site=wanted.site, patient=wanted.patient)
        if current != record:
            write_study(folder, current)
    return waiting


def _write_problems(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Save which studies cannot be read and why; no file where all can."""
    path = folder / PROBLEMS_FILE
    rows = [(outcome.called, problem) for outcome in outcomes for problem in outcome.problems]
    if not rows:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("study", "problem"), *rows])
    write_whole(folder, path, lambda part: part.write_text(text.getvalue(), encoding="utf-8"))


def _unreadable(folder: Path, problems: Sequence[str], count: int) -> DataSetError:
    told = f"of {count} studies some cannot be read; all others are prepared and stay ({folder / PROBLEMS_FILE})"
    return DataSetError(
        f"{told}: repair these, name them in leave_out of their source, or give --skip-unreadable, {AGAIN}", *problems
    )


def _checked(config: PrepareConfig, plan: Plan, outcomes: Sequence[Outcome]) -> Summary:
    """What the folder holds now; raises ``DataSetError`` for a split without a class, and for leaks."""
    prepared: Prepared = read_prepared(config.output)
    if not config.allow_missing_class:
        check_classes([(study.split, study.fractures) for study in prepared.studies], config.shares)
    keys = {task.name: task.study.key for task in plan.tasks}
    leaks = leakage.find_leaks(prepared.studies)
    if leaks:
        raise DataSetError(*(leakage.sentence(leak, keys) for leak in leaks))
    failed = tuple(outcome.called for outcome in outcomes if outcome.problems)
    counts = Counter(study.split for study in prepared.studies)
    return Summary({split: counts[split] for split in Split}, len(outcomes) - len(failed), failed, plan.warnings)
