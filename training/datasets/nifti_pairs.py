"""Folders of NIfTI CT volumes with masks of their vertebrae: VerSe, CTSpine1K, TotalSegmentator.

Files are found by their names anywhere below the folder, as the data sets come::

    VerSe              */sub-verse004_ct.nii.gz     */sub-verse004_seg-vert_msk.nii.gz
    CTSpine1K          */liver_0.nii.gz             */liver_0_seg.nii.gz
    TotalSegmentator   s0004/ct.nii.gz              s0004/segmentations/vertebrae_C1.nii.gz ... _C7, or all classes in
                                                    one: s0004/segmentations.nii.gz (numbers of its version 2)

VerSe and CTSpine1K number C1 to C7 as 1 to 7 (then 8-19 T1-T12, 20-25 L1-L6, 28 T13). VerSe leaves vertebrae unlabeled
that the edge of the volume cuts. None of them names fractures or, but for VerSe's subjects, patients: tables can.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.hu_scale import HUScale, judge
from dicom_node.stacks import COARSE_MM, ROUNDING_MM
from model.findings import Limitation, Vertebra
from training.datasets.label_tables import Fractures, read_fractures, read_patients, strangers
from training.datasets.nifti import NiftiVolume, StandardGrid, open_nifti
from training.datasets.studies import DataSetError, LabeledStudy, LabeledVolume

SUFFIXES = (".nii.gz", ".nii")
NOT_BELOW_HU = -50
"""Every CT of a body has voxels of fat, lung or air below this."""
_CT, _MASK, _CTSPINE_MASK, _CLASSES = "_ct", "_seg-vert_msk", "_seg", "segmentations"


class NiftiLayout(StrEnum):
    """The names and numbers of a data set."""

    VERSE = "verse"
    CTSPINE1K = "ctspine1k"
    TOTALSEGMENTATOR = "totalsegmentator"

    @property
    def numbers(self) -> Mapping[int, int]:
        """Our label of each number of a mask that stands for a cervical level."""
        if self is NiftiLayout.TOTALSEGMENTATOR:
            return {51 - level: int(level) for level in Vertebra}
        return {int(level): int(level) for level in Vertebra}


@dataclass(frozen=True, slots=True)
class NiftiDataSet:
    """Pairs in one folder.

    ``fractures`` and ``patients`` are tables (`label_tables.py`); without the latter each study is a patient of
    its own, in VerSe each subject.
    """

    folder: Path
    layout: NiftiLayout
    name: str
    site: str = ""
    fractures: Path | None = None
    patients: Path | None = None
    leave_out: frozenset[str] = frozenset()

    def studies(self) -> Sequence[LabeledStudy]:
        """All studies in the order of their keys; ``DataSetError`` where files, headers and tables do not fit."""
        volumes, masks, problems = self._files()
        fractures = read_fractures(self.fractures) if self.fractures else {}
        patients = read_patients(self.patients) if self.patients else {}
        for table, listed in ((self.fractures, fractures.keys()), (self.patients, patients.keys())):
            if table is not None:
                problems += strangers(table, listed - self.leave_out, volumes)
        problems += [
            f"{masks[key]} has no CT beside it: add the CT, or name {key!r} in leave_out"
            for key in masks.keys() - volumes.keys()
        ]
        for key, path in volumes.items():
            problems += self._problems(key, path, masks.get(key), labeled=key in fractures)
            if self.patients and key not in patients:
                problems.append(f"{self.patients} has no patient of study {key!r}: add a line for it")
        if not volumes and not problems:
            problems.append(f"{self.folder} has no CT named as in {self.layout}: check folder and layout")
        if problems:
            raise DataSetError(*sorted(problems))
        return [
            self._study(key, path, masks.get(key), fractures.get(key, {}), patients.get(key))
            for key, path in sorted(volumes.items())
        ]

    def read(self, study: LabeledStudy, scratch: Path) -> LabeledVolume:  # noqa: ARG002  (nothing is unpacked)
        """Read one study; ``DataSetError`` when a file is corrupt or the values are no HU."""
        volume = open_nifti(study.images[0])
        hu = volume.read_hu()
        limitations = _limitations(volume, hu)
        labels = None if study.mask is None else self._labels(study.mask, volume.grid)
        return LabeledVolume(hu, volume.grid.spacing_mm, labels, limitations=limitations)

    def _study(
        self, key: str, path: Path, mask: Path | None, fractures: Fractures, patient: str | None
    ) -> LabeledStudy:
        own = key.split("_", maxsplit=1)[0] if self.layout is NiftiLayout.VERSE else key
        return LabeledStudy(key, patient or own, (path,), fractures, site=self.site, mask=mask)

    def _files(self) -> tuple[dict[str, Path], dict[str, Path], list[str]]:
        """CT volumes and masks by key, and a problem for each that has the name of another."""
        if not self.folder.is_dir():
            raise DataSetError(f"{self.folder} is missing: name the folder of the data set")
        volumes: dict[str, Path] = {}
        masks: dict[str, Path] = {}
        problems = []
        for path in sorted(self.folder.rglob("*")):
            found = self._role(path)
            if found is None or found[0] in self.leave_out:
                continue
            key, is_mask = found
            known = masks if is_mask else volumes
            if key in known:
                problems.append(f"{path} has the name of {known[key]}: two studies cannot be told apart; move one away")
            known.setdefault(key, path)
        return volumes, masks, problems

    def _role(self, path: Path) -> tuple[str, bool] | None:
        """The key of a file and whether it is a mask; None where it is neither mask nor CT."""
        if self.layout is NiftiLayout.TOTALSEGMENTATOR:
            if path.parent.name == _CLASSES:
                return None
            name = path.name if path.is_dir() else _stem(path)
            return (path.parent.name, name == _CLASSES) if name in {"ct", _CLASSES} else None
        stem = _stem(path)
        if not stem:
            return None
        if self.layout is NiftiLayout.VERSE:
            for ending in (_CT, _MASK):
                if stem.endswith(ending):
                    return stem.removesuffix(ending), ending == _MASK
            return None
        return stem.removesuffix(_CTSPINE_MASK), stem.endswith(_CTSPINE_MASK)

    def _problems(self, key: str, path: Path, mask: Path | None, *, labeled: bool) -> list[str]:
        """What is wrong with one study as far as headers tell."""
        problems = []
        if mask is None and not labeled:
            told = "no mask beside it and no line in a table of fractures: add one, or name"
            problems.append(f"{path} has {told} {key!r} in leave_out")
        try:
            grid = open_nifti(path).grid
            for _ in () if mask is None else self._masks(mask, grid):
                pass
        except DataSetError as error:
            problems += error.problems
        return problems

    def _masks(self, path: Path, grid: StandardGrid) -> Iterator[tuple[NiftiVolume, Mapping[int, int]]]:
        """The files of a mask, checked, each with our labels of its numbers."""
        for file, numbers in self._mask_files(path):
            volume = open_nifti(file)
            difference = grid.difference(volume.grid)
            if difference:
                raise DataSetError(
                    f"{file} is a mask of another geometry ({difference}) than its CT: get both again, or name the "
                    "study in leave_out"
                )
            yield volume, numbers

    def _mask_files(self, path: Path) -> Iterable[tuple[Path, Mapping[int, int]]]:
        """The files of a mask: itself, or one for each level."""
        if not path.is_dir():
            return [(path, self.layout.numbers)]
        files = []
        for level in Vertebra:
            found = [path / f"vertebrae_{level.name}{suffix}" for suffix in SUFFIXES]
            present = [file for file in found if file.is_file()]
            if not present:
                raise DataSetError(f"{found[0]} is missing: unpack the whole case")
            files.append((present[0], {1: int(level)}))
        return files

    def _labels(self, path: Path, grid: StandardGrid) -> NDArray[np.uint8]:
        """The mask on the grid of its CT; files of single levels are read one after the other."""
        labels = np.zeros(grid.shape, dtype=np.uint8)
        for volume, numbers in self._masks(path, grid):
            np.maximum(labels, volume.read_labels(numbers), out=labels)
        return labels


def _stem(path: Path) -> str:
    """The name of a NIfTI file without its suffix; empty for other files."""
    for suffix in SUFFIXES:
        if path.name.endswith(suffix) and path.is_file():
            return path.name.removesuffix(suffix)
    return ""


def _limitations(volume: NiftiVolume, hu: NDArray[np.int16]) -> tuple[Limitation, ...]:
    """What serving would say of this volume; ``DataSetError`` where its values cannot be HU.

    Volumes cropped to the spine may have no air: they are doubtful here, where serving would refuse them.
    """
    if int(hu.min()) > NOT_BELOW_HU:
        raise DataSetError(
            f"{volume.path} holds no HU (no value below {NOT_BELOW_HU}): convert it from DICOM again with its rescale"
        )
    slice_mm, *pixel_mm = volume.grid.spacing_mm
    found = {
        Limitation.HU_SCALE: judge(hu) is not HUScale.PLAUSIBLE,
        Limitation.THICK_SLICES: slice_mm > COARSE_MM + ROUNDING_MM,
        Limitation.COARSE_PIXELS: max(pixel_mm) > COARSE_MM + ROUNDING_MM,
    }
    return tuple(limitation for limitation, holds in found.items() if holds)
