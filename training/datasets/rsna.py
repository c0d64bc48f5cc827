"""RSNA 2022 Cervical Spine Fracture Detection, as downloaded: labels, boxes, DICOM slices and NIfTI masks.

::

    FOLDER/train.csv                             StudyInstanceUID, patient_overall, C1..C7
           train_bounding_boxes.csv              StudyInstanceUID, x, y, width, height, slice_number (may be missing)
           train_images/<study>/<number>.dcm
           segmentations/<study>.nii             for some studies; labels 1-7 are C1-C7, T1 and below are left out

The data set names no patients: each study counts as one. Slices are put in order by their position, never by their
number; masks lie on them by their affine and boxes by the position of the slice that they were drawn on. A box says
where a level is broken, not which: its voxels are a lesion where they are on the bone of a fractured level, or all of
them where the study has no mask.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.header import is_uid
from dicom_node.series import CTSeries
from model.findings import Vertebra
from training.datasets.dicom_volume import mask_to_standard, read_ct, read_header, standard_grid
from training.datasets.label_tables import Fractures, read_fractures, read_rows, strangers
from training.datasets.nifti import open_nifti
from training.datasets.studies import DataSetError, LabeledStudy, LabeledVolume

LABELS, BOXES = "train.csv", "train_bounding_boxes.csv"
IMAGES, MASKS = "train_images", "segmentations"
STUDY = "StudyInstanceUID"
OVERALL = "patient_overall"
MASK_NUMBERS = {int(level): int(level) for level in Vertebra}
"""A mask's numbers are our labels."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box on one slice: first pixel (row, column) and the one behind the last."""

    number: str
    start: tuple[int, int]
    stop: tuple[int, int]


