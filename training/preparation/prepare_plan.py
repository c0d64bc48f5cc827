"""What ``prepare`` is going to do: every study of every source with its split, checked without reading a voxel."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from model.findings import Vertebra
from training.datasets.studies import DataSet, DataSetError, LabeledStudy
from training.preparation.prepare_config import PrepareConfig
from training.preparation.prepared import PreparedStudy, Split, patient_hash, study_name
from training.preparation.split import SplitStudy, assign, check_classes, missing_levels
from training.preparation.split_file import SPLIT_FILE, read_split


@dataclass(frozen=True, slots=True)
class StudyTask:
    """One study to prepare: its data set, what is known of it, and what it is for."""

    data_set: str
    study: LabeledStudy
    split: Split

    @property
    def name(self) -> str:
        """Its name in the prepared folder."""
        return study_name(self.data_set, self.study.key)

    @property
    def called(self) -> str:
        """What its data set calls it."""
        return f"{self.data_set} {self.study.key}"

    @property
    def fractures(self) -> dict[Vertebra, bool]:
        """The levels whose truth is known."""
        return {level: value for level, value in self.study.fractures.items() if value is not None}

    def record(self) -> PreparedStudy:
        """The study's record as far as it is known without its volume."""
        study = self.study
        patient = patient_hash(self.data_set, study)
        kinds = {level: kind for level, kind in study.kinds.items() if kind and self.fractures.get(level)}
        return PreparedStudy(self.name, self.data_set, study.site, patient, self.split, self.fractures, kinds)


@dataclass(frozen=True, slots=True)
class Plan:
    """The studies in order, and sentences on what is odd but no reason to stop."""

    tasks: tuple[StudyTask, ...]
    warnings: tuple[str, ...]

    @property
    def truths(self) -> list[tuple[Split, dict[Vertebra, bool]]]:
        """What each study shows, by split."""
        return [(task.split, task.fractures) for task in self.tasks]


def split_study(task: StudyTask, fixed: Split | None = None) -> SplitStudy:
    """A study as splitting sees it."""
    record, study = task.record(), task.study
    masked = study.mask is not None
    return SplitStudy(task.name, task.data_set, record.patient, study.key, study.patient, task.fractures, masked, fixed)


def make_plan(config: PrepareConfig, data_sets: Sequence[DataSet]) -> Plan:
    """The plan of the sources as ``data_sets``, in the same order; raises ``DataSetError`` with all that is wrong."""
    tasks = _all_studies(data_sets)
    only_test = {source.row for source in config.sources if source.test_only}
    studies = [split_study(task, Split.TEST if task.data_set in only_test else None) for task in tasks]
    warnings = []
    given: dict[str, Split] = {}
    saved = config.output / SPLIT_FILE
    if saved.is_file():
        given |= read_split(saved, studies)
    if config.split_file is not None:
        told = read_split(config.split_file, studies)
        if not told:
            raise DataSetError(f"{config.split_file} names none of the {len(tasks)} studies: is it of this data set?")
        if len(told) < len(tasks):
            warnings.append(
                f"{config.split_file.name} leaves {len(tasks) - len(told)} of {len(tasks)} studies open: their split "
                "is that of their patient, or dealt out"
            )
        given |= told
    splits = assign(studies, config.shares, config.seed, given)
    plan = Plan(tuple(replace(task, split=splits[task.name]) for task in tasks), ())
    if not config.allow_missing_class:
        check_classes(plan.truths, config.shares)
    return replace(plan, warnings=(*warnings, *missing_levels(plan.truths, config.shares)))


def _all_studies(data_sets: Sequence[DataSet]) -> list[StudyTask]:
    """The studies of all data sets, not split yet."""
    if not data_sets:
        raise DataSetError("there is nothing to prepare: give [[sources]] in the configuration, or --from-reviews")
    rows = Counter(data_set.name for data_set in data_sets)
    twice = [name for name, count in rows.items() if count > 1]
    problems = [f"{rows[name]} sources are called {name}: give each a name of its own" for name in twice]
    tasks = []
    for data_set in data_sets:
        try:
            studies = data_set.studies()
        except DataSetError as error:
            problems.extend(error.problems)
            continue
        if not studies:
            problems.append(f"the source {data_set.name} has no studies: check its folder, or remove it")
        keys = Counter(study.key for study in studies)
        problems += [f"{data_set.name}: {count} studies are called {key}" for key, count in keys.items() if count > 1]
        tasks += [StudyTask(data_set.name, study, Split.TRAIN) for study in studies]
    if problems:
        raise DataSetError(*problems)
    return tasks
