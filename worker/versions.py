"""Versions of a study's results: what a new run supersedes, and what it has in common with an earlier one.

The same input, model and software give the same UIDs. An object that exists already is taken over with all that its
destinations said, never made a second time: no instance changes under its UID, and none is sent twice.
"""

from collections.abc import Sequence
from io import BytesIO

from pydicom import dcmread
from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.result_context import SupersededResult
from dicom_node.result_kind import ResultKind
from worker.records import Delivery, DeliveryState, ResultObject, Run
from worker.storage import ResultCorrupt, ResultStore

_REPORTS = (ResultKind.REPORT.value, ResultKind.AIR_REPORT.value, ResultKind.NARRATIVE.value)
_THERE = (DeliveryState.ACCEPTED, DeliveryState.CONFIRMED)


def superseded(session: Session, results: ResultStore, study_id: int) -> tuple[SupersededResult, ...]:
    """The reports of the newest version that each destination accepted; withdrawn ones are not spoken of."""
    query = (
        select(ResultObject, Delivery.destination, Run.generation)
        .join(ResultObject.deliveries)
        .join(ResultObject.run)
        .where(
            Run.study_id == study_id,
            Run.withdrawn_at.is_(None),
            ResultObject.kind.in_(_REPORTS),
            Delivery.state.in_(_THERE),
        )
        .order_by(Run.generation.desc(), ResultObject.id)
    )
    newest: dict[str, int] = {}
    reports: dict[str, ResultObject] = {}
    for result, destination, generation in session.execute(query):
        if newest.setdefault(destination, generation) == generation:
            reports[result.sop_instance_uid] = result
    found = (_reference(results, result) for result in reports.values())
    return tuple(reference for reference in found if reference is not None)


def take_over(session: Session, results: ResultStore, run: Run, made: Sequence[ResultObject]) -> None:
    """Give ``run`` its results: those that an earlier run of the study made already, and the new ones.

    Where an earlier one was withdrawn the run is withdrawn as well: it says the same.
    """
    for new in made:
        earlier = _earlier(session, run, new.sop_instance_uid)
        if earlier is None:
            run.results.append(new)
            continue
        if earlier.run.withdrawn_at is not None:
            run.withdrawn_at = earlier.run.withdrawn_at
        if not _is_intact(results, earlier):
            earlier.path, earlier.sha256, earlier.size_bytes = new.path, new.sha256, new.size_bytes
        for other in _identities(session, earlier):
            other.run = run


def _earlier(session: Session, run: Run, sop_instance_uid: str) -> ResultObject | None:
    query = (
        select(ResultObject)
        .join(ResultObject.run)
        .where(Run.study_id == run.study_id, ResultObject.sop_instance_uid == sop_instance_uid)
    )
    return session.scalar(query)


def _identities(session: Session, result: ResultObject) -> Sequence[ResultObject]:
    """The object under every identity that it was given."""
    query = select(ResultObject).where(ResultObject.run_id == result.run_id, ResultObject.variant == result.variant)
    return session.scalars(query).all()


def _is_intact(results: ResultStore, result: ResultObject) -> bool:
    try:
        results.get(result.path, result.sha256)
    except ResultCorrupt:
        return False
    return True


def _reference(results: ResultStore, result: ResultObject) -> SupersededResult | None:
    """How a report is referred to; None where its bytes are lost."""
    try:
        header = dcmread(BytesIO(results.get(result.path, result.sha256)), specific_tags=["SeriesInstanceUID"])
    except ResultCorrupt:
        return None
    return SupersededResult(result.sop_class_uid, result.sop_instance_uid, str(header.SeriesInstanceUID))
