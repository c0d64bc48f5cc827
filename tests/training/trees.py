"""Folders in exactly the layouts of real data sets, made of one small anatomy that no flip or turn leaves as it is.

Every level has a value of its own, so that a mask and the CT beneath it can be told to fit voxel by voxel. Affines of
NIfTI files are written here by hand, by another way than the code that reads them.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from pydicom import Dataset

from model.findings import Vertebra
from training.synthesis.phantom_series import Encoding, Geometry, Identity, SeriesOptions, TransferSyntax, make_series

LOWEST = 8
"""T1, which data sets number and training leaves out."""

RSNA_KEYWORDS = frozenset(
    {
        "SOPInstanceUID",
        "ContentDate",
        "ContentTime",
        "PatientName",
        "PatientID",
        "SliceThickness",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "InstanceNumber",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "Rows",
        "Columns",
        "PixelSpacing",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "RescaleIntercept",
        "RescaleSlope",
        "PixelData",
    }
)
"""What is left of the instances of the RSNA data set: no SOP class, no modality, no frame of reference."""


def hu_of(level: int) -> int:
    """The value of a level's bone."""
    return 300 + 60 * level


@dataclass(frozen=True, eq=False, slots=True)
class SmallAnatomy:
    """C1 to T1 in the standard frame: ``labels`` 1..8 and the HU above them, which differ from voxel to voxel."""

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float] = (2.5, 1.5, 1.25)
    position_mm: tuple[float, float, float] = (-31.0, -47.0, 80.0)

    @property
    def cervical(self) -> NDArray[np.uint8]:
        """The labels that training uses."""
        return np.where(self.labels < LOWEST, self.labels, np.uint8(0))


