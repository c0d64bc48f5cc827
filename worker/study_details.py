"""One study in full, for its page: where it is and why, what every destination has of it, what readers said of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.failures import Explanation, explain
from worker.queries import EventView, SeriesView, events_of, rule_of, series_of
from worker.records import Commitment, CommitmentState, Delivery, DeliveryState, ResultObject, Review, Run, Study
from worker.review_list import ReviewLine, line_of
from worker.study_search import StudyRow, row_of


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One result object at one destination."""

    destination: str
    state: DeliveryState
    attempts: int
    resends: int
    accepted_at: datetime | None
    confirmed_at: datetime | None
    next_try_at: datetime | None
    last_status: int | None
    comment: str | None
    failure_code: str | None

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "destination": self.destination,
            "state": self.state.value,
            "attempts": self.attempts,
            "resends": self.resends,
            "accepted_at": _text(self.accepted_at),
            "confirmed_at": _text(self.confirmed_at),
            "next_try_at": _text(self.next_try_at),
            "last_status": self.last_status,
            "comment": self.comment,
            "failure_code": self.failure_code,
        }


@dataclass(frozen=True, slots=True)
class ObjectView:
    """One result object; ``identity`` is not 0 where a PACS gave the study another identity since the analysis."""

    result_id: int
    kind: str
    variant: str
    identity: int
    sop_instance_uid: str
    sha256: str
    size_bytes: int
    deliveries: tuple[DeliveryView, ...]

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "id": self.result_id,
            "kind": self.kind,
            "variant": self.variant,
            "identity": self.identity,
            "sop_instance_uid": self.sop_instance_uid,
            "size_bytes": self.size_bytes,
            "deliveries": [delivery.as_json() for delivery in self.deliveries],
        }


@dataclass(frozen=True, slots=True)
class RunView:
    """One analysis with what it made; ``is_current`` says that no newer instances came since."""

    run_id: int
    generation: int
    is_current: bool
    created_at: datetime
    withdrawn_at: datetime | None
    bundle_name: str
    bundle_version: str
    bundle_sha256: str
    seconds: float
    findings: dict[str, Any]
    manifest: dict[str, Any]
    objects: tuple[ObjectView, ...]

    @property
    def picture(self) -> ObjectView | None:
        """The summary picture, where one was made."""
        return next((item for item in self.objects if item.kind == "summary" and item.identity == 0), None)

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "generation": self.generation,
            "current": self.is_current,
            "created_at": self.created_at.isoformat(),
            "withdrawn_at": _text(self.withdrawn_at),
            "bundle": {"name": self.bundle_name, "version": self.bundle_version, "sha256": self.bundle_sha256},
            "seconds": self.seconds,
            "findings": self.findings,
            "manifest": self.manifest,
            "objects": [item.as_json() for item in self.objects],
        }


@dataclass(frozen=True, slots=True)
class CommitmentView:
    """One storage commitment transaction of the study."""

    destination: str
    state: CommitmentState
    requested: int
    committed: int
    failed: int
    requested_at: datetime
    due_at: datetime
    reported_at: datetime | None

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "destination": self.destination,
            "state": self.state.value,
            "requested": self.requested,
            "committed": self.committed,
            "failed": self.failed,
            "requested_at": self.requested_at.isoformat(),
            "due_at": self.due_at.isoformat(),
            "reported_at": _text(self.reported_at),
        }


