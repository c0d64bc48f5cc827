"""The studies of one split of a prepared folder, read again as they came: one row for each data set.

What is measured is what a hospital sends: the volume from its source, not the prepared field. The truth is that of the
prepared folder, which training used too.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.findings import Vertebra
from training.datasets.studies import DataSet, DataSetError, LabeledStudy
from training.evaluation.evaluate import StudySet
from training.evaluation.study_result import StudyResult
from training.evaluation.surface import Spacing
from training.preparation.prepared import Prepared, PreparedStudy, Split, study_name


@dataclass(frozen=True, slots=True)
class ReadStudy:
    """One study of a prepared folder with its volume, as ``training.evaluation.judging`` takes studies."""

    name: str
    patient: str
    site: str
    fractures: Mapping[Vertebra, bool]
    kinds: Mapping[Vertebra, str]
    hu: NDArray[np.int16]
    spacing_mm: Spacing
    labels: NDArray[np.uint8] | None
    lesion: NDArray[np.bool_] | None


def prepared_rows(
    prepared: Prepared, sources: Sequence[DataSet], split: Split, done: Mapping[str, StudyResult]
) -> list[StudySet]:
    """One set for each data set of the split, in order of their names; studies that are ``done`` are not read again.

    Raises ``DataSetError`` when the split is empty, or a study is in no source any more.
    """
    wanted = prepared.of(split)
    if not wanted:
        raise DataSetError(f"{prepared.folder}: the {split} split is empty: prepare with a greater share for it")
    places = {study_name(source.name, study.key): (source, study) for source in sources for study in source.studies()}
    gone = [study for study in wanted if study.name not in places]
    if gone:
        problems = [
            f"{one.name} is gone from its source {one.data_set}: bring it back or prepare again" for one in gone
        ]
        raise DataSetError(*problems)
    return [
        _row([one for one in wanted if one.data_set == name], places, split, done)
        for name in sorted({one.data_set for one in wanted})
    ]


def _row(
    wanted: Sequence[PreparedStudy],
    places: Mapping[str, tuple[DataSet, LabeledStudy]],
    split: Split,
    done: Mapping[str, StudyResult],
) -> StudySet:
    masked = sum(one.own_labels for one in wanted)
    broken = sum(any(one.fractures.values()) for one in wanted)
    what = (
        f"the {split} split of a prepared folder: {len(wanted)} studies of {len({one.patient for one in wanted})} "
        f"patients, {broken} with a fracture, {masked} with masks of their levels"
    )
    waiting = [one for one in wanted if one.name not in done]
    earlier = tuple(done[one.name] for one in wanted if one.name in done)
    studies = _read_all(waiting, places)
    return StudySet(wanted[0].data_set, what, f"split {split}", len(waiting), studies, earlier=earlier)


def _read_all(
    wanted: Sequence[PreparedStudy], places: Mapping[str, tuple[DataSet, LabeledStudy]]
) -> Iterator[ReadStudy]:
    """Read the studies one by one."""
    for one in wanted:
        source, study = places[one.name]
        with tempfile.TemporaryDirectory(prefix="cspine-evaluate-") as scratch:
            volume = source.read(study, Path(scratch))
            yield ReadStudy(
                one.name,
                one.patient,
                one.site,
                one.fractures,
                one.kinds,
                volume.hu,
                volume.spacing_mm,
                volume.labels,
                volume.lesion,
            )
