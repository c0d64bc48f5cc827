"""The tables: studies, instances, events, runs, results, deliveries, reviews, models. No column names a patient.

``Study.state`` is written by ``worker.studies`` alone; everything else in a row is written by who owns that step.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from worker.states import StudyState

Identifier = BigInteger().with_variant(Integer, "sqlite")
"""64-bit keys; SQLite counts only INTEGER PRIMARY KEY by itself (which has 64 bits there)."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; naive values are refused. SQLite keeps it as text that sorts by time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; raise ValueError for a naive datetime."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone cannot be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the stored time as aware UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class DeliveryState(StrEnum):
    """Where one result object is on its way to one destination.

    REFUSED is left by the operator's retry alone. WITHDRAWN was retracted before the destination had it.
    """

    PENDING = "PENDING"
    ACCEPTED = "ACCEPTED"
    CONFIRMED = "CONFIRMED"
    REFUSED = "REFUSED"
    WITHDRAWN = "WITHDRAWN"


class CommitmentState(StrEnum):
    """Where one storage commitment transaction is; FAILED: its request did not get through, yet a report is taken."""

    REQUESTED = "REQUESTED"
    FAILED = "FAILED"
    REPORTED = "REPORTED"
    CONCLUDED = "CONCLUDED"


class ReviewState(StrEnum):
    """Where one received review is: READ or UNREADABLE once the clerk has looked at it."""

    RECEIVED = "RECEIVED"
    READ = "READ"
    UNREADABLE = "UNREADABLE"


class ModelRole(StrEnum):
    """What a model is there for: its answers are results, or are only compared with those that are."""

    SERVING = "SERVING"
    SHADOW = "SHADOW"


class ModelEventKind(StrEnum):
    """What was done with a model."""

    INSTALLED = "INSTALLED"
    REMOVED = "REMOVED"
    PROMOTED = "PROMOTED"
    ROLLED_BACK = "ROLLED_BACK"
    SHADOW_STARTED = "SHADOW_STARTED"
    SHADOW_ENDED = "SHADOW_ENDED"


class ShadowState(StrEnum):
    """Where one comparison is: WAITING has given way to studies that wait for their analysis."""

    RUNNING = "RUNNING"
    WAITING = "WAITING"
    COMPARED = "COMPARED"
    FAILED = "FAILED"


class NoteKind(StrEnum):
    """Kinds of events that are not moves; the kind of a move is its ``states.Cause``."""

    CREATED = "CREATED"
    REVISED_INSTANCE = "REVISED_INSTANCE"
    READING = "READING"
    DESTINATION = "DESTINATION"
    COMMITMENT = "COMMITMENT"
    RECONCILED = "RECONCILED"
    RETRACTION = "RETRACTION"
    REVIEW = "REVIEW"
    HELD = "HELD"
    RELEASED = "RELEASED"
    PRIORITY = "PRIORITY"
    RULE = "RULE"


RETRACTION = "retraction"
"""Kind of the Key Object that withdraws the results of its run."""


