"""Uploads: the form, what becomes of the files, and the page that follows them. Names of files are never looked at."""

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO, cast

from flask import request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.exceptions import BadRequest, NotFound

from dicom_node.errors import OutOfResources
from dicom_node.spool import Spool
from dicom_node.storing import Sender
from worker import audit
from worker.console.access import actor, blueprint, needs, who
from worker.console.answers import Refused, answer, done
from worker.console.receiving import has_room
from worker.console.results import verdict_of
from worker.console.services import services
from worker.console.studies import read_details
from worker.console.turns import NoTurn
from worker.console_records import Act, Role
from worker.database import GroupCommitWriter
from worker.image_files import ImageFiles
from worker.image_model import describe_image_bundle
from worker.image_uploads import MAX_IMAGES, ImageUpload
from worker.intake import Intake
from worker.study_search import id_of
from worker.upload_records import SingleImage, Upload, UploadStudy
from worker.uploads import AE_TITLE, UNPACKED, Fate, Outcome, Stop, StudyUpload

area = blueprint("uploads", "/uploads")

_RECENT = 20
_SHOWN_STUDIES = 50


@area.get("")
@needs(Role.OPERATOR)
def start() -> ResponseReturnValue:
    """The forms, and the last uploads."""
    settings = services().settings
    with services().database.reading() as session:
        recent = session.scalars(select(Upload).order_by(Upload.id.desc()).limit(_RECENT)).all()
    return answer(
        "uploads.html",
        lambda: {"uploads": [_as_json(upload) for upload in recent]},
        recent=recent,
        taken=_taken,
        most_bytes=settings.upload_bytes,
        most_images=MAX_IMAGES,
        has_room=has_room(settings, 0),
        image_bundle=describe_image_bundle(settings),
        keep_days=settings.image_keep_days,
        quiet_seconds=settings.quiet_seconds,
        destinations=services().destinations,
    )


@area.post("/study")
@needs(Role.OPERATOR)
def take_study() -> ResponseReturnValue:
    """Take DICOM files and zip files of them in, as if a PACS had sent them."""
    shared, files = services(), _files()
    with _turn(), _writer() as writer:
        sender = Sender(AE_TITLE, request.remote_addr or "", f"upload-{secrets.token_hex(8)}")
        most = UNPACKED * shared.settings.upload_bytes
        outcome = StudyUpload(_spool(), Intake(writer), sender, most, shared.settings.reviews).take(files)
    with shared.database.transaction() as session:
        upload = _record(session, outcome)
        found = (id_of(session, uid) for uid in sorted(outcome.study_uids))
        ids = [study_id for study_id in found if study_id is not None]
        session.add_all([UploadStudy(upload_id=upload.id, study_id=study_id) for study_id in ids])
        audit.record(session, actor(), Act.UPLOADED, shared.now(), detail=f"upload {upload.id}: {len(ids)} studies")
        for study_id in ids:
            audit.record(session, actor(), Act.UPLOADED, shared.now(), study_id, f"upload {upload.id}")
    return _answer(upload, outcome, "instance")


@area.post("/images")
@needs(Role.OPERATOR)
def take_images() -> ResponseReturnValue:
    """Take single images in."""
    shared, files = services(), _files()
    if describe_image_bundle(shared.settings) is None:
        raise Refused("There is no model for single images here: set CSPINE_IMAGE_BUNDLE_PATH.")
    with _turn():
        taken = ImageUpload(ImageFiles(shared.settings.images_dir), _spool()).take(files)
    with shared.database.transaction() as session:
        upload = _record(session, taken.outcome)
        for image in taken.images:
            image.upload_id, image.received_at = upload.id, shared.now()
        session.add_all(taken.images)
        detail = f"upload {upload.id}: {len(taken.images)} single images"
        audit.record(session, actor(), Act.UPLOADED, shared.now(), detail=detail)
    return _answer(upload, taken.outcome, "image")


