"""The folder that ``prepare`` makes and every other command reads: what came of each study, as plain arrays.

::

    FOLDER/prepared.json             format, preprocessing version, settings of crops and levels
           studies/<name>.json       a study: where it comes from, patient, truth, split (one file each, written last)
           fields/<name>.npz         ``field`` (slice, row, column) float16 and ``labels`` uint8 at network spacing
           crops/<name>.npz          the crops of its levels with known truth (``training.crop_sampler``)

``name`` is ``<data set>-<16 hexadecimal digits>``: it names no patient. A study's record is written when everything
else of it is there, so that preparation that was interrupted goes on with the next study.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.crops import CropConfig
from model.findings import Vertebra
from model.preprocess import PREPROCESS_VERSION, PreprocessConfig
from training.studies import DataSetError, LabeledStudy

FORMAT = "cspine prepared 1"
INDEX_FILE = "prepared.json"
STUDIES, FIELDS, CROPS = "studies", "fields", "crops"
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
        """The volume and levels of a study."""
        return self.folder / FIELDS / f"{study.name}.npz"

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


def begin(folder: Path, preprocess: PreprocessConfig, crops: CropConfig) -> None:
    """Make the folder, or go on with one that has the same settings; else ``DataSetError``."""
    for part in (STUDIES, FIELDS, CROPS):
        (folder / part).mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "preprocess_version": PREPROCESS_VERSION,
        "preprocess": asdict(preprocess),
        "crops": asdict(crops),
    }
    index = folder / INDEX_FILE
    if index.is_file() and json.loads(index.read_text(encoding="utf-8")) != content:
        raise DataSetError(f"{folder} was prepared with other settings: name another folder or remove it")
    index.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def write_field(folder: Path, name: str, values: NDArray[np.float32], labels: NDArray[np.uint8] | None) -> None:
    """Write the volume (normalized) and levels of a study at network spacing."""
    arrays: dict[str, Any] = {"field": values.astype(np.float16)}
    if labels is not None:
        arrays["labels"] = labels
    np.savez(folder / FIELDS / f"{name}.npz", **arrays)


def read_field(path: Path) -> tuple[NDArray[np.float16], NDArray[np.uint8] | None]:
    """The volume (normalized; slice, row, column) and levels of a study; no levels where there are none."""
    with np.load(path, allow_pickle=False) as stored:
        return stored["field"], stored["labels"] if "labels" in stored.files else None


def write_study(folder: Path, study: PreparedStudy) -> None:
    """Write the record of a study, whole or not at all; everything else of it must be there."""
    content = asdict(study) | {name: {level.name: value for level, value in getattr(study, name).items()}
                               for name in ("fractures", "kinds")}  # fmt: skip
    path = folder / STUDIES / f"{study.name}.json"
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)


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