class Base(DeclarativeBase):
    """Base of all tables; constraints have stable names, so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - the class attribute that SQLAlchemy documents
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(),
        StudyState: Enum(StudyState, native_enum=False, length=16, validate_strings=True),
        DeliveryState: Enum(DeliveryState, native_enum=False, length=16, validate_strings=True),
        CommitmentState: Enum(CommitmentState, native_enum=False, length=16, validate_strings=True),
        ReviewState: Enum(ReviewState, native_enum=False, length=16, validate_strings=True),
        ModelRole: Enum(ModelRole, native_enum=False, length=16, validate_strings=True),
        ModelEventKind: Enum(ModelEventKind, native_enum=False, length=16, validate_strings=True),
        ShadowState: Enum(ShadowState, native_enum=False, length=16, validate_strings=True),
    }


class Study(Base):
    """One study by its Study Instance UID; ``generation`` counts the sets of instances (and of results) that it had.

    ``attempts`` counts every claim and never falls: it is the fencing number of a lease. ``crashes`` counts claims
    that never reported back in this generation; ``retries`` and ``first_failed_at`` serve the back-off of what is
    transient. ``receiving_since`` is when the study last entered RECEIVING. ``not_before`` ends a pause; a DELIVERED
    study has one only while a confirmation is awaited. While ``held_at`` is set nothing is begun with the study.
    ``number_digest`` is a keyed hash of its number in the RIS, so that it can be found by it, ``numbered_at`` when that
    was read from the instances, None where it is to be read (again).
    """

    __tablename__ = "studies"
    __table_args__ = (
        Index(None, "state", "priority", "created_at"),
        Index(None, "state", "last_received_at"),
        Index(None, "state", "not_before"),
        Index(None, "last_received_at", "id"),
        Index(None, "lease_expires_at"),
    )

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(String(64), unique=True)
    state: Mapped[StudyState]
    generation: Mapped[int] = mapped_column(default=1)
    priority: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    receiving_since: Mapped[datetime]
    last_received_at: Mapped[datetime]
    completed_by: Mapped[str | None] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    retries: Mapped[int] = mapped_column(default=0)
    first_failed_at: Mapped[datetime | None]
    lease_token: Mapped[str | None] = mapped_column(String(36))
    lease_expires_at: Mapped[datetime | None]
    progress: Mapped[str | None] = mapped_column(String(64))
    progressed_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    dispatched_at: Mapped[datetime | None]
    failure_code: Mapped[str | None] = mapped_column(String(32))
    failure_text: Mapped[str | None] = mapped_column(Text)
    calling_ae_title: Mapped[str] = mapped_column(String(16))
    peer_address: Mapped[str] = mapped_column(String(64))
    held_at: Mapped[datetime | None]
    number_digest: Mapped[str | None] = mapped_column(String(64), index=True)
    numbered_at: Mapped[datetime | None] = mapped_column(index=True)

    events: Mapped[list["StudyEvent"]] = relationship(order_by="StudyEvent.id", viewonly=True)


class Series(Base):
    """One series of a study and, after its selection, whether it was ``chosen`` and why (``verdict``)."""

    __tablename__ = "series"
    __table_args__ = (UniqueConstraint("study_id", "series_instance_uid"),)

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    series_instance_uid: Mapped[str] = mapped_column(String(64))
    modality: Mapped[str | None] = mapped_column(String(16))
    chosen: Mapped[bool | None]
    verdict: Mapped[str | None] = mapped_column(Text)


class Instance(Base):
    """One instance as stored; the same SOP Instance UID with other bytes is a further row, with ``revision`` set."""

    __tablename__ = "instances"
    __table_args__ = (UniqueConstraint("study_id", "sop_instance_uid", "sha256"), Index(None, "path"))

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), index=True)
    sop_class_uid: Mapped[str] = mapped_column(String(64))
    sop_instance_uid: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str] = mapped_column(String(255))
    transfer_syntax_uid: Mapped[str] = mapped_column(String(64))
    received_at: Mapped[datetime]
    association_id: Mapped[str] = mapped_column(String(64))
    calling_ae_title: Mapped[str] = mapped_column(String(16))
    revision: Mapped[bool] = mapped_column(default=False)


class StudyEvent(Base):
    """One line of a study's timeline, written in the transaction of what it tells."""

    __tablename__ = "study_events"
    __table_args__ = (Index(None, "kind", "at"),)

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(32))
    old_state: Mapped[StudyState | None]
    new_state: Mapped[StudyState | None]
    generation: Mapped[int]
    failure_code: Mapped[str | None] = mapped_column(String(32))
    detail: Mapped[str] = mapped_column(Text, default="")


class Run(Base):
    """One finished analysis: the bundle that made it, its findings and the manifest that lets it be repeated.

    ``probability`` and ``levels`` are the findings' again, for searches. ``withdrawn_at`` says that its results were
    wrong: they are never sent (again).
    """

    __tablename__ = "runs"
    __table_args__ = (UniqueConstraint("study_id", "generation"),)

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    generation: Mapped[int]
    created_at: Mapped[datetime]
    bundle_name: Mapped[str] = mapped_column(String(64))
    bundle_version: Mapped[str] = mapped_column(String(32))
    bundle_sha256: Mapped[str] = mapped_column(String(64))
    findings: Mapped[dict[str, Any]]
    manifest: Mapped[dict[str, Any]]
    seconds: Mapped[float]
    withdrawn_at: Mapped[datetime | None]
    probability: Mapped[float | None]

    results: Mapped[list["ResultObject"]] = relationship(order_by="ResultObject.id", back_populates="run")
    levels: Mapped[list["LevelFinding"]] = relationship(order_by="LevelFinding.vertebra")


