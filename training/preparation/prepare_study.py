"""One study from its files to its place in the prepared folder: read, clean, find levels, cut crops, write, record."""

import errno
import hashlib
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model.crops import CropConfig
from model.errors import PredictorOutOfMemory, UnusableVolume
from model.preprocess import PreprocessConfig
from training.datasets.studies import DataSet, DataSetError, LabeledVolume
from training.fitting.crop_sampler import CropCase, write_shard
from training.preparation.cleaning import Cleaned, clean, standard_format
from training.preparation.leakage import fingerprint
from training.preparation.level_finder import LevelFinder
from training.preparation.prepare_plan import StudyTask
from training.preparation.prepared import (
    CROPS,
    UNFINISHED,
    PreparedStudy,
    field_hash,
    study_file,
    write_field,
    write_study,
    write_whole,
)
from training.preparation.study_crops import study_crops

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class OutputFailed(Exception):
    """Other studies would fail as well: the disk is full or gone, or memory ran out; the message says what to do."""


@dataclass(frozen=True, slots=True)
class StudyTools:
    """What every study needs: the prepared folder, its settings, and what finds levels (None: nothing does)."""

    folder: Path
    finder: LevelFinder | None
    preprocess: PreprocessConfig
    crops: CropConfig


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a study: ``problems`` (none: its record is there), the time it took and the room it takes.

    ``peak_mb``: the most memory that this process had, with that of a child that read for it.
    """

    name: str
    called: str
    problems: tuple[str, ...] = ()
    seconds: float = 0.0
    size_mb: float = 0.0
    peak_mb: float = 0.0


def prepare_study(task: StudyTask, data_set: DataSet, tools: StudyTools) -> Outcome:
    """Prepare one study, the only one in memory.

    A study that cannot be read is an outcome with problems; ``OutputFailed`` is raised when nothing can be written.
    """
    started = time.perf_counter()
    study_file(tools.folder, task.name).unlink(missing_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=tools.folder / UNFINISHED) as scratch:
            record, cleaned, cases = _read(task, data_set, tools, Path(scratch))
            size_mb = _write(tools.folder, record, cleaned, cases)
    except _Unreadable as error:
        return Outcome(task.name, task.called, error.problems, time.perf_counter() - started, 0.0, _peak_mb())
    except OSError as error:
        reason = error.strerror or ("its disk is full" if _is_full(error) else type(error).__name__)
        told = f"{tools.folder} cannot be written ({reason})"
        raise OutputFailed(f"{told}: free some space or move the folder to a larger disk") from error
    return Outcome(task.name, task.called, (), time.perf_counter() - started, size_mb, _peak_mb())


class _Unreadable(Exception):
    """The study's own files are at fault."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


def _read(
    task: StudyTask, data_set: DataSet, tools: StudyTools, scratch: Path
) -> tuple[PreparedStudy, Cleaned, Sequence[CropCase]]:
    """Everything that is to be written; raises ``_Unreadable``, or OSError where ``scratch`` cannot be written."""
    try:
        volume = standard_format(data_set.read(task.study, scratch))
        levels = volume if volume.labels is not None else _found(volume, tools.finder)
        cleaned = clean(levels, tools.preprocess)
        record = task.record()
        cases: Sequence[CropCase] = ()
        if levels.labels is not None:
            about = (task.data_set, tools.crops)
            cases = study_crops(levels, levels.labels, record.fractures, record.kinds, about)
        return _described(record, volume, cleaned, task.study.images), cleaned, cases
    except DataSetError as error:
        raise _Unreadable(*error.problems) from error
    except (UnusableVolume, PredictorOutOfMemory) as error:
        raise _Unreadable(f"{task.called}: {error}") from error
    except MemoryError as error:
        raise _Unreadable(f"{task.called} needs more memory than is free: run with fewer processes") from error
    except OSError as error:
        if _is_full(error):
            raise
        reason = error.strerror or type(error).__name__
        raise _Unreadable(f"{task.called}: {error.filename or 'a file'} cannot be read: {reason}") from error


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error: libraries raise others in its place."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def _found(volume: LabeledVolume, finder: LevelFinder | None) -> LabeledVolume:
    """The volume with the levels that a bundle finds."""
    if finder is None:
        return volume
    found = finder.find(volume.hu, volume.spacing_mm)
    return replace(volume, labels=found.labels, limitations=(*volume.limitations, *found.limitations))


def _described(record: PreparedStudy, volume: LabeledVolume, cleaned: Cleaned, images: Sequence[Path]) -> PreparedStudy:
    """The whole record of a study; ``volume`` as it was read."""
    field = cleaned.prepared.field
    return replace(
        record,
        labels=cleaned.labels is not None,
        own_labels=volume.labels is not None,
        lesions=volume.lesion is not None,
        limitations=tuple(limitation.name for limitation in cleaned.limitations),
        spacing_mm=volume.spacing_mm,
        files_sha256=files_hash(images),
        field_sha256=field_hash(field),
        fingerprint=fingerprint(field).tobytes().hex(),
    )


def files_hash(paths: Sequence[Path]) -> str:
    """SHA-256 of the contents of files, whatever they are called and in whatever order; "" of none."""
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest() if digests else ""


def _write(folder: Path, record: PreparedStudy, cleaned: Cleaned, cases: Sequence[CropCase]) -> float:
    """Write the study, its record last; returns how many MB it takes."""
    write_field(folder, record.name, cleaned.prepared.field, cleaned.labels)
    crops = folder / CROPS / f"{record.name}.npz"
    if cases:
        write_whole(folder, crops, lambda part: write_shard(part, cases))
    else:
        crops.unlink(missing_ok=True)
    write_study(folder, record)
    written = [path for part in folder.iterdir() if part.is_dir() for path in part.glob(f"{record.name}.*")]
    return sum(path.stat().st_size for path in written) / 1e6


def _peak_mb() -> float:
    kilobytes = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return kilobytes / 1024
