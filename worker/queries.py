"""What the command line and the console ask of the records: studies, timelines, results; and the operator's retry."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker import studies
from worker.database import Database
from worker.errors import StartupError
from worker.failures import explain
from worker.records import Delivery, Instance, NoteKind, ResultObject, Run, Series, Study, StudyEvent
from worker.settings import Settings
from worker.states import ForbiddenMove, StudyState


@dataclass(frozen=True, slots=True)
class StudyLine:
    """One study in a list."""

    study_instance_uid: str
    state: StudyState
    generation: int
    instances: int
    created_at: datetime
    last_received_at: datetime
    reason: str | None
    calling_ae_title: str

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "study_instance_uid": self.study_instance_uid,
            "state": self.state.value,
            "generation": self.generation,
            "instances": self.instances,
            "created_at": self.created_at.isoformat(),
            "last_received_at": self.last_received_at.isoformat(),
            "reason": self.reason,
            "calling_ae_title": self.calling_ae_title,
        }


@dataclass(frozen=True, slots=True)
class EventView:
    """One event of a timeline; ``after_seconds`` is the time since the study's first event."""

    at: datetime
    after_seconds: float
    kind: str
    old_state: StudyState | None
    new_state: StudyState | None
    detail: str

    def as_line(self) -> str:
        """One line of text."""
        move = f"{self.old_state or ''} -> {self.new_state}" if self.new_state not in {None, self.old_state} else ""
        return f"{self.after_seconds:8.1f} s  {self.kind:<17} {move:<24} {self.detail}".rstrip()

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "at": self.at.isoformat(),
            "after_seconds": self.after_seconds,
            "kind": self.kind,
            "state": self.new_state,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class ResultView:
    """One result object and what each destination said about it: name, state, and the last reason.

    ``identity`` is not 0 where a PACS gave the study another patient or other attributes since the analysis.
    """

    kind: str
    variant: str
    identity: int
    sop_instance_uid: str
    path: str
    size_bytes: int
    deliveries: tuple[tuple[str, str, str | None], ...]


@dataclass(frozen=True, slots=True)
class SeriesView:
    """One series: how many instances, whether it was chosen and why, or why not."""

    series_instance_uid: str
    modality: str | None
    instances: int
    chosen: bool | None
    verdict: str | None


@dataclass(frozen=True, slots=True)
class StudyView:
    """Everything about one study: where it is and why."""

    line: StudyLine
    events: tuple[EventView, ...]
    series: tuple[SeriesView, ...]
    results: tuple[ResultView, ...]
    findings: dict[str, object] | None
    manifest: dict[str, object] | None
    next_step: str | None

    @property
    def state(self) -> StudyState:
        """The study's state."""
        return self.line.state

    @property
    def rule(self) -> str | None:
        """What the rules of the site decided, with the line that did."""
        return rule_of(self.events)

    @property
    def reason(self) -> str | None:
        """Why it was skipped or failed, or what it waits for."""
        return self.line.reason

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each stage of the last analysis."""
        measured = (self.manifest or {}).get("seconds")
        return {f"analysis.{name}": value for name, value in measured.items()} if isinstance(measured, dict) else {}

    def as_lines(self) -> list[str]:
        """The view as text for a terminal."""
        lines = [f"study      {self.line.study_instance_uid}", f"state      {self.line.state}"]
        lines += [f"rules      {self.rule}"] if self.rule else []
        lines += [f"reason     {self.line.reason}"] if self.line.reason else []
        lines += [f"next step  {self.next_step}"] if self.next_step else []
        lines += [f"instances  {self.line.instances}, generation {self.line.generation}", "", "timeline"]
        lines += [f"  {event.at.astimezone():%Y-%m-%d %H:%M:%S}  {event.as_line()}" for event in self.events]
        lines += ["", "series"]
        for series in self.series:
            mark = "chosen" if series.chosen else "not chosen" if series.chosen is False else "not looked at"
            lines.append(
                f"  {series.series_instance_uid}  {series.instances} instances, {mark}: {series.verdict or '-'}"
            )
        lines += ["", "results"] if self.results else []
        for result in self.results:
            sent = "; ".join(f"{destination} {state}" for destination, state, _ in result.deliveries)
            name = f"{result.variant}@{result.identity}" if result.identity else result.variant
            lines.append(f"  {name:<17} {result.size_bytes:>10} bytes  {sent or 'not sent yet'}")
        return lines

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            **self.line.as_json(),
            "rule": self.rule,
            "next_step": self.next_step,
            "events": [event.as_json() for event in self.events],
            "series": [asdict(series) for series in self.series],
            "findings": self.findings,
            "results": [
                {
                    "kind": result.kind,
                    "variant": result.variant,
                    "identity": result.identity,
                    "sop_instance_uid": result.sop_instance_uid,
                    "size_bytes": result.size_bytes,
                    "deliveries": [
                        {"destination": destination, "state": state, "comment": comment}
                        for destination, state, comment in result.deliveries
                    ],
                }
                for result in self.results
            ],
            "manifest": self.manifest,
        }


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database of these settings, closed at the end of the block."""
    database = Database.open(settings.effective_database_url)
    try:
        yield database
    finally:
        database.close()


