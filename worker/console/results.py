"""Results for readers, of a study and of a single image: fracture detected, no fracture detected, or not analyzed."""

from dataclasses import dataclass

from flask import Response
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import Forbidden, NotFound

from model.findings import Vertebra
from worker import audit
from worker.console.access import actor, blueprint, needs, who
from worker.console.answers import answer
from worker.console.services import services
from worker.console.studies import read_details
from worker.console_records import Act, Role
from worker.failures import FailureCode
from worker.image_files import ImageFiles
from worker.states import StudyState
from worker.study_details import StudyDetails
from worker.upload_records import ImageState, SingleImage, Upload

area = blueprint("results")

FRACTURE, NO_FRACTURE, NOT_ANALYZED, NOT_YET = (
    "Fracture detected",
    "No fracture detected",
    "Not analyzed",
    "Not analyzed yet",
)
_ENDS = frozenset({StudyState.FAILED, StudyState.SKIPPED})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reader is told first.

    ``levels``: the suspected ones of a study, the likeliest of a single image. ``missing``: those not found.
    """

    title: str
    why: str = ""
    levels: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    kept_here: bool = False

    @property
    def has_findings(self) -> bool:
        """Whether findings are to be shown."""
        return self.title in {FRACTURE, NO_FRACTURE}


def verdict_of(study: StudyDetails) -> Verdict:
    """What the newest analysis of a study says."""
    run, row = study.run, study.row
    if run is None or not run.is_current:
        if row.state in _ENDS:
            why = f"{row.failure_text or ''} {study.explanation.sentence if study.explanation else ''}".strip()
            return Verdict(NOT_ANALYZED, why)
        return Verdict(NOT_YET, f"{row.state} {row.progress or ''}".strip())
    if run.withdrawn_at is not None:
        return Verdict(NOT_ANALYZED, "The results are withdrawn.")
    found = run.findings.get("levels", [])
    if not found:
        return Verdict(NOT_ANALYZED, "No cervical vertebra was found in the images.")
    fractured = tuple(level["vertebra"] for level in found if level["fractured"])
    seen = {level["vertebra"] for level in found}
    missing = tuple(level.name for level in Vertebra if level.name not in seen)
    kept_here = row.failure_code == FailureCode.NO_DESTINATION
    return Verdict(FRACTURE if fractured else NO_FRACTURE, "", fractured, missing, kept_here)


def verdict_of_image(image: SingleImage) -> Verdict:
    """What the prediction of a single image says."""
    if image.state is ImageState.FAILED:
        return Verdict(NOT_ANALYZED, image.failure or "")
    if image.findings is None:
        return Verdict(NOT_YET, image.state.value)
    levels = image.findings["levels"]
    likeliest = (levels[0]["vertebra"],) if levels else ()
    return Verdict(FRACTURE if image.findings["fractured"] else NO_FRACTURE, "", likeliest)


@area.get("/studies/<int:study_id>/result")
@needs(Role.VIEWER)
def of_study(study_id: int) -> ResponseReturnValue:
    """The result of a study in short."""
    details = read_details(study_id)
    verdict = verdict_of(details)
    run = details.run if verdict.has_findings else None
    return answer(
        "result.html",
        lambda: {
            "study": study_id,
            "state": details.row.state,
            "result": verdict.title,
            "why": verdict.why,
            "fractured_levels": list(verdict.levels),
            "levels_not_found": list(verdict.missing),
            "findings": None if run is None else run.findings,
            "model": None if run is None else f"{run.bundle_name} {run.bundle_version}",
        },
        study=details,
        verdict=verdict,
        run=run,
    )


@area.get("/images/<int:image_id>")
@needs(Role.VIEWER)
def of_image(image_id: int) -> ResponseReturnValue:
    """The prediction of a single image."""
    image, upload = _image(image_id)
    verdict = verdict_of_image(image)
    return answer(
        "image.html",
        lambda: {
            "id": image.id,
            "upload": upload.id,
            "kind": "single image prediction",
            "state": image.state.value,
            "result": verdict.title,
            "why": verdict.why,
            "findings": image.findings,
            "model": image.bundle_name and f"{image.bundle_name} {image.bundle_version}",
        },
        image=image,
        upload=upload,
        verdict=verdict,
        may_see=_may_see(upload),
        keep_days=services().settings.image_keep_days,
    )


@area.get("/images/<int:image_id>/overlay.png")
@needs(Role.VIEWER)
def overlay(image_id: int) -> ResponseReturnValue:
    """The picture of a prediction: it shows the image, and with it whatever name was drawn into that."""
    image, upload = _image(image_id)
    if not _may_see(upload):
        raise Forbidden
    if image.overlay is None:
        raise NotFound
    shared = services()
    try:
        png = ImageFiles(shared.settings.images_dir).path(image.overlay).read_bytes()
    except OSError as error:
        raise NotFound from error
    if upload.by != who().name:
        with shared.database.transaction() as session:
            audit.record(session, actor(), Act.IDENTITY_SHOWN, shared.now(), detail=f"single image {image.id}")
    return Response(png, mimetype="image/png")


def _image(image_id: int) -> tuple[SingleImage, Upload]:
    with services().database.reading() as session:
        image = session.get(SingleImage, image_id)
        if image is None:
            raise NotFound
        return image, image.upload


def _may_see(upload: Upload) -> bool:
    """Whether who is signed in may see the pictures of an upload: their own, or where identity is shown to them."""
    return who().sees_identity or upload.by == who().name
