"""A folder of DICOM studies with what readers said of them, as a PACS exports it: CT, segmentations, reports.

Files lie anywhere below the folder under any name and are grouped by Study Instance UID; the patient is Patient ID.
A segmentation gives the mask: its segments name levels by code or label (``dicom_node.review_mask``), of several the
newest holds. Reports (TID 1500) give the truth of levels: a measurement group says Fracture -> Present, Absent or
Undetermined, or has Fracture as its Finding; "no fracture of the cervical spine" holds for every level that no group
names. Verified reports hold before others; of two that differ otherwise, neither holds. What our own network said and
no reader verified or edited is no truth and is left out. Free text is never interpreted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.encoded_file import read_encoded_file
from dicom_node.errors import DicomNodeError
from dicom_node.header import is_uid
from dicom_node.malformed import MALFORMED
from dicom_node.node import MANUFACTURER
from dicom_node.review import Presence
from dicom_node.review_document import Document, Group, read_document
from dicom_node.transfer_syntaxes import DOCUMENT_CLASSES, SEGMENTATION_CLASSES, STORAGE_CLASSES
from model.findings import Vertebra
from training.datasets.dicom_volume import mask_to_standard, read_ct, read_header
from training.datasets.label_tables import Fractures, read_fractures, strangers
from training.datasets.segment_labels import named_levels, native_labels, open_segmentation
from training.datasets.studies import DataSetError, LabeledStudy, LabeledVolume

_TRUTH: Mapping[Presence | None, bool | None] = {
    Presence.PRESENT: True,
    Presence.ABSENT: False,
    Presence.UNDETERMINED: None,
    None: None,
}
_HEADER = ("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "ContentDate", "ContentTime")
_REFERENCED = "ReferencedSeriesSequence"


@dataclass(frozen=True, slots=True)
class _Mask:
    """A reader's segmentation: when it was made, its file, and the series it was drawn on."""

    made: tuple[str, str]
    path: Path
    series: frozenset[str]