@area.get("/<int:upload_id>")
@needs(Role.VIEWER)
def show(upload_id: int) -> ResponseReturnValue:
    """What became of an upload: its studies and images."""
    with services().database.reading() as session:
        upload = session.get(Upload, upload_id)
        if upload is None:
            raise NotFound
        study_ids = [row.study_id for row in upload.studies[:_SHOWN_STUDIES]]
        images = list(upload.images)
    studies = [read_details(study_id) for study_id in study_ids]
    return answer(
        "upload.html",
        lambda: {
            **_as_json(upload),
            "studies": [
                {**study.row.as_json(), "result": verdict_of(study).title, "page": _result_page(study.row.study_id)}
                for study in studies
            ],
            "images": [_image_as_json(image) for image in images],
        },
        upload=upload,
        studies=[(study, verdict_of(study)) for study in studies],
        images=images,
        fates=fates_of(upload),
        stop=_sentence_of(upload),
    )


def fates_of(upload: Upload) -> Mapping[Fate, int]:
    """The files of an upload by what became of them."""
    return {fate: upload.fates[fate.name] for fate in Fate if fate.name in upload.fates}


def _answer(upload: Upload, outcome: Outcome, kind: str) -> ResponseReturnValue:
    """What came of it, and where it goes on."""
    count = outcome.fates[Fate.TAKEN]
    others = sum(outcome.fates.values()) - count
    sentence = f"{count} {kind}{'' if count == 1 else 's'} taken in."
    if others:
        sentence += f" {others} other file{'' if others == 1 else 's'} left out."
    if outcome.stop is not None:
        sentence += f" {outcome.stop}"
    page = url_for("uploads.show", upload_id=upload.id)
    return done(sentence, page, upload=upload.id, page=page, **_counts(outcome.fates))


def _counts(fates: "Counter[Fate]") -> dict[str, object]:
    return {"files": {fate.name: count for fate, count in fates.items()}}


def _record(session: Session, outcome: Outcome) -> Upload:
    """The row of the upload that comes with this request."""
    fates = {fate.name: count for fate, count in outcome.fates.items()}
    stop = None if outcome.stop is None else outcome.stop.name
    upload = Upload(at=services().now(), by=who().name, fates=fates, stop=stop)
    session.add(upload)
    session.flush()
    return upload


def _files() -> list[BinaryIO]:
    """The files of the request; a 400 where there are none."""
    files = [cast("BinaryIO", item.stream) for _, item in request.files.items(multi=True)]
    if not files:
        raise BadRequest
    return files


def _spool() -> Spool:
    """The store of received instances, as the listener opens it; a 409 where the disk is too full to begin."""
    settings = services().settings
    spool = Spool(settings.spool_dir, min_free_bytes=settings.min_free_bytes)
    try:
        spool.require_space()
    except OutOfResources as error:
        raise Refused(Stop.OUT_OF_SPACE) from error
    return spool


@contextmanager
def _turn() -> Iterator[None]:
    """One of the few uploads that are taken in at the same time."""
    try:
        with services().uploads.turn():
            yield
    except NoTurn as error:
        raise Refused("Other uploads are being taken in. Try again in a moment.") from error


@contextmanager
def _writer() -> Iterator[GroupCommitWriter]:
    writer = GroupCommitWriter(services().database)
    try:
        yield writer
    finally:
        writer.close()


def _taken(upload: Upload) -> int:
    count: int = upload.fates.get(Fate.TAKEN.name, 0)
    return count


def _sentence_of(upload: Upload) -> str | None:
    """Why an upload ended early."""
    stop = Stop.__members__.get(upload.stop or "")
    return None if stop is None else stop.value


def _result_page(study_id: int) -> str:
    return url_for("results.of_study", study_id=study_id)


def _image_as_json(image: SingleImage) -> dict[str, object]:
    page = url_for("results.of_image", image_id=image.id)
    return {"id": image.id, "state": image.state.value, "failure": image.failure, "page": page}


def _as_json(upload: Upload) -> dict[str, object]:
    return {
        "id": upload.id,
        "at": upload.at.isoformat(),
        "by": upload.by,
        "files": dict(upload.fates),
        "stopped": _sentence_of(upload),
    }
