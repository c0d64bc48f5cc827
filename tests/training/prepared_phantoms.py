"""A prepared folder whose studies are small stacks of bars, and the data set that they are read from."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from model.crops import CropConfig
from model.findings import Vertebra
from model.preprocess import PreprocessConfig
from tests.training.scripted_predictor import SPACING_MM, stack
from training.datasets.studies import DataSetError, LabeledStudy, LabeledVolume
from training.preparation.prepared import Prepared, PreparedStudy, Split, begin, read_prepared, study_name, write_study
from training.synthesis.fractures import FractureKind

INTACT = dict.fromkeys(Vertebra, False)


def key_of(hu: np.ndarray) -> int:
    """Which study a volume is: its first voxel says so."""
    return int(hu[0, 0, 0]) - 100


@dataclass
class BarDataSet:
    """Studies of bars, numbered; ``broken`` maps numbers to their broken levels, ``masked`` have masks."""

    name: str
    count: int
    broken: dict[int, tuple[Vertebra, ...]] = field(default_factory=dict)
    masked: bool = True
    missing: frozenset[int] = frozenset()
    reads: list[str] = field(default_factory=list)

    def studies(self):
        return [LabeledStudy(str(number), f"patient {number}", ()) for number in range(self.count)]

    def read(self, study: LabeledStudy, scratch: Path) -> LabeledVolume:
        assert not any(scratch.iterdir())
        number = int(study.key)
        self.reads.append(study.key)
        if number in self.missing:
            raise DataSetError(f"{self.name}/{study.key}: the files are gone")
        phantom = stack(kinds=dict.fromkeys(self.broken.get(number, ()), FractureKind.LAMINA))
        hu = phantom.hu.copy()
        hu[0, 0, 0] = 100 + number
        labels, lesion = (phantom.labels, phantom.fracture) if self.masked else (None, None)
        return LabeledVolume(hu, SPACING_MM, labels, lesion)


def prepare_bars(folder: Path, *data_sets: BarDataSet, split: Split = Split.TEST) -> Prepared:
    """Write the records of all studies of some data sets into one split, and read the folder."""
    begin(folder, PreprocessConfig(), CropConfig())
    for data_set in data_sets:
        for study in data_set.studies():
            broken = data_set.broken.get(int(study.key), ())
            write_study(
                folder,
                PreparedStudy(
                    study_name(data_set.name, study.key),
                    data_set.name,
                    f"site {int(study.key) % 2}",
                    f"{data_set.name} {study.key}",
                    split,
                    INTACT | dict.fromkeys(broken, True),
                    dict.fromkeys(broken, "lamina"),
                    labels=data_set.masked,
                    own_labels=data_set.masked,
                ),
            )
    return read_prepared(folder)
