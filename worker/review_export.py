"""Reviewed results as training labels: a folder a study, with what came back as it came, and ``labels.json``.

The layout is read by the training side, which shares no code with this one::

    FOLDER/study-<16 digits>/labels.json
                             review-1.dcm ...        the segmentations and documents, byte for byte
                             images/0001.dcm ...     the CT files, where copies are asked for

``labels.json`` names nobody. The DICOM files do: they are as the PACS sent them.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.review import LevelReview
from dicom_node.review import Review as Reading
from model.findings import Vertebra
from worker.database import Database
from worker.errors import StartupError
from worker.records import Instance, Review, ReviewState, Run, Series, Study
from worker.reviewing import kind_of
from worker.settings import Settings

FORMAT = "cspine reviews 1"


@dataclass(frozen=True, slots=True)
class ExportReport:
    """How many studies and reviews were written, and how many CT files are gone from the spool."""

    studies: int = 0
    reviews: int = 0
    missing_images: int = 0


def export_reviews(database: Database, settings: Settings, folder: Path, *, copy_images: bool = False) -> ExportReport:
    """Write every study with a review that says something; ``StartupError`` unless ``folder`` is new or empty."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise StartupError(f"{folder} is not empty: name a new folder")
        studies = reviews = missing = 0
        for study_id in _study_ids(database):
            with database.reading() as session:
                labels, files, images = _study(session, settings, study_id)
            missing += _write(folder, labels, files, images if copy_images else ())
            studies, reviews = studies + 1, reviews + len(files)
    except OSError as error:
        raise StartupError(f"the export cannot be written ({error.strerror}): name another folder") from error
    return ExportReport(studies, reviews, missing)


def _study_ids(database: Database) -> Sequence[int]:
    """The studies with a review that says something."""
    query = select(Review).where(Review.state == ReviewState.READ).order_by(Review.study_id)
    with database.reading() as session:
        return list(dict.fromkeys(row.study_id for row in session.scalars(query) if _says_something(row)))


def _says_something(row: Review) -> bool:
    return row.verdict is not None or bool((row.content or {}).get("levels"))


def _study(session: Session, settings: Settings, study_id: int) -> tuple[dict[str, Any], list[Path], list[Path]]:
    """The labels of one study, the files of its reviews and of its images."""
    query = select(Review).where(Review.study_id == study_id, Review.state == ReviewState.READ).order_by(Review.id)
    rows = [row for row in session.scalars(query) if _says_something(row)]
    runs = [session.get_one(Run, row.run_id) for row in rows]
    run = max(runs, key=lambda item: item.generation)
    images = _images(session, settings, study_id)
    named = [(f"review-{number}.dcm", row) for number, row in enumerate(rows, start=1)]
    labels = {
        "format": FORMAT,
        "study_instance_uid": session.scalars(select(Study.study_instance_uid).where(Study.id == study_id)).one(),
        "series_instance_uid": run.manifest.get("series", {}).get("series_instance_uid"),
        "result": {
            "generation": run.generation,
            "bundle": {"name": run.bundle_name, "version": run.bundle_version, "sha256": run.bundle_sha256},
        },
        "levels": _levels([(name, reading_of(row)) for name, row in named], run),
        "reviews": [_review(name, row) for name, row in named],
        "images": [str(path.absolute()) for path in images],
    }
    return labels, [settings.spool_dir / row.path for row in rows], images


def reading_of(row: Review) -> Reading:
    """What a review that was read says; its version is no matter here."""
    return Reading.from_json({"version": 0, **(row.content or {})})


def _review(name: str, row: Review) -> dict[str, Any]:
    """One review in ``labels.json``."""
    told = {key: value for key, value in reading_of(row).as_json().items() if key != "version"}
    return {"file": name, "kind": kind_of(row), "sop_class_uid": row.sop_class_uid, **told}


def _levels(readings: Sequence[tuple[str, Reading]], run: Run) -> list[dict[str, Any]]:
    """What is known of each level from all reviews together: of two that differ the verified one holds, else the later.

    ``fracture`` and ``mask`` hold for the level itself, also where they were said under another one (WRONG_LEVEL).
    """
    found = {level["vertebra"]: level for level in run.findings["levels"]}
    levels: dict[Vertebra, dict[str, Any]] = {}
    for level in Vertebra:
        ours = found.get(level.name)
        levels[level] = {
            "level": level.name,
            "suspected": None if ours is None else ours["fractured"],
            "probability": None if ours is None else ours["probability"],
            "verdict": None,
            "corrected_level": None,
            "fracture": None,
            "verified": False,
            "mask": None,
        }
    for name, reading in sorted(readings, key=lambda item: item[1].verified):
        for said in reading.levels:
            _apply(levels, said, name, verified=reading.verified)
    return list(levels.values())


def _apply(levels: dict[Vertebra, dict[str, Any]], said: LevelReview, name: str, *, verified: bool) -> None:
    """Write what one review says of one level over what was known."""
    told = said.as_json()
    if said.verdict is not None:
        levels[said.level] |= {"verdict": told["verdict"], "corrected_level": told["corrected_level"]}
    true_level = levels[said.corrected_level or said.level]
    if said.fracture is not None:
        true_level |= {"fracture": told["fracture"], "verified": verified}
    if said.segment is not None:
        true_level["mask"] = {"file": name, "segment": said.segment, "overlap": said.overlap}


def _images(session: Session, settings: Settings, study_id: int) -> list[Path]:
    """The newest revision of each instance of the analyzed series, in order of receipt."""
    query = (
        select(Instance)
        .join(Series, Series.id == Instance.series_id)
        .where(Instance.study_id == study_id, Series.chosen.is_(True))
        .order_by(Instance.id)
    )
    newest = {row.sop_instance_uid: settings.spool_dir / row.path for row in session.scalars(query)}
    return list(newest.values())


def _write(folder: Path, labels: dict[str, Any], files: Iterable[Path], images: Iterable[Path]) -> int:
    """Write one study's folder, whole or not at all; return how many images are missing."""
    key = hashlib.sha256(labels["study_instance_uid"].encode()).hexdigest()[:16]
    missing = 0
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as name:
        made = Path(name) / key
        made.mkdir()
        for entry, source in zip(labels["reviews"], files, strict=True):
            shutil.copyfile(source, made / entry["file"])
        copied = []
        for number, source in enumerate(images, start=1):
            (made / "images").mkdir(exist_ok=True)
            target = made / "images" / f"{number:04d}.dcm"
            try:
                shutil.copyfile(source, target)
                copied.append(f"images/{target.name}")
            except FileNotFoundError:
                missing += 1
        if copied or missing:
            labels = {**labels, "images": copied}
        (made / "labels.json").write_text(json.dumps(labels, indent=2) + "\n", "utf-8")
        made.rename(folder / f"study-{key}")
    return missing