@dataclass(frozen=True, slots=True)
class StudyDetails:
    """Everything about one study but whose it is."""

    row: StudyRow
    peer_address: str
    completed_by: str | None
    attempts: int
    crashes: int
    retries: int
    lease_expires_at: datetime | None
    explanation: Explanation | None
    events: tuple[EventView, ...]
    series: tuple[SeriesView, ...]
    runs: tuple[RunView, ...]
    commitments: tuple[CommitmentView, ...]
    reviews: tuple[ReviewLine, ...]

    @property
    def run(self) -> RunView | None:
        """The newest analysis."""
        return self.runs[0] if self.runs else None

    @property
    def rule(self) -> str | None:
        """Which line of the site's rules decided; None where no rules were asked."""
        return rule_of(self.events)

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        explanation = self.explanation
        return {
            **self.row.as_json(),
            "rule": self.rule,
            "peer_address": self.peer_address,
            "completed_by": self.completed_by,
            "attempts": self.attempts,
            "crashes": self.crashes,
            "retries": self.retries,
            "not_before": _text(self.row.not_before),
            "what_happened": None if explanation is None else explanation.sentence,
            "next_step": None if explanation is None else explanation.next_step,
            "events": [event.as_json() for event in self.events],
            "series": [asdict(series) for series in self.series],
            "runs": [run.as_json() for run in self.runs],
            "commitments": [commitment.as_json() for commitment in self.commitments],
            "reviews": [review.as_json() for review in self.reviews],
        }


def details_of(session: Session, study_id: int) -> StudyDetails | None:
    """The study with this key, None where there is none."""
    row = row_of(session, study_id)
    study = session.get(Study, study_id)
    if row is None or study is None:
        return None
    return StudyDetails(
        row=row,
        peer_address=study.peer_address,
        completed_by=study.completed_by,
        attempts=study.attempts,
        crashes=study.crashes,
        retries=study.retries,
        lease_expires_at=study.lease_expires_at,
        explanation=explain(study.failure_code) if study.failure_code else None,
        events=events_of(session, study),
        series=series_of(session, study),
        runs=_runs(session, study),
        commitments=_commitments(session, study),
        reviews=_reviews(session, study),
    )


def _runs(session: Session, study: Study) -> tuple[RunView, ...]:
    """Every analysis, the newest first."""
    objects: dict[int, list[ResultObject]] = {}
    for item in session.scalars(
        select(ResultObject).join(Run).where(Run.study_id == study.id).order_by(ResultObject.id)
    ):
        objects.setdefault(item.run_id, []).append(item)
    deliveries: dict[int, list[Delivery]] = {}
    query = select(Delivery).join(ResultObject).join(Run).where(Run.study_id == study.id).order_by(Delivery.id)
    for delivery in session.scalars(query):
        deliveries.setdefault(delivery.result_object_id, []).append(delivery)
    return tuple(
        RunView(
            run_id=run.id,
            generation=run.generation,
            is_current=run.generation == study.generation,
            created_at=run.created_at,
            withdrawn_at=run.withdrawn_at,
            bundle_name=run.bundle_name,
            bundle_version=run.bundle_version,
            bundle_sha256=run.bundle_sha256,
            seconds=run.seconds,
            findings=run.findings,
            manifest=run.manifest,
            objects=tuple(_object(item, deliveries.get(item.id, ())) for item in objects.get(run.id, ())),
        )
        for run in session.scalars(select(Run).where(Run.study_id == study.id).order_by(Run.generation.desc()))
    )


def _object(item: ResultObject, deliveries: Sequence[Delivery]) -> ObjectView:
    views = tuple(
        DeliveryView(
            row.destination,
            row.state,
            row.attempts,
            row.resends,
            row.accepted_at,
            row.confirmed_at,
            row.next_try_at,
            row.last_status,
            row.comment,
            row.failure_code,
        )
        for row in deliveries
    )
    return ObjectView(
        item.id, item.kind, item.variant, item.identity, item.sop_instance_uid, item.sha256, item.size_bytes, views
    )


def _commitments(session: Session, study: Study) -> tuple[CommitmentView, ...]:
    query = select(Commitment).where(Commitment.study_id == study.id).order_by(Commitment.id.desc())
    views = []
    for row in session.scalars(query):
        said = list((row.report or {}).values())
        views.append(
            CommitmentView(
                row.destination,
                row.state,
                len(row.instances),
                sum(reason == 0 for reason in said),
                sum(reason != 0 for reason in said),
                row.requested_at,
                row.due_at,
                row.reported_at,
            )
        )
    return tuple(views)


def _reviews(session: Session, study: Study) -> tuple[ReviewLine, ...]:
    rows = session.scalars(select(Review).where(Review.study_id == study.id).order_by(Review.id.desc()))
    return tuple(line_of(row, study.study_instance_uid) for row in rows)


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