@dataclass(slots=True)
class _Found:
    """What a folder has of one study."""

    images: dict[str, list[Path]] = field(default_factory=dict)
    patients: set[str] = field(default_factory=set)
    masks: list[_Mask] = field(default_factory=list)
    documents: list[tuple[Path, Document]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DicomDataSet:
    """The studies of a folder; ``fractures`` is a table of further labels by Study Instance UID, which goes first."""

    folder: Path
    name: str
    site: str = ""
    fractures: Path | None = None
    leave_out: frozenset[str] = frozenset()

    def studies(self) -> Sequence[LabeledStudy]:
        """All studies in the order of their UIDs; ``DataSetError`` where one has no CT, no label or two patients."""
        found, problems = self._scan()
        table = read_fractures(self.fractures) if self.fractures else {}
        with_ct = {key for key, study in found.items() if study.images}
        if self.fractures:
            problems += strangers(self.fractures, table.keys() - self.leave_out, with_ct)
        studies = []
        for key, study in sorted(found.items()):
            if not study.images and not study.masks and not study.documents:
                continue  # our own segmentation alone
            made = self._study(key, study, table.get(key))
            told = _problem(key, study, made)
            problems += [told] if told else []
            studies.append(made)
        if not studies and not problems:
            problems.append(f"{self.folder} has no DICOM study: name the folder of the export")
        if problems:
            raise DataSetError(*sorted(problems))
        return studies

    def read(self, study: LabeledStudy, scratch: Path) -> LabeledVolume:
        """Read one study; ``DataSetError`` when files are broken or the mask lies elsewhere."""
        series = read_ct(study.images, scratch)
        hu, spacing_mm = series.to_standard()
        if study.mask is None:
            return LabeledVolume(hu, spacing_mm, limitations=series.warnings)
        levels = named_levels(open_segmentation(study.mask))
        labels = mask_to_standard(series, native_labels(study.mask, series, levels))
        return LabeledVolume(hu, spacing_mm, labels, limitations=series.warnings)

    def _scan(self) -> tuple[dict[str, _Found], list[str]]:
        """Every study of the folder, and a problem for each file that cannot be read."""
        if not self.folder.is_dir():
            raise DataSetError(f"{self.folder} is missing: name the folder of the export")
        found: dict[str, _Found] = {}
        problems: list[str] = []
        for path in sorted(self.folder.rglob("*")):
            try:
                if path.is_file() and _is_instance(path):
                    self._sort_in(path, found)
            except DataSetError as error:
                problems += error.problems
        return found, problems

    def _sort_in(self, path: Path, found: dict[str, _Found]) -> None:
        header = read_header(path, *_HEADER, _REFERENCED)
        sop_class, key, series, patient, *made = (str(header.get(keyword, "") or "") for keyword in _HEADER)
        if key in self.leave_out or sop_class not in (*STORAGE_CLASSES, *SEGMENTATION_CLASSES, *DOCUMENT_CLASSES):
            return
        if not is_uid(key):
            raise DataSetError(f"{path} has no Study Instance UID: export it again or move it away")
        study = found.setdefault(key, _Found())
        if sop_class in STORAGE_CLASSES:
            study.images.setdefault(series, []).append(path)
            study.patients.add(patient)
        elif sop_class in DOCUMENT_CLASSES:
            study.documents.append((path, _document(path)))
        elif _drawn_by_a_reader(path):
            drawn_on = frozenset(str(item.get("SeriesInstanceUID", "")) for item in header.get(_REFERENCED) or ())
            study.masks.append(_Mask((made[0], made[1]), path, drawn_on))

    def _study(self, key: str, found: _Found, table: Fractures | None) -> LabeledStudy:
        """The study as it is used: where it has a mask, with the series that this was drawn on alone."""
        masks = sorted(found.masks, key=lambda mask: (mask.made, mask.path))
        newest = masks[-1] if masks else None
        drawn_on = newest.series & found.images.keys() if newest else frozenset[str]()
        images = [path for uid, paths in found.images.items() if uid in drawn_on or not drawn_on for path in paths]
        said = truth([document for _, document in found.documents])
        patient = min(found.patients, default="") or key
        fractures = {**said, **{level: value for level, value in (table or {}).items() if value is not None}}
        return LabeledStudy(
            key, patient, tuple(images), fractures, site=self.site, mask=newest.path if newest else None
        )


def _is_instance(path: Path) -> bool:
    """Whether a file claims to be DICOM, by its first bytes or its name."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM" or path.suffix.lower() == ".dcm"


def _drawn_by_a_reader(path: Path) -> bool:
    """Whether a segmentation names a level, and is not ours as we sent it."""
    segmentation = open_segmentation(path)
    ours = segmentation.manufacturer == MANUFACTURER and not segmentation.predecessors
    return bool(named_levels(segmentation)) and not ours


def _document(path: Path) -> Document:
    try:
        return read_document(read_encoded_file(path).dataset)
    except (DicomNodeError, OSError, *MALFORMED) as error:
        raise DataSetError(f"{path} cannot be read as a report: export it again or move it away") from error


def _problem(key: str, found: _Found, made: LabeledStudy) -> str:
    """What makes a study useless; empty when nothing does."""
    if not found.images:
        labels = [*(mask.path for mask in found.masks), *(path for path, _ in found.documents)]
        return (
            f"{labels[0]} is of study {key}, whose CT is not there: export it, or name the study in leave_out"
            if (labels)
            else f"study {key} has neither CT nor label: name it in leave_out"
        )
    where = made.images[0].parent
    if len(found.patients - {""}) > 1:
        return f"{where}: study {key} has images of several Patient IDs: correct the export, or name it in leave_out"
    if made.mask is None and all(value is None for value in made.fractures.values()):
        wanted = "a segmentation with levels, a report with groups of levels, or a line in a table of fractures"
        return f"{where}: study {key} has no label of a reader: add {wanted}, or name it in leave_out"
    return ""


def truth(documents: Sequence[Document]) -> Fractures:
    """What readers' reports say of each level, together; a level that none of them speaks of is left out."""
    ours = {document.sop_instance_uid for document in documents if _unreviewed(document)}
    spoken: dict[Vertebra, dict[bool, set[Presence]]] = {}
    for document in documents:
        if _unreviewed(document):
            continue
        edited = bool(document.predecessors & ours) or document.manufacturer == MANUFACTURER
        for level, presence in _levels(document, edited=edited).items():
            spoken.setdefault(level, {}).setdefault(document.verified, set()).add(presence)
    return {level: _TRUTH[_agreed(said.get(True) or said[False])] for level, said in sorted(spoken.items())}


def _unreviewed(document: Document) -> bool:
    """Whether a document is one of ours that nobody verified."""
    return document.manufacturer == MANUFACTURER and not document.verified


def _levels(document: Document, *, edited: bool) -> dict[Vertebra, Presence]:
    """What one report says of each level; ``edited``: made of one of ours, where a level as Finding is intact."""
    said: dict[Vertebra, set[Presence]] = {}
    for group in document.groups:
        presence = _stated(group, edited=edited)
        if group.level is not None and presence is not None:
            said.setdefault(group.level, set()).add(presence)
    levels = {level: _agreed(presences) for level, presences in said.items()}
    if document.answer is Presence.ABSENT:
        levels = {level: levels.get(level, Presence.ABSENT) for level in Vertebra}
    return levels


def _stated(group: Group, *, edited: bool) -> Presence | None:
    if group.stated is not None:
        return group.stated
    if group.finding_is_fracture:
        return Presence.PRESENT
    return Presence.ABSENT if edited and group.finding_is_level else None


def _agreed(presences: Iterable[Presence]) -> Presence:
    """The one answer; different ones leave it undetermined."""
    different = set(presences)
    return different.pop() if len(different) == 1 else Presence.UNDETERMINED
