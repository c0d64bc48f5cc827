"""DICOM studies of small anatomies with our results and what readers made of them, and the export of reviews."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID

from dicom_node.node import MANUFACTURER, Device
from dicom_node.reading import read_study
from dicom_node.result_context import ResultContext
from dicom_node.result_kind import ResultKind
from dicom_node.results import build_results
from model.findings import StudyFindings, Vertebra, VertebraFinding
from tests.training.trees import TreeStudy
from training.synthesis.phantom_series import write_series

DEVICE = Device(MANUFACTURER, "cspine", "1.0", UID("2.25.7"), "1")


@dataclass(frozen=True)
class Results:
    """A study's CT files and what our network said of it."""

    files: tuple[Path, ...]
    segmentation: Dataset
    report: Dataset

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID."""
        return str(self.report.StudyInstanceUID)


def write_ct(folder: Path, study: TreeStudy, patient_id: str = "P1") -> tuple[Path, ...]:
    """The CT files of a study, complete as a PACS sends them."""
    return write_series(study.anatomy.hu, study.anatomy.spacing_mm, folder, study.options(patient_id))


def analyzed(folder: Path, study: TreeStudy, scratch: Path, patient_id: str = "P1") -> Results:
    """Write the CT of a study and make our results: every level found, those of ``study.fractured`` suspected."""
    files = write_ct(folder, study, patient_id)
    series = read_study(files, scratch).series
    labels = series.mask_to_native(study.anatomy.cervical)
    findings = [
        VertebraFinding(level, 0.9 if level in study.fractured else 0.1, level in study.fractured, 100.0)
        for level in Vertebra
    ]
    at = datetime(2026, 3, 1, tzinfo=UTC)
    context = ResultContext(series, labels, StudyFindings(tuple(findings), 0.9, 0.5), DEVICE, "b", "1", "0" * 64, at)
    made = {result.kind: result.dataset for result in build_results(context)}
    return Results(files, made[ResultKind.SEGMENTATION], made[ResultKind.REPORT])


def said_of(level: Vertebra, **said: object) -> dict[str, Any]:
    """What ``labels.json`` says of a level of which our result had nothing alarming and no reader spoke."""
    nothing = {"suspected": False, "probability": 0.1, "verdict": None, "corrected_level": None}
    return {"level": level.name, **nothing, "fracture": None, "verified": False, "mask": None, **said}


def write_reviewed(
    folder: Path,
    results: Results,
    said: Mapping[Vertebra, Mapping[str, object]],
    reviews: Sequence[Dataset] = (),
    *,
    copy_images: bool = True,
) -> Path:
    """One study as ``cspine reviews export`` writes it; returns its folder."""
    made = folder / f"study-{hashlib.sha256(results.study_instance_uid.encode()).hexdigest()[:16]}"
    made.mkdir(parents=True)
    for number, review in enumerate(reviews, start=1):
        review.save_as(made / f"review-{number}.dcm", enforce_file_format=True)
    images = [str(path.absolute()) for path in results.files]
    if copy_images:
        (made / "images").mkdir()
        images = [f"images/{number:04d}.dcm" for number, _ in enumerate(results.files, start=1)]
        for name, path in zip(images, results.files, strict=True):
            shutil.copyfile(path, made / name)
    content = {
        "format": "cspine reviews 1",
        "study_instance_uid": results.study_instance_uid,
        "series_instance_uid": str(results.report.SeriesInstanceUID),
        "result": {"generation": 1, "bundle": {"name": "b", "version": "1", "sha256": "0" * 64}},
        "levels": [said_of(level, **said.get(level, {})) for level in Vertebra],
        "reviews": [{"file": f"review-{number}.dcm"} for number, _ in enumerate(reviews, start=1)],
        "images": images,
    }
    (made / "labels.json").write_text(json.dumps(content, indent=2))
    return made
