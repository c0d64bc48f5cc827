"""What readers made of our results, as ``cspine reviews export`` writes it: the next model learns from their edits.

::

    FOLDER/study-<16 digits>/labels.json       what is known of each level, where the CT files are
                             review-1.dcm ...  the segmentations and reports that came back
                             images/0001.dcm   the CT files, where they were copied

A level is known as fractured or intact where a reader said so; what our network said alone is no truth. A mask is used
where the readers' segmentations speak of every level that our result had: a viewer saves them all, and what it saved
unchanged was seen. Where levels are missing in them the mask is left out, for what is not labeled would count as no
bone.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.malformed import MALFORMED
from dicom_node.review import Presence
from dicom_node.series import CTSeries
from model.findings import Vertebra
from training.datasets.dicom_volume import mask_to_standard, read_ct, read_header
from training.datasets.segment_labels import named_levels, native_labels, open_segmentation
from training.datasets.studies import DataSetError, LabeledStudy, LabeledVolume

FORMAT = "cspine reviews 1"
LABELS = "labels.json"
MAXIMUM_BYTES = 16 << 20
_FOLDER = re.compile(r"study-[0-9a-f]{16}")
_REVIEW = re.compile(r"review-(\d{1,6})\.dcm")
_IMAGE = re.compile(r"images/\d{1,8}\.dcm")
_TRUTH: Mapping[str, bool | None] = {Presence.PRESENT: True, Presence.ABSENT: False, Presence.UNDETERMINED: None}


@dataclass(frozen=True, slots=True)
class ReviewedStudy:
    """``labels.json`` of one study: known fractures, levels of our result, CT files, and segments by file and level."""

    study_instance_uid: str
    fractures: Mapping[Vertebra, bool | None]
    found: frozenset[Vertebra]
    images: tuple[Path, ...]
    masks: Mapping[Path, Mapping[int, Vertebra]]


@dataclass(frozen=True, slots=True)
class ReviewDataSet:
    """The studies of an export; ``leave_out`` names folders of studies."""

    folder: Path
    name: str
    site: str = ""
    leave_out: frozenset[str] = frozenset()

    def studies(self) -> Sequence[LabeledStudy]:
        """All studies in the order of their folders; ``DataSetError`` where labels are broken or CT files are gone."""
        if not self.folder.is_dir():
            raise DataSetError(f"{self.folder} is missing: run `cspine reviews export {self.folder}` first")
        folders = [path for path in sorted(self.folder.iterdir()) if _FOLDER.fullmatch(path.name)]
        studies: list[LabeledStudy] = []
        problems: list[str] = []
        for folder in folders:
            if folder.name in self.leave_out:
                continue
            try:
                studies.append(self._study(folder))
            except DataSetError as error:
                problems += error.problems
        if not folders:
            problems.append(f"{self.folder} has no reviewed study: run `cspine reviews export` into it")
        if problems:
            raise DataSetError(*problems)
        return studies

    def read(self, study: LabeledStudy, scratch: Path) -> LabeledVolume:
        """Read one study; ``DataSetError`` when files are broken or a mask lies elsewhere."""
        series = read_ct(study.images, scratch)
        hu, spacing_mm = series.to_standard()
        labels = None
        if study.mask is not None:
            labels = mask_to_standard(series, _labels(read_labels(study.mask.parent), series))
        return LabeledVolume(hu, spacing_mm, labels, limitations=series.warnings)

    def _study(self, folder: Path) -> LabeledStudy:
        """The study of one folder; ``DataSetError`` with its problem."""
        reviewed = read_labels(folder)
        if gone := _gone(reviewed.images):
            advice = "export again with --copy-images while the spool holds them"
            raise DataSetError(f"{folder / LABELS}: {gone}: {advice}, or name {folder.name} in leave_out")
        patient = str(read_header(reviewed.images[0], "PatientID").get("PatientID", "") or "")
        return LabeledStudy(
            folder.name,
            patient or reviewed.study_instance_uid,
            reviewed.images,
            reviewed.fractures,
            site=self.site,
            mask=_newest(reviewed.masks) if _is_whole(reviewed) else None,
        )


def read_labels(folder: Path) -> ReviewedStudy:
    """What ``labels.json`` in a folder says; ``DataSetError`` when it is broken or of another format."""
    path = folder / LABELS
    try:
        size = path.stat().st_size
        content = json.loads(path.read_text(encoding="utf-8")) if size <= MAXIMUM_BYTES else {}
        known = content["format"] == FORMAT
        reviewed = _reviewed(folder, content) if known else None
    except (OSError, *MALFORMED) as error:
        raise DataSetError(f"{path} cannot be read ({type(error).__name__}): export again") from error
    if reviewed is None:
        raise DataSetError(f"{path} has another format than {FORMAT!r}: use the cspine version that exported it")
    return reviewed


def _reviewed(folder: Path, content: Mapping[str, Any]) -> ReviewedStudy:
    """The study that the content describes; ``LookupError``, ``TypeError`` or ``ValueError`` where it is none."""
    fractures: dict[Vertebra, bool | None] = {}
    found: set[Vertebra] = set()
    masks: dict[Path, dict[int, Vertebra]] = {}
    for said in content["levels"]:
        level = Vertebra[said["level"]]
        if said["fracture"] is not None:
            fractures[level] = _TRUTH[said["fracture"]]
        if said["probability"] is not None:
            found.add(Vertebra[said["corrected_level"] or said["level"]])
        if said["mask"] is not None:
            file = _inside(folder, said["mask"]["file"], _REVIEW)
            masks.setdefault(file, {})[int(said["mask"]["segment"])] = level
    images = tuple(_image(folder, str(name)) for name in content["images"])
    return ReviewedStudy(str(content["study_instance_uid"]), fractures, frozenset(found), images, masks)


def _gone(images: Sequence[Path]) -> str:
    """Which CT files are not there, in words; the export numbers copies, so that one that it could not make shows."""
    copies = [int(path.stem) for path in images if path.parent.name == "images" and path.stem.isdecimal()]
    missing = sum(not path.is_file() for path in images) + max(copies, default=0) - len(copies)
    if missing:
        return f"{missing} CT files of this study are gone"
    return "" if images else "no CT files of this study were there"


def _inside(folder: Path, name: str, pattern: re.Pattern[str]) -> Path:
    """A file of the folder whose name is as the export makes them."""
    if not pattern.fullmatch(name):
        raise ValueError("a file has no name of an export")
    return folder / name


def _image(folder: Path, name: str) -> Path:
    """A CT file: copied into the folder, or where it lies in the spool."""
    return Path(name) if Path(name).is_absolute() else _inside(folder, name, _IMAGE)


def _newest(files: Iterable[Path]) -> Path:
    """The file of the last review."""
    return max(files, key=lambda path: int(path.stem.removeprefix("review-")))


def _is_whole(reviewed: ReviewedStudy) -> bool:
    """Whether the readers' segmentations speak of every level of our result."""
    if not reviewed.masks:
        return False
    spoken = {level for levels in reviewed.masks.values() for level in levels.values()}
    spoken.update(named_levels(open_segmentation(_newest(reviewed.masks))).values())
    return reviewed.found <= spoken


def _labels(reviewed: ReviewedStudy, series: CTSeries) -> NDArray[np.uint8]:
    """The mask on the native slices: all levels of the last segmentation, and what earlier ones say of other levels."""
    newest = _newest(reviewed.masks)
    levels = {**named_levels(open_segmentation(newest)), **reviewed.masks[newest]}
    labels = native_labels(newest, series, levels)
    for path, earlier in reviewed.masks.items():
        if path != newest:
            drawn = native_labels(path, series, earlier)
            labels[np.isin(labels, [*earlier.values()])] = 0
            labels[drawn > 0] = drawn[drawn > 0]
    return labels
