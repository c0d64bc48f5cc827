"""The folder that ``prepare`` makes and every other command reads: what came of each study, as plain arrays.

::

    FOLDER/prepared.json             format, preprocessing version, settings of crops and levels
           config.toml               the settings of ``prepare``, with its sources
           split.csv                 which study is for what, for a person to read and change
           studies/<name>.json       a study: where it comes from, patient, truth, split (one file each, written last)
           fields/<name>.npy         the volume at network spacing, normalized, float32, exactly as serving computes it
           fields/<name>.labels.npy  its levels (uint8)
           crops/<name>.npz          the crops of its levels with known truth (``training.fitting.crop_sampler``)
           unfinished/               what is being written; a file moves to its place when it is whole

``name`` is ``<data set>-<16 hexadecimal digits>``: it names no patient. A study's record is written when everything
else of it is there, so that preparation that was interrupted goes on with the next study. Arrays of ``fields`` lie on
the disk sagittal slice by sagittal slice, so that a mapped one gives a few slices without reading the others.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.crops import CropConfig
from model.findings import Vertebra
from model.preprocess import PREPROCESS_VERSION, PreprocessConfig
from training.datasets.studies import DataSetError, LabeledStudy

FORMAT = "cspine prepared 1"
INDEX_FILE = "prepared.json"
STUDIES, FIELDS, CROPS, UNFINISHED = "studies", "fields", "crops", "unfinished"
_NAME = re.compile(r"[a-z0-9-]{1,64}")


class Split(StrEnum):
    """What a study is for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class PreparedStudy:
    """The record of one study.

    ``patient`` is a hash. ``fractures`` holds the levels whose truth is known. ``own_labels``: the levels' mask came
    with the data; else, where ``labels`` is true, a bundle made it. ``lesions``: fractured voxels are marked.
    ``limitations`` are names of ``model.findings.Limitation``. ``files_sha256``, ``field_sha256`` and ``fingerprint``
    (hexadecimal) are what ``training.preparation.leakage`` compares; "" is compared with nothing.
    """

    name: str
    data_set: str
    site: str
    patient: str
    split: Split
    fractures: Mapping[Vertebra, bool]
    kinds: Mapping[Vertebra, str] = field(default_factory=dict)
    labels: bool = False
    own_labels: bool = False
    lesions: bool = False
    limitations: tuple[str, ...] = ()
    spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    files_sha256: str = ""
    field_sha256: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared folder: its settings and its studies, in order of their names."""

    folder: Path
    preprocess: PreprocessConfig
    crops: CropConfig
    studies: tuple[PreparedStudy, ...]

    def of(self, *splits: Split) -> tuple[PreparedStudy, ...]:
        """The studies of some splits."""
        return tuple(study for study in self.studies if study.split in splits)

    def field_file(self, study: PreparedStudy) -> Path:
        """The volume of a study; ``read_field`` finds its levels beside it."""
        return self.folder / FIELDS / f"{study.name}.npy"

    def crop_files(self, *splits: Split) -> list[Path]:
        """The crops of some splits; studies without a known level have none."""
        files = [self.folder / CROPS / f"{study.name}.npz" for study in self.of(*splits)]
        return [path for path in files if path.is_file()]


def study_name(data_set: str, key: str) -> str:
    """The name of a study in a prepared folder: that of its data set and a hash of its own."""
    row = re.sub(r"[^a-z0-9]+", "-", data_set.lower()).strip("-")[:40] or "data"
    return f"{row}-{hashlib.sha256(f'{data_set}/{key}'.encode()).hexdigest()[:16]}"


def patient_hash(data_set: str, study: LabeledStudy) -> str:
    """What stands for a patient: the same for all of their studies in one data set."""
    return hashlib.sha256(f"{data_set}/{study.patient}".encode()).hexdigest()[:16]


def begin(folder: Path, preprocess: PreprocessConfig, crops: CropConfig, found_by: str = "") -> None:
    """Make the folder, or go on with one that has the same settings; else ``DataSetError``.

    ``found_by``: SHA-256 of the bundle that finds the levels of studies without a mask; "" when none does.
    """
    content = {
        "format": FORMAT,
        "preprocess_version": PREPROCESS_VERSION,
        "preprocess": asdict(preprocess),
        "crops": asdict(crops),
        "levels_found_by": found_by,
    }
    index = folder / INDEX_FILE
    if index.is_file() and json.loads(index.read_text(encoding="utf-8")) != content:
        raise DataSetError(f"{folder} was prepared with other settings or another bundle: name another folder")
    if not index.is_file() and folder.is_dir() and any(folder.iterdir()):
        raise DataSetError(f"{folder} is not empty and no prepared folder: name another folder")
    for part in (STUDIES, FIELDS, CROPS, UNFINISHED):
        (folder / part).mkdir(parents=True, exist_ok=True)
    _write_json(folder, index, content)


def write_whole(folder: Path, path: Path, write: Callable[[Path], object]) -> None:
    """Write a file of a prepared folder whole or not at all: ``write`` gets the path of an unfinished one."""
    part = folder / UNFINISHED / path.name
    try:
        write(part)
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_field(folder: Path, name: str, values: NDArray[np.float32], labels: NDArray[np.uint8] | None) -> None:
    """Write the volume (normalized) and levels of a study at network spacing: arrays (slice, row, column)."""
    path = folder / FIELDS / f"{name}.npy"
    for file, array in ((path, values), (_labels_file(path), labels)):
        if array is not None:
            write_whole(folder, file, partial(_save_by_column, array))
        else:
            file.unlink(missing_ok=True)


def _save_by_column(array: NDArray[Any], path: Path) -> None:
    turned = np.ascontiguousarray(array.transpose(2, 0, 1))
    with path.open("wb") as file:  # not np.save, which tells not why a disk takes no more
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(turned))
        file.write(turned.data)


def _labels_file(field_file: Path) -> Path:
    return field_file.with_suffix(".labels.npy")


def read_field(path: Path) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
    """The volume (normalized; slice, row, column) and levels of a study, mapped read-only; None where it has none."""
    values = np.load(path, mmap_mode="r", allow_pickle=False).transpose(1, 2, 0)
    labels = _labels_file(path)
    if not labels.is_file():
        return values, None
    return values, np.load(labels, mmap_mode="r", allow_pickle=False).transpose(1, 2, 0)


def field_hash(values: NDArray[np.float32]) -> str:
    """SHA-256 of a volume's shape and voxels."""
    digest = hashlib.sha256(repr(values.shape).encode())
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def write_study(folder: Path, study: PreparedStudy) -> None:
    """Write the record of a study, whole or not at all; everything else of it must be there."""
    content = asdict(study) | {name: {level.name: value for level, value in getattr(study, name).items()}
                               for name in ("fractures", "kinds")}  # fmt: skip
    _write_json(folder, study_file(folder, study.name), content)