class LevelFinding(Base):
    """One level of a run's findings: the vertebra by its name, such as C5."""

    __tablename__ = "level_findings"
    __table_args__ = (UniqueConstraint("run_id", "vertebra"), Index(None, "vertebra", "fractured"))

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    vertebra: Mapped[str] = mapped_column(String(2))
    probability: Mapped[float]
    fractured: Mapped[bool]


class ResultObject(Base):
    """One encoded result; its bytes lie in the results store under ``path`` and never change.

    ``variant`` is its key in the run. ``identity`` is 0 for the object as the analysis made it, n for the same object
    under the n-th identity that a PACS gave the patient or study since.
    """

    __tablename__ = "result_objects"
    __table_args__ = (UniqueConstraint("run_id", "variant", "identity"),)

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    kind: Mapped[str] = mapped_column(String(32))
    variant: Mapped[str] = mapped_column(String(64))
    identity: Mapped[int] = mapped_column(default=0)
    sop_class_uid: Mapped[str] = mapped_column(String(64))
    sop_instance_uid: Mapped[str] = mapped_column(String(64), index=True)
    path: Mapped[str] = mapped_column(String(255))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)

    run: Mapped[Run] = relationship(back_populates="results")
    deliveries: Mapped[list["Delivery"]] = relationship(order_by="Delivery.id", back_populates="result_object")


class Delivery(Base):
    """One result object on its way to one destination, by the name of that; every destination is tracked on its own.

    ``attempts`` is counted before the object is sent. ``offered_at`` is set then, and cleared when the destination
    certainly has not got it: while it is set, the destination may hold the object. ``retries``, ``first_failed_at`` and
    ``next_try_at`` serve the back-off, of sending while PENDING, of confirming while ACCEPTED. ``resends`` counts how
    often an accepted object was found missing. ``last_status`` is the peer's last status; ``failure_code`` says why
    nothing more is tried.
    """

    __tablename__ = "deliveries"
    __table_args__ = (UniqueConstraint("result_object_id", "destination"), Index(None, "state", "next_try_at"))

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    result_object_id: Mapped[int] = mapped_column(ForeignKey("result_objects.id"))
    destination: Mapped[str] = mapped_column(String(300))
    state: Mapped[DeliveryState] = mapped_column(default=DeliveryState.PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    retries: Mapped[int] = mapped_column(default=0)
    resends: Mapped[int] = mapped_column(default=0)
    first_failed_at: Mapped[datetime | None]
    next_try_at: Mapped[datetime | None]
    offered_at: Mapped[datetime | None]
    accepted_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]
    last_status: Mapped[int | None]
    comment: Mapped[str | None] = mapped_column(String(255))
    failure_code: Mapped[str | None] = mapped_column(String(32))

    result_object: Mapped[ResultObject] = relationship(back_populates="deliveries")