def small_anatomy(seed: int = 0) -> SmallAnatomy:
    """An anatomy that is larger below, at the left and behind; other seeds have other sizes and another noise."""
    rng = np.random.default_rng(seed)
    shape = (26, 36, 40)
    s, r, c = np.ogrid[: shape[0], : shape[1], : shape[2]]
    body = ((r - 16.0) / 13) ** 2 + ((c - 21.0 - s * 0.1) / 15) ** 2 < 1
    hu = np.where(body, 40, -1000).astype(np.int16)
    hu[rng.random(shape) < 0.1] -= 15
    labels = np.zeros(shape, dtype=np.uint8)
    for level in range(1, LOWEST + 1):
        top, side = 1 + 3 * (level - 1), int(rng.integers(2, 5))
        here = (s >= top) & (s < top + 2) & (r >= 9) & (r < 13 + level // 2) & (c >= 17) & (c < 22 + side)
        left = (s == top + 1) & (r >= 14) & (r < 17) & (c >= 22) & (c < 27 + side)
        labels[here | left] = level
    bone = labels > 0
    hu[bone] = hu_of(0) + 60 * labels[bone].astype(np.int16)
    return SmallAnatomy(hu, labels)


@dataclass(frozen=True, slots=True)
class TreeBox:
    """A box around the pixels of one slice of the standard frame: rows and columns from start to stop."""

    index: int
    rows: tuple[int, int]
    columns: tuple[int, int]


@dataclass(frozen=True, eq=False, slots=True)
class TreeStudy:
    """One study of a tree: what it shows, what is said of it, and how its files are written."""

    key: str
    anatomy: SmallAnatomy = field(default_factory=small_anatomy)
    fractured: frozenset[Vertebra] = frozenset()
    mask: bool = True
    boxes: tuple[TreeBox, ...] = ()
    orientation: str = "FPL"
    transfer_syntax: TransferSyntax = TransferSyntax.EXPLICIT_LE
    mask_codes: tuple[str, str, str] = ("P", "I", "R")

    def options(self, patient_id: str = "P1") -> SeriesOptions:
        """How the study becomes DICOM: slices in an order of their own, numbered by chance."""
        geometry = Geometry(orientation=self.orientation, position_mm=self.anatomy.position_mm)
        identity = Identity(study=self.key, patient_id=patient_id)
        return SeriesOptions(geometry, Encoding(self.transfer_syntax), identity)

    def datasets(self, patient_id: str = "P1") -> tuple[Dataset, ...]:
        """The slices."""
        return make_series(self.anatomy.hu, self.anatomy.spacing_mm, self.options(patient_id))


def write_nifti(
    path: Path,
    standard: NDArray[np.generic],
    anatomy: SmallAnatomy,
    codes: tuple[str, str, str] = ("R", "A", "S"),
    moved_mm: float = 0.0,
) -> Path:
    """An array of the standard frame as NIfTI whose axes grow as ``codes`` say (nibabel's letters), perhaps moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    slice_mm, row_mm, column_mm = anatomy.spacing_mm
    left, posterior, head = anatomy.position_mm
    slices, rows, columns = standard.shape
    affine = np.diag([column_mm, row_mm, slice_mm, 1.0])
    affine[0, 3] = -(left + (columns - 1) * column_mm) + moved_mm
    affine[1, 3] = -(posterior + (rows - 1) * row_mm)
    affine[2, 3] = head - (slices - 1) * slice_mm
    canonical = nibabel.Nifti1Image(np.ascontiguousarray(standard.transpose(2, 1, 0)[::-1, ::-1, ::-1]), affine)
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(codes))
    nibabel.save(canonical.as_reoriented(turn), path)
    return path


def write_table(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    """A CSV table."""
    rows = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def level_cells(fractured: Iterable[Vertebra]) -> dict[str, object]:
    """The cells C1 to C7 of a table."""
    broken = set(fractured)
    return {level.name: int(level in broken) for level in Vertebra}


def rsna_uid(number: int) -> str:
    """A key as the RSNA data set has them."""
    return f"1.2.826.0.1.3680043.{number}"


def write_rsna(folder: Path, studies: Sequence[TreeStudy]) -> Path:
    """The layout of the RSNA 2022 data set as downloaded; returns its folder."""
    boxes = []
    for study in studies:
        numbers = _write_rsna_study(folder / "train_images" / study.key, study)
        boxes += [_box_row(study, box, numbers) for box in study.boxes]
        if study.mask:
            write_nifti(
                folder / "segmentations" / f"{study.key}.nii", study.anatomy.labels, study.anatomy, study.mask_codes
            )
    write_table(
        folder / "train.csv",
        [
            {"StudyInstanceUID": study.key, "patient_overall": int(bool(study.fractured))}
            | level_cells(study.fractured)
            for study in studies
        ],
    )
    if boxes:
        write_table(folder / "train_bounding_boxes.csv", boxes)
    return folder


def _write_rsna_study(folder: Path, study: TreeStudy) -> dict[int, int]:
    """The slices of one study; returns the file's number of each slice of the standard frame."""
    folder.mkdir(parents=True)
    numbers = {}
    for dataset in study.datasets():
        for keyword in [element.keyword for element in dataset if element.keyword not in RSNA_KEYWORDS]:
            delattr(dataset, keyword)
        dataset.StudyInstanceUID = study.key
        dataset.SeriesInstanceUID = f"{study.key}.1"
        dataset.preamble = bytes(128)
        dataset.save_as(folder / f"{dataset.InstanceNumber}.dcm", enforce_file_format=False)
        below = study.anatomy.position_mm[2] - float(dataset.ImagePositionPatient[2])
        numbers[round(below / study.anatomy.spacing_mm[0])] = int(dataset.InstanceNumber)
    return numbers


def _box_row(study: TreeStudy, box: TreeBox, numbers: Mapping[int, int]) -> dict[str, object]:
    """A row of the table of boxes, in pixels of the slice as it is stored."""
    _, rows, columns = study.anatomy.hu.shape
    x, y = box.columns[0], box.rows[0]
    if study.orientation[2] == "R":
        x = columns - box.columns[1]
    if study.orientation[1] == "A":
        y = rows - box.rows[1]
    size = {"width": box.columns[1] - box.columns[0], "height": box.rows[1] - box.rows[0]}
    return {"StudyInstanceUID": study.key, "x": x, "y": y} | size | {"slice_number": numbers[box.index]}


def write_verse(folder: Path, studies: Sequence[TreeStudy], codes: tuple[str, str, str] = ("L", "A", "S")) -> Path:
    """The layout of VerSe 2020; keys are like ``sub-verse004`` or ``sub-gl003_dir-ax``."""
    for study in studies:
        subject = study.key.split("_")[0]
        ct = folder / "dataset-01training" / "rawdata" / subject / f"{study.key}_ct.nii.gz"
        write_nifti(ct, study.anatomy.hu, study.anatomy, codes)
        if study.mask:
            mask = folder / "dataset-01training" / "derivatives" / subject / f"{study.key}_seg-vert_msk.nii.gz"
            write_nifti(mask, study.anatomy.labels, study.anatomy, study.mask_codes)
            mask.with_name(f"{study.key}_seg-subreg_ctd.json").write_text("[]")
    return folder


def write_ctspine1k(folder: Path, studies: Sequence[TreeStudy], subset: str = "liver") -> Path:
    """The layout of CTSpine1K."""
    for study in studies:
        write_nifti(folder / "volumes" / subset / f"{study.key}.nii.gz", study.anatomy.hu, study.anatomy)
        if study.mask:
            path = folder / "labels" / subset / f"{study.key}_seg.nii.gz"
            write_nifti(path, study.anatomy.labels, study.anatomy, study.mask_codes)
    return folder


def write_totalsegmentator(folder: Path, studies: Sequence[TreeStudy], *, one_file: bool = False) -> Path:
    """The layout of TotalSegmentator's data set, a file each class, or its output with all classes in one file."""
    names = [*(level.name for level in Vertebra), "T1"]
    for study in studies:
        anatomy, case = study.anatomy, folder / study.key
        write_nifti(case / "ct.nii.gz", anatomy.hu, anatomy)
        if one_file:
            numbers = np.where(anatomy.labels > 0, np.uint8(51) - anatomy.labels, np.uint8(0))
            write_nifti(case / "segmentations.nii.gz", numbers, anatomy, study.mask_codes)
            continue
        for number, name in enumerate(names, start=1):
            mask = (anatomy.labels == number).astype(np.uint8)
            write_nifti(case / "segmentations" / f"vertebrae_{name}.nii.gz", mask, anatomy, study.mask_codes)
    return folder