def study_file(folder: Path, name: str) -> Path:
    """The record of a study."""
    return folder / STUDIES / f"{name}.json"


def keep_only(folder: Path, names: Collection[str]) -> None:
    """Put the records of all other studies aside, and bring back those of these that were put aside before."""
    for path in [*(folder / STUDIES).glob("*.json"), *(folder / STUDIES).glob("*.aside")]:
        path.replace(path.with_suffix(".json" if path.stem in names else ".aside"))


def _write_json(folder: Path, path: Path, content: object) -> None:
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    write_whole(folder, path, lambda part: part.write_text(text, encoding="utf-8"))


def read_prepared(folder: Path) -> Prepared:
    """A prepared folder; ``DataSetError`` when it is none, or of another version."""
    try:
        content = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataSetError(f"{folder} is no prepared folder: run `python -m training prepare` first") from error
    if content.get("format") != FORMAT or content.get("preprocess_version") != PREPROCESS_VERSION:
        raise DataSetError(f"{folder} was prepared by another version: prepare it again into a new folder")
    studies = tuple(_studies(folder))
    return Prepared(folder, PreprocessConfig(**content["preprocess"]), CropConfig(**content["crops"]), studies)


def _studies(folder: Path) -> Iterator[PreparedStudy]:
    for path in sorted((folder / STUDIES).glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["name"] != path.stem or not _NAME.fullmatch(path.stem):
            raise DataSetError(f"{path}: the study has another name than its file: prepare it again")
        content["split"] = Split(content["split"])
        for name in ("fractures", "kinds"):
            content[name] = {Vertebra[level]: value for level, value in content[name].items()}
        for name in ("limitations", "spacing_mm"):
            content[name] = tuple(content[name])
        yield PreparedStudy(**content)