class Commitment(Base):
    """One storage commitment transaction (PS3.4 J), kept before its request is sent, so that every report finds it.

    ``ae_title`` is the peer's, which alone may report. ``instances`` maps the SOP Instance UIDs of the request to their
    SOP Class UIDs; ``report`` maps those that the report spoke of to their Failure Reason, 0 for committed. ``due_at``
    is when waiting ends.
    """

    __tablename__ = "commitments"
    __table_args__ = (Index(None, "study_id", "destination"), Index(None, "state"))

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    transaction_uid: Mapped[str] = mapped_column(String(64), unique=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    generation: Mapped[int]
    destination: Mapped[str] = mapped_column(String(300))
    ae_title: Mapped[str] = mapped_column(String(16))
    state: Mapped[CommitmentState] = mapped_column(default=CommitmentState.REQUESTED)
    instances: Mapped[dict[str, Any]]
    report: Mapped[dict[str, Any] | None]
    requested_at: Mapped[datetime]
    due_at: Mapped[datetime]
    reported_at: Mapped[datetime | None]


class Review(Base):
    """One segmentation or document that came back; its file lies in the spool, and is no instance of the study.

    ``run_id`` is the analysis whose results it speaks of, ``verdict`` what it says of them (None: nothing that can be
    read), ``content`` its reading (``dicom_node.review.Review`` as JSON). ``reason`` says why it is UNREADABLE.
    """

    __tablename__ = "reviews"
    __table_args__ = (
        UniqueConstraint("study_id", "sop_instance_uid", "sha256"),
        Index(None, "path"),
        Index(None, "state", "verdict"),
    )

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"))
    state: Mapped[ReviewState] = mapped_column(default=ReviewState.RECEIVED)
    sop_class_uid: Mapped[str] = mapped_column(String(64))
    sop_instance_uid: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str] = mapped_column(String(255))
    transfer_syntax_uid: Mapped[str] = mapped_column(String(64))
    received_at: Mapped[datetime]
    calling_ae_title: Mapped[str] = mapped_column(String(16))
    verdict: Mapped[str | None] = mapped_column(String(16))
    content: Mapped[dict[str, Any] | None]
    reason: Mapped[str | None] = mapped_column(Text)


class ModelChoice(Base):
    """Which bundle has a role, from the first change on; ``bundle_sha256`` None: that of the package, or no shadow.

    ``revision`` grows with each change, which compares and sets it.
    """

    __tablename__ = "model_choices"

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    role: Mapped[ModelRole] = mapped_column(unique=True)
    bundle_sha256: Mapped[str | None] = mapped_column(String(64))
    revision: Mapped[int]
    changed_at: Mapped[datetime]


class ModelEvent(Base):
    """One line of the history of the models: what was done, when, by which user of this machine, and why.

    ``bundle_sha256`` is the bundle that it was done with, None: that of the package.
    """

    __tablename__ = "model_events"

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    at: Mapped[datetime]
    kind: Mapped[ModelEventKind]
    bundle_sha256: Mapped[str | None] = mapped_column(String(64))
    by: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(Text, default="")


class ShadowRun(Base):
    """What a shadow model said of the volume of one run, and how far that is from the serving model's answer.

    ``findings`` are the shadow's, ``agreement`` a ``comparison.Agreement`` as JSON; the seconds are those of both
    networks one after the other on the same machine. ``picture`` is a file of the shadow folder. ``tries`` counts
    claims.
    """

    __tablename__ = "shadow_runs"
    __table_args__ = (UniqueConstraint("run_id", "bundle_sha256"), Index(None, "state"))

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    bundle_sha256: Mapped[str] = mapped_column(String(64))
    state: Mapped[ShadowState]
    tries: Mapped[int] = mapped_column(default=1)
    started_at: Mapped[datetime]
    findings: Mapped[dict[str, Any] | None]
    agreement: Mapped[dict[str, Any] | None]
    serving_seconds: Mapped[float | None]
    shadow_seconds: Mapped[float | None]
    picture: Mapped[str | None] = mapped_column(String(64))
    failure: Mapped[str | None] = mapped_column(Text)

    run: Mapped[Run] = relationship()


class Counter(Base):
    """One series of a figure for ``/metrics`` that the rows of studies do not tell, by the values of its labels.

    ``labels`` is a JSON list of them, in the order of ``worker.figures``, so that a key is one string.
    """

    __tablename__ = "counters"
    __table_args__ = (UniqueConstraint("name", "labels"),)

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    labels: Mapped[str] = mapped_column(String(600))
    value: Mapped[float]


class Heartbeat(Base):
    """One process that is at work, by its own account: ``vitals`` is a ``heartbeats.Vitals`` as JSON."""

    __tablename__ = "heartbeats"

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]
    vitals: Mapped[dict[str, Any]]


def insert_once(
    session: Session,
    table: type["Study | Series | Instance | Review | ModelChoice | ShadowRun"],
    values: dict[str, Any],
) -> int | None:
    """Insert a row and return its key, or None when a unique constraint says that it is there already.

    Safe against other processes that insert the same row at the same time.
    """
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    statement = insert(table).values(values).on_conflict_do_nothing().returning(table.id)
    return session.connection().execute(statement).scalar_one_or_none()