def list_studies(database: Database, states: Sequence[StudyState] = (), limit: int = 100) -> list[StudyLine]:
    """The newest studies, optionally of these states only."""
    query = select(Study).order_by(Study.last_received_at.desc()).limit(limit)
    if states:
        query = query.where(Study.state.in_(states))
    with database.reading() as session:
        return [_line(session, study) for study in session.scalars(query)]


def find_study(database: Database, study_instance_uid: str) -> StudyView | None:
    """The view of one study, or None when it is not known here."""
    with database.reading() as session:
        study = session.scalar(select(Study).where(Study.study_instance_uid == study_instance_uid))
        return None if study is None else _view(session, study)


def retry_study(database: Database, study_instance_uid: str, at: datetime) -> StudyState:
    """Try a FAILED or SKIPPED study again and return where it waits; raises ``StartupError`` for any other study."""
    try:
        with database.transaction() as session:
            query = select(Study.id).where(Study.study_instance_uid == study_instance_uid)
            study_id = session.scalar(query)
            if study_id is None:
                raise StartupError(f"no study {study_instance_uid} was received here: see `cspine studies`")
            return studies.retry(session, study_id, at).state
    except ForbiddenMove as error:
        raise StartupError(f"{error}: only a FAILED or SKIPPED study can be retried") from error


def _line(session: Session, study: Study) -> StudyLine:
    count = session.scalar(select(func.count()).select_from(Instance).where(Instance.study_id == study.id)) or 0
    reason = f"{study.failure_code}: {study.failure_text}" if study.failure_code else None
    return StudyLine(
        study_instance_uid=study.study_instance_uid,
        state=study.state,
        generation=study.generation,
        instances=count,
        created_at=study.created_at,
        last_received_at=study.last_received_at,
        reason=reason,
        calling_ae_title=study.calling_ae_title,
    )


def _view(session: Session, study: Study) -> StudyView:
    run = session.scalar(select(Run).where(Run.study_id == study.id).order_by(Run.generation.desc()).limit(1))
    return StudyView(
        line=_line(session, study),
        events=events_of(session, study),
        series=series_of(session, study),
        results=_results(session, run),
        findings=None if run is None else run.findings,
        manifest=None if run is None else run.manifest,
        next_step=explain(study.failure_code).next_step if study.failure_code else None,
    )


def events_of(session: Session, study: Study) -> tuple[EventView, ...]:
    """The timeline of a study."""
    rows = session.scalars(select(StudyEvent).where(StudyEvent.study_id == study.id).order_by(StudyEvent.id)).all()
    return tuple(
        EventView(
            at=row.at,
            after_seconds=(row.at - rows[0].at).total_seconds(),
            kind=row.kind,
            old_state=row.old_state,
            new_state=row.new_state,
            detail=row.detail,
        )
        for row in rows
    )


def rule_of(events: Sequence[EventView]) -> str | None:
    """What the rules of the site decided last, with the line that did; None where no rules were asked."""
    return next((event.detail for event in reversed(events) if event.kind == NoteKind.RULE), None)


def series_of(session: Session, study: Study) -> tuple[SeriesView, ...]:
    """The series of a study, in order of receipt."""
    counts = (
        select(Instance.series_id, func.count().label("instances"))
        .where(Instance.study_id == study.id)
        .group_by(Instance.series_id)
        .subquery()
    )
    query = (
        select(Series, func.coalesce(counts.c.instances, 0))
        .outerjoin(counts, counts.c.series_id == Series.id)
        .where(Series.study_id == study.id)
        .order_by(Series.id)
    )
    return tuple(
        SeriesView(row.series_instance_uid, row.modality, instances, row.chosen, row.verdict)
        for row, instances in session.execute(query)
    )


def _results(session: Session, run: Run | None) -> tuple[ResultView, ...]:
    if run is None:
        return ()
    views = []
    for row in session.scalars(select(ResultObject).where(ResultObject.run_id == run.id).order_by(ResultObject.id)):
        deliveries = session.scalars(select(Delivery).where(Delivery.result_object_id == row.id).order_by(Delivery.id))
        sent = tuple((delivery.destination, delivery.state.value, delivery.comment) for delivery in deliveries)
        views.append(
            ResultView(row.kind, row.variant, row.identity, row.sop_instance_uid, row.path, row.size_bytes, sent)
        )
    return tuple(views)
