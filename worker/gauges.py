"""Figures of the present, asked of the records: what is where, how long it waits, who is at work."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicom_node.review import Verdict
from worker.failures import FailureCode
from worker.heartbeats import Role, Vitals, alive
from worker.records import Delivery, DeliveryState, Heartbeat, Review, ReviewState, Run, Study
from worker.states import StudyState
from worker.tally import suspects

RECENT_ANALYSES = 200
"""Analyses that the positive rate is taken over: the newest, of the model that answered last."""

_WAITING = (StudyState.RECEIVING, StudyState.QUEUED, StudyState.ANALYZING, StudyState.SENDING)
_ROLES = (Role.LISTENER, Role.CLERK, Role.GPU)
"""Roles without which no study gets its result."""


def gauge(name: str, meaning: str, labels: Sequence[str], values: Mapping[Any, float]) -> Metric:
    """One family of gauges; the keys of ``values`` are tuples of strings, a value for each label."""
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def studies(session: Session, now: datetime) -> Iterator[Metric]:
    """How many studies are where, how long they wait, and how many failed for what."""
    counted = session.execute(select(Study.state, func.count()).group_by(Study.state)).all()
    found = dict.fromkeys(StudyState, 0) | dict(counted)
    yield gauge("cspine_studies", "Studies by state.", ("state",), {(state,): n for state, n in found.items()})
    ages = {(state,): _oldest_seconds(session, state, now) for state in _WAITING}
    meaning = "Time since its last instance of the study that waits longest in this state, without those on hold."
    yield gauge("cspine_oldest_study_age_seconds", meaning, ("state",), ages)
    leased = select(Study.state, func.count()).where(Study.lease_expires_at.is_not(None)).group_by(Study.state)
    working = dict.fromkeys(_WAITING[2:], 0) | dict(session.execute(leased).all())
    meaning = "Studies that a worker or clerk works on at this moment."
    yield gauge("cspine_studies_in_work", meaning, ("state",), {(state,): n for state, n in working.items()})
    failed = select(Study.failure_code, func.count()).where(Study.state == StudyState.FAILED)
    codes = dict.fromkeys(((str(code),) for code in FailureCode), 0)
    codes |= {(code or "INTERNAL",): n for code, n in session.execute(failed.group_by(Study.failure_code))}
    yield gauge("cspine_studies_failed", "Studies that wait for the operator, by failure code.", ("code",), codes)


def deliveries(session: Session) -> Iterator[Metric]:
    """What destinations are still to get, and what was given up."""
    pending = select(Delivery.destination, func.count()).where(Delivery.state == DeliveryState.PENDING)
    waiting = {(name,): n for name, n in session.execute(pending.group_by(Delivery.destination))}
    meaning = "Result objects that a destination is still to get."
    yield gauge("cspine_deliveries_waiting", meaning, ("destination",), waiting)
    refused = (
        select(Delivery.destination, Delivery.failure_code, func.count())
        .where(Delivery.state == DeliveryState.REFUSED)
        .group_by(Delivery.destination, Delivery.failure_code)
    )
    given_up = {(name, code or "INTERNAL"): n for name, code, n in session.execute(refused)}
    meaning = "Result objects that are not sent again unless the operator retries the study."
    yield gauge("cspine_deliveries_given_up", meaning, ("destination", "code"), given_up)


def reviews(session: Session) -> Iterator[Metric]:
    """What readers said of results."""
    counted = dict.fromkeys([(str(verdict),) for verdict in Verdict], 0.0)
    query = select(Review.state, Review.verdict, func.count()).group_by(Review.state, Review.verdict)
    for state, verdict, count in session.execute(query):
        key = ((verdict or "none") if state is ReviewState.READ else state.lower(),)
        counted[key] = counted.get(key, 0.0) + count
    yield gauge("cspine_reviews", "Reviews of results by verdict, and those not read yet.", ("verdict",), counted)


def positives(session: Session) -> Iterator[Metric]:
    """The share of the newest analyses that suspect a fracture."""
    query = select(Run.bundle_name, Run.bundle_version, Run.findings).order_by(Run.id.desc()).limit(RECENT_ANALYSES)
    runs = session.execute(query).all()
    newest = [run for run in runs if run[:2] == runs[0][:2]]
    key = (newest[0].bundle_name, newest[0].bundle_version) if newest else None
    ratio = {key: sum(suspects(run.findings) for run in newest) / len(newest)} if key else {}
    labels = ("bundle", "version")
    meaning = f"Share of the newest analyses, at most {RECENT_ANALYSES}, with a suspected fracture."
    yield gauge("cspine_recent_positive_ratio", meaning, labels, ratio)
    meaning = "Analyses that the share is taken over."
    yield gauge("cspine_recent_analyses", meaning, labels, {key: len(newest)} if key else {})


def processes(session: Session, now: datetime) -> Iterator[Metric]:
    """Who is at work, with what model, memory and disk."""
    beating = [(beat, Vitals.of_json(beat.vitals)) for beat in alive(session, now)]
    count = dict.fromkeys([(str(role),) for role in _ROLES], 0.0)
    memory: dict[tuple[str, ...], float] = {}
    associations = 0
    models = InfoMetricFamily("cspine_model", "Models that GPU workers have loaded.")
    for beat, vitals in beating:
        count[beat.role,] = count.get((beat.role,), 0.0) + 1
        key = _host(beat), beat.role
        memory[key] = memory.get(key, 0.0) + vitals.resident_bytes
        associations += vitals.associations or 0
        if vitals.bundle is not None:
            told = {"bundle": vitals.bundle, "version": vitals.bundle_version, "sha256": vitals.bundle_sha256}
            models.add_metric((), {name: value or "" for name, value in told.items()})
    yield gauge("cspine_processes_alive", "Processes that showed a sign of life lately.", ("role",), count)
    yield gauge("cspine_process_memory_bytes", "Resident memory of the processes.", ("host", "role"), memory)
    yield gauge("cspine_associations", "Associations that are served now.", (), {(): associations})
    yield models
    yield from _disks(beating)
    yield from _gpus(beating)


def _disks(beating: Sequence[tuple[Heartbeat, Vitals]]) -> Iterator[Metric]:
    free = {(_host(beat),): float(vitals.disk_free_bytes) for beat, vitals in beating}
    total = {(_host(beat),): float(vitals.disk_size_bytes) for beat, vitals in beating}
    yield gauge("cspine_disk_free_bytes", "Free space of the data folder's disk.", ("host",), free)
    yield gauge("cspine_disk_size_bytes", "Size of the data folder's disk.", ("host",), total)


def _gpus(beating: Sequence[tuple[Heartbeat, Vitals]]) -> Iterator[Metric]:
    found = {(_host(beat), str(gpu.index)): gpu for beat, vitals in beating for gpu in vitals.gpus}
    labels = ("host", "gpu")
    used = {key: float(gpu.used_bytes) for key, gpu in found.items()}
    total = {key: float(gpu.total_bytes) for key, gpu in found.items()}
    busy = {key: gpu.busy_ratio for key, gpu in found.items() if gpu.busy_ratio is not None}
    yield gauge("cspine_gpu_memory_used_bytes", "Memory of the GPU in use, by whomever.", labels, used)
    yield gauge("cspine_gpu_memory_size_bytes", "Memory of the GPU.", labels, total)
    yield gauge("cspine_gpu_busy_ratio", "Share of the last moments in which the GPU computed.", labels, busy)


def _host(beat: Heartbeat) -> str:
    return beat.name.partition("@")[2]


def _oldest_seconds(session: Session, state: StudyState, now: datetime) -> float:
    """The age of the study that waits longest; 0 where none waits."""
    query = select(func.min(Study.last_received_at)).where(Study.state == state, Study.held_at.is_(None))
    since = session.scalar(query)
    return 0.0 if since is None else max((now - since).total_seconds(), 0.0)