@dataclass(frozen=True)
class RsnaDataSet:
    """The training part of the data set; ``leave_out`` names studies that are not to be used."""

    folder: Path
    name: str = "rsna"
    site: str = ""
    leave_out: frozenset[str] = frozenset()

    def studies(self) -> Sequence[LabeledStudy]:
        """All studies in the order of their UIDs; ``DataSetError`` where tables and folders do not fit together."""
        fractures = read_fractures(self.folder / LABELS, STUDY, complete=True)
        problems = self._contradictions(fractures)
        files = self._files()
        known = fractures.keys() - self.leave_out
        problems += strangers(self.folder / LABELS, known, files)
        images = self.folder / IMAGES
        problems += [
            f"{images / key} has no label in {LABELS}: add its row, or name it in leave_out"
            for key in files.keys() - known
        ]
        problems += [f"{images / key} has no .dcm file: download it again" for key, paths in files.items() if not paths]
        problems += self._box_problems(files) + self._mask_problems(files)
        if not files and not problems:
            problems.append(f"{images} has no study: unpack the data set there")
        if problems:
            raise DataSetError(*sorted(problems))
        return [self._study(key, paths, fractures[key]) for key, paths in sorted(files.items())]

    def read(self, study: LabeledStudy, scratch: Path) -> LabeledVolume:
        """Read one study; ``DataSetError`` when its files are broken or its mask lies elsewhere."""
        series = read_ct(study.images, scratch)
        hu, spacing_mm = series.to_standard()
        labels = None if study.mask is None else _labels(study.mask, series)
        lesion = self._lesion(study, series, labels)
        return LabeledVolume(hu, spacing_mm, labels, lesion, series.warnings)

    def _study(self, key: str, paths: tuple[Path, ...], fractures: Fractures) -> LabeledStudy:
        return LabeledStudy(key, key, paths, fractures, site=self.site, mask=self._masks.get(key))

    def _files(self) -> dict[str, tuple[Path, ...]]:
        """The slices of each study that is not left out."""
        folder = self.folder / IMAGES
        if not folder.is_dir():
            raise DataSetError(f"{folder} is missing: unpack the data set into {self.folder}")
        studies = (path for path in folder.iterdir() if path.is_dir() and path.name not in self.leave_out)
        return {path.name: tuple(sorted(path.glob("*.dcm"))) for path in studies}

    @cached_property
    def _masks(self) -> dict[str, Path]:
        folder = self.folder / MASKS
        found = [*folder.glob("*.nii"), *folder.glob("*.nii.gz")]
        return {path.name.removesuffix(".gz").removesuffix(".nii"): path for path in found}

    def _contradictions(self, fractures: dict[str, Fractures]) -> list[str]:
        """Rows whose overall label is not that of their levels, and keys that are no UID."""
        path = self.folder / LABELS
        problems = [
            f"{path}: {key!r} is no Study Instance UID: correct the row" for key in fractures if not is_uid(key)
        ]
        for line, row in read_rows(path, (STUDY, OVERALL)):
            any_level = any(fractures[row[STUDY]].values())
            if row[STUDY] not in self.leave_out and row[OVERALL] != str(int(any_level)):
                told = f"{OVERALL} is {row[OVERALL]!r}, but {'a' if any_level else 'no'} level is fractured"
                problems.append(f"{path}, line {line}: {told}: correct the row, or name the study in leave_out")
        return problems

    @cached_property
    def _boxes(self) -> dict[str, list[Box]]:
        """The boxes of each study; ``DataSetError`` for one that is no box."""
        path = self.folder / BOXES
        boxes: dict[str, list[Box]] = {}
        problems = []
        columns = (STUDY, "x", "y", "width", "height", "slice_number")
        for line, row in read_rows(path, columns) if path.exists() else []:
            try:
                x, y, width, height = (float(row[column]) for column in columns[1:5])
                start = (math.floor(y), math.floor(x))
                stop = (math.ceil(y + height), math.ceil(x + width))
            except (ValueError, OverflowError):
                start, stop = (0, 0), (-1, -1)
            if min(start) < 0 or stop[0] <= start[0] or stop[1] <= start[1]:
                problems.append(f"{path}, line {line}: x, y, width and height are no box: correct or remove the row")
            boxes.setdefault(row[STUDY], []).append(Box(row["slice_number"], start, stop))
        if problems:
            raise DataSetError(*problems)
        return boxes

    def _box_problems(self, files: dict[str, tuple[Path, ...]]) -> list[str]:
        """Boxes of studies or slices that are not there."""
        path = self.folder / BOXES
        problems = strangers(path, self._boxes.keys() - self.leave_out, files)
        for key in self._boxes.keys() & files.keys():
            missing = {box.number for box in self._boxes[key]} - {file.stem for file in files[key]}
            problems += [
                f"{path}: a box is on slice {number!r} of study {key}, which has no such file: remove the row"
                for number in missing
            ]
        return problems

    def _mask_problems(self, files: dict[str, tuple[Path, ...]]) -> list[str]:
        """Masks without a study, masks that are no NIfTI, and masks of another matrix than their first slice."""
        problems = []
        for key, path in sorted(self._masks.items()):
            if key not in files:
                if key not in self.leave_out:
                    problems.append(f"{path} belongs to no study in {IMAGES}: remove it, or add the study's slices")
                continue
            try:
                shape = open_nifti(path).grid.shape
                first = read_header(files[key][0], "Rows", "Columns") if files[key] else None
            except DataSetError as error:
                problems += error.problems
                continue
            if first is not None:
                wanted = (len(files[key]), first.get("Rows"), first.get("Columns"))
                if shape != wanted:
                    problems.append(f"{path} {_elsewhere(f'{shape} voxels, its slices are {wanted}')}")
        return problems

    def _lesion(
        self, study: LabeledStudy, series: CTSeries, labels: NDArray[np.uint8] | None
    ) -> NDArray[np.bool_] | None:
        """The voxels of the study's boxes; None where it has none, or none that lies on a fractured level."""
        boxes = self._boxes.get(study.key, [])
        if not boxes:
            return None
        files = {path.stem: path for path in study.images}
        slices = {str(header.SOPInstanceUID): index for index, header in enumerate(series.headers)}
        native = np.zeros(series.hu.shape, dtype=np.uint8)
        for box in boxes:
            uid = read_header(files[box.number], "SOPInstanceUID").get("SOPInstanceUID")
            index = slices.get(str(uid))
            if index is None:
                raise DataSetError(f"{files[box.number]} has a box but is no slice of the volume: remove its boxes")
            native[index, box.start[0] : box.stop[0], box.start[1] : box.stop[1]] = 1
        lesion = mask_to_standard(series, native).astype(bool)
        if labels is not None:
            lesion &= np.isin(labels, [level for level, fractured in study.fractures.items() if fractured])
        return lesion if lesion.any() else None


def _labels(path: Path, series: CTSeries) -> NDArray[np.uint8]:
    """The mask of a study on the grid of its CT; ``DataSetError`` where it lies elsewhere."""
    mask = open_nifti(path)
    difference = standard_grid(series).difference(mask.grid)
    if difference:
        raise DataSetError(f"{path} {_elsewhere(difference)}")
    return mask.read_labels(MASK_NUMBERS)


def _elsewhere(difference: str) -> str:
    return f"is a mask of another geometry ({difference}): remove it, or name its study in leave_out"
