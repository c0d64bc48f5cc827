"""Stored results: the picture of a summary for everybody, the DICOM objects for operators who may see identity."""

import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO

from flask import Response, request, stream_with_context
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from werkzeug.exceptions import NotFound

from worker import audit
from worker.console.access import actor, blueprint, needs
from worker.console.answers import Refused
from worker.console.services import services
from worker.console_records import Act, Role
from worker.records import ResultObject, Run
from worker.storage import ResultCorrupt

area = blueprint("downloads", "/studies/<int:study_id>")

_CHUNK = 1 << 16
_IN_MEMORY = 8 << 20


@area.get("/results/<int:result_id>.png")
@needs(Role.VIEWER)
def picture(study_id: int, result_id: int) -> ResponseReturnValue:
    """The picture of a summary; no identity is in it."""
    result = _result(study_id, result_id)
    if result.kind != "summary":
        raise NotFound
    if result.sha256 in request.if_none_match:
        return Response(status=304)
    try:
        png = services().pictures.png(result.path, result.sha256)
    except ResultCorrupt as error:
        raise Refused("The stored picture is missing or was changed.") from error
    answer = Response(png, mimetype="image/png")
    answer.set_etag(result.sha256)
    answer.headers["Cache-Control"] = "private, max-age=3600"
    return answer


@area.get("/results/<int:result_id>.dcm")
@needs(Role.OPERATOR, identity=True)
def one(study_id: int, result_id: int) -> ResponseReturnValue:
    """One object as it is sent."""
    result = _result(study_id, result_id)
    try:
        data = services().results.get(result.path, result.sha256)
    except ResultCorrupt as error:
        raise Refused(f"{error}: retry the study.") from error
    _write_down(study_id, result.variant)
    return _attachment(Response(data, mimetype="application/dicom"), f"study-{study_id}-{_name(result)}")


@area.get("/results.zip")
@needs(Role.OPERATOR, identity=True)
def everything(study_id: int) -> ResponseReturnValue:
    """All objects of the newest analysis."""
    newest = select(Run.id).where(Run.study_id == study_id).order_by(Run.generation.desc()).limit(1)
    query = select(ResultObject).where(ResultObject.run_id.in_(newest)).order_by(ResultObject.id)
    with services().database.reading() as session:
        results = session.scalars(query).all()
    if not results:
        raise NotFound
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  (closed when it is sent)
    try:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for result in results:
                archive.writestr(_name(result), services().results.get(result.path, result.sha256))
    except ResultCorrupt as error:
        file.close()
        raise Refused(f"{error}: retry the study.") from error
    _write_down(study_id, f"{len(results)} objects")
    file.seek(0)
    answer = Response(stream_with_context(_chunks(file)), mimetype="application/zip")
    return _attachment(answer, f"study-{study_id}-results.zip")


def _result(study_id: int, result_id: int) -> ResultObject:
    query = select(ResultObject).join(Run).where(ResultObject.id == result_id, Run.study_id == study_id)
    with services().database.reading() as session:
        result = session.scalar(query)
    if result is None:
        raise NotFound
    return result


def _name(result: ResultObject) -> str:
    """The name of a file of our own making: no text of a stranger, and nobody's name, is in it."""
    return f"{result.variant}-{result.identity}.dcm" if result.identity else f"{result.variant}.dcm"


def _write_down(study_id: int, detail: str) -> None:
    shared = services()
    with shared.database.transaction() as session:
        audit.record(session, actor(), Act.DOWNLOADED, shared.now(), study_id, detail)


def _attachment(answer: Response, name: str) -> Response:
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk
