"""What readers and their viewers do to our results before the PACS sends them back."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from dicom_node import codes
from dicom_node.encode import encode
from dicom_node.review_exchange import ResultFile, ResultVersion
from model.findings import Vertebra

READER = "PACS of the hospital"


def version_of(results: Iterable[Dataset], folder: Path, suspected: Sequence[Vertebra]) -> ResultVersion:
    """Our results as they lie in the store."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, dataset in enumerate(results):
        path = folder / f"ours-{number}.dcm"
        path.write_bytes(encode(dataset))
        files.append(ResultFile(str(path), str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)))
    return ResultVersion(tuple(files), tuple(suspected))


def written(dataset: Dataset, path: Path) -> Path:
    """The file of an object as it came back."""
    dataset.save_as(path, enforce_file_format=True)
    return path


def edited(ours: Dataset, *, verified: bool = False, successor: bool = True, manufacturer: str = READER) -> Dataset:
    """A copy under a UID of its own, by another system; a successor names ours as its predecessor."""
    copy = dcmread(BytesIO(encode(ours)))
    copy.SOPInstanceUID = generate_uid()
    copy.SeriesInstanceUID = generate_uid()
    copy.Manufacturer = manufacturer
    if verified:
        copy.VerificationFlag = "VERIFIED"
    if successor:
        copy.PredecessorDocumentsSequence = [reference(ours)]
    return copy


def reference(ours: Dataset) -> Dataset:
    """An item of the hierarchical SOP Instance Reference macro (PS3.3 C.17.2.1)."""
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = ours.SOPClassUID, ours.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = ours.SeriesInstanceUID, [instance]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = ours.StudyInstanceUID, [series]
    return study


def named(item: Dataset, concept: Code) -> bool:
    """Whether a content item has this concept name."""
    name = item.get("ConceptNameCodeSequence")
    return bool(name) and name[0].CodeValue == concept.value


def measurements(document: Dataset) -> Dataset:
    """The container of the measurement groups."""
    return next(item for item in document.ContentSequence if named(item, codes.IMAGING_MEASUREMENTS))


def groups(document: Dataset) -> Iterator[tuple[Vertebra, Dataset]]:
    """The measurement groups with the levels that they name."""
    for group in measurements(document).ContentSequence:
        coded = [item for item in group.ContentSequence if item.ValueType == "CODE"]
        values = {item.ConceptCodeSequence[0].CodeValue for item in coded}
        yield next(level for level, code in codes.VERTEBRA.items() if code.value in values), group


def group_of(document: Dataset, level: Vertebra) -> Dataset:
    """The measurement group of a level."""
    return dict(groups(document))[level]


def remove(document: Dataset, *levels: Vertebra) -> None:
    """Take the groups of some levels out."""
    kept = [group for level, group in groups(document) if level not in levels]
    measurements(document).ContentSequence = kept


def change(group: Dataset, concept: Code, value: Code) -> None:
    """Give every item of this concept another coded value."""
    for item in group.ContentSequence:
        if named(item, concept):
            item.ConceptCodeSequence[0].CodeValue = value.value
            item.ConceptCodeSequence[0].CodingSchemeDesignator = value.scheme_designator
            item.ConceptCodeSequence[0].CodeMeaning = value.meaning


def drop(group: Dataset, concept: Code) -> None:
    """Take every item of this concept out of a group."""
    group.ContentSequence = [item for item in group.ContentSequence if not named(item, concept)]


def rename_segments(segmentation: Dataset, label: Callable[[Dataset], str]) -> None:
    """What OHIF 3.13 keeps of our segments when it saves them: labels; no Tracking UID, tissue as the type, MANUAL."""
    for segment in segmentation.SegmentSequence:
        segment.SegmentLabel = label(segment)
        segment.SegmentAlgorithmType = "MANUAL"
        for keyword in ("TrackingUID", "TrackingID", "SegmentationAlgorithmIdentificationSequence"):
            segment.pop(keyword, None)
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning = "T-D0050", "SRT", "Tissue"
