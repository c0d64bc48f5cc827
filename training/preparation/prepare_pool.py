"""Studies prepared one after another or in several processes, one study in the memory of each."""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from model.bundle import load_bundle
from model.crops import CropConfig
from model.preprocess import PreprocessConfig
from training.datasets.studies import DataSet
from training.preparation.level_finder import LevelFinder
from training.preparation.prepare_config import PrepareConfig
from training.preparation.prepare_plan import StudyTask
from training.preparation.prepare_study import Outcome, OutputFailed, StudyTools, prepare_study


def outcomes_of(config: PrepareConfig, tasks: Sequence[StudyTask], data_sets: Sequence[DataSet]) -> Iterator[Outcome]:
    """What comes of each study, as they are done; raises ``OutputFailed``.

    What another process does while this one ends for an error is finished, what waits is not begun.
    """
    finding = config.find_levels and any(task.study.mask is None for task in tasks)
    if min(config.processes, len(tasks)) < 2:
        work = _Work(config, data_sets, finding=finding)
        yield from (work.do(task) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")
    start = (config, tuple(data_sets), finding)
    with ProcessPoolExecutor(min(config.processes, len(tasks)), context, _take_work, start) as pool:
        futures = [pool.submit(_do, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise OutputFailed("a process died, most likely because memory ran out: give fewer processes") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Work:
    """What one process holds."""

    def __init__(self, config: PrepareConfig, data_sets: Sequence[DataSet], *, finding: bool) -> None:
        self._data_sets = {data_set.name: data_set for data_set in data_sets}
        finder = LevelFinder(load_bundle(config.bundle)) if finding else None
        self._tools = StudyTools(config.output, finder, PreprocessConfig(), CropConfig())

    def do(self, task: StudyTask) -> Outcome:
        """Prepare one study."""
        return prepare_study(task, self._data_sets[task.data_set], self._tools)


_WORK: _Work | None = None


def _take_work(config: PrepareConfig, data_sets: Sequence[DataSet], finding: bool) -> None:  # noqa: FBT001 -- sent
    global _WORK  # noqa: PLW0603 -- a worker process's own, made once instead of with every study
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    _WORK = _Work(config, data_sets, finding=finding)


def _do(task: StudyTask) -> Outcome:
    if _WORK is None:
        raise RuntimeError("the process was not given its work")
    return _WORK.do(task)
