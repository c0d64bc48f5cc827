"""One QUEUED study to SENDING (or SKIPPED, FAILED): claim, analyze, keep the results, record - the body of a task."""

import hashlib
import importlib.metadata
import logging
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.encode import encode
from dicom_node.errors import DicomNodeError, Ineligible, ReadingError
from dicom_node.result_context import ResultObject as BuiltResult
from dicom_node.selection import SeriesVerdict
from model.errors import BundleError, ModelError, PredictorOutOfMemory
from model.findings import VertebraFinding
from worker import queue_order, studies, versions
from worker.database import Database
from worker.devices import product_version
from worker.failures import Backoff, Failure, FailureCode
from worker.inputs import Input, inputs_of
from worker.lease import KeptLease
from worker.pipeline import Analysis, AnalysisTools, Stages, analyze_files
from worker.ports import Bell, BellUnavailable, Clock
from worker.records import LevelFinding, NoteKind, ResultObject, Run, Series, Study
from worker.settings import Settings
from worker.states import Cause, StudyState
from worker.storage import ResultStore, StoredResult
from worker.studies import Lease, Move, Position, StaleStudy

logger = logging.getLogger(__name__)

SCRATCH_PREFIX = "analysis-"
SCRATCH_SECONDS = 2 * 3600.0
"""No analysis lives so long; a scratch folder that is older belongs to nobody."""

_CANDIDATES = 16
"""Studies at the head of the queue that a worker tries to take: others may be quicker."""


@dataclass(frozen=True, slots=True)
class StudyAnalyzer:
    """Everything that analyses of one GPU worker share; ``analyze`` may be called any number of times for a study.

    ``tools`` gives those of the model that is to serve now; a study asks once.
    """

    settings: Settings
    database: Database
    results: ResultStore
    tools: Callable[[], AnalysisTools]
    bell: Bell
    clock: Clock

    def analyze(self, study_id: int, generation: int) -> None:
        """Analyze the study that comes first of all that wait; does nothing where none does.

        The message is only a hint that some study waits, and may be older than the order of the rows.
        """
        lease = self._claim()
        if lease is None:
            logger.info("nothing to analyze: the study is elsewhere", extra={"study_id": study_id})
            return
        if (lease.study_id, lease.generation) != (study_id, generation):
            logger.info("another study comes first", extra={"study_id": lease.study_id})
        try:
            with KeptLease(self.database, lease, self.clock, self.settings.lease_seconds) as kept:
                self._analyze(kept)
        except StaleStudy:
            logger.info("the study changed under the analysis, its work is dropped", extra={"study_id": lease.study_id})
            return
        except Exception as error:  # the boundary of one study: nothing that a study does may end the worker
            logger.exception("the analysis crashed", extra={"study_id": lease.study_id})
            self._crashed(lease, type(error).__name__)
            return
        self._ring(lease)

    def _claim(self) -> Lease | None:
        """The lease of the first study of the queue that no other worker takes before."""
        now = self.clock()
        with self.database.reading() as session:
            waiting = queue_order.due(session, StudyState.QUEUED, now, _CANDIDATES)
        for row in waiting:
            position = Position(row.id, row.state, row.generation)
            try:
                with self.database.transaction() as session:
                    return studies.claim(session, position, now, self.settings.lease_seconds)
            except StaleStudy:
                continue
        return None

    def _analyze(self, kept: KeptLease) -> None:
        with self.database.reading() as session:
            inputs = inputs_of(session, kept.lease.study_id, self.settings.spool_dir)
        missing = [item for item in inputs if not item.path.is_file()]
        if missing:
            text = f"{len(missing)} of {len(inputs)} stored files are missing"
            self._end(kept.lease, Failure(FailureCode.INPUT_MISSING, text))
            return
        stages = Stages(on_stage=kept.stage)
        tools = self._loaded(kept.lease)
        if tools is None:
            return
        with self.database.reading() as session:
            supersedes = versions.superseded(session, self.results, kept.lease.study_id)
        try:
            with self._scratch() as scratch:
                analysis = analyze_files([item.path for item in inputs], Path(scratch), tools, stages, supersedes)
                with stages.stage("store"):
                    stored = [(item, self.results.put(encode(item.dataset))) for item in analysis.results]
        except PredictorOutOfMemory as error:
            self._postpone(kept.lease, Failure(FailureCode.PREDICTOR_OUT_OF_MEMORY, str(error)))
        except OSError as error:  # the disk: full, gone, read-only
            text = f"files cannot be written ({error.strerror})"
            self._postpone(kept.lease, Failure(FailureCode.OUT_OF_RESOURCES, text))
        except ModelError as error:
            self._end(kept.lease, Failure(FailureCode.PREDICTOR, str(error)))
        except DicomNodeError as error:
            self._refuse(kept.lease, error)
        else:
            self._record(kept.lease, inputs, analysis, stored)

    def _loaded(self, lease: Lease) -> AnalysisTools | None:
        """The model that is to serve; where it cannot be loaded the study waits, for no other may answer."""
        try:
            return self.tools()
        except BundleError as error:
            text = str(error)
        except Exception as error:  # whatever keeps a model from being loaded says nothing of the study
            logger.exception("the model cannot be loaded")
            text = f"the model cannot be loaded ({type(error).__name__})"
        self._postpone(lease, Failure(FailureCode.MODEL_UNAVAILABLE, text))
        return None

    def _scratch(self) -> AbstractContextManager[str]:
        self.settings.scratch_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=self.settings.scratch_dir, prefix=SCRATCH_PREFIX)

    def sweep_scratch(self) -> int:
        """Remove what killed analyses left in the scratch folder; return how many there were."""
        oldest = self.clock().timestamp() - SCRATCH_SECONDS
        left = [path for path in self.settings.scratch_dir.glob(f"{SCRATCH_PREFIX}*") if path.stat().st_mtime < oldest]
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
        return len(left)

    def _record(
        self,
        lease: Lease,
        inputs: Sequence[Input],
        analysis: Analysis,
        stored: Sequence[tuple[BuiltResult, StoredResult]],
    ) -> None:
        """Findings, result objects and the move to SENDING in one transaction that the lease's token fences."""
        with self.database.transaction() as session:
            studies.held(session, lease)
            _write_verdicts(session, lease.study_id, analysis.reading.verdicts)
            self._write_notes(session, lease, analysis.reading.notes)
            run = self._run(lease, inputs, analysis)
            session.add(run)
            versions.take_over(session, self.results, run, [_result_object(item, kept) for item, kept in stored])
            detail = _summary(analysis)
            studies.transition(session, lease.position, Move(Cause.ANALYZED, self.clock(), detail))

    def _run(self, lease: Lease, inputs: Sequence[Input], analysis: Analysis) -> Run:
        bundle = analysis.bundle
        return Run(
            study_id=lease.study_id,
            generation=lease.generation,
            created_at=analysis.analyzed_at,
            bundle_name=bundle.name,
            bundle_version=bundle.version,
            bundle_sha256=bundle.sha256,
            findings=analysis.findings.as_json(),
            manifest=self._manifest(lease, inputs, analysis),
            seconds=sum(value for name, value in analysis.seconds.items() if "." not in name),
            probability=round(analysis.findings.probability, 4),
            levels=[_level_finding(finding) for finding in analysis.findings.vertebrae],
        )

    def _manifest(self, lease: Lease, inputs: Sequence[Input], analysis: Analysis) -> dict[str, Any]:
        """What lets the run be repeated and explained; no identity in it."""
        content = "\n".join(sorted(f"{item.sop_instance_uid} {item.sha256}" for item in inputs))
        return {
            "product": {"name": "cspine", "version": product_version()},
            "bundle": {"name": analysis.bundle.name, "sha256": analysis.bundle.sha256},
            "attempt": lease.attempt,
            "input": {"instances": len(inputs), "sha256": hashlib.sha256(content.encode()).hexdigest()},
            "series": {
                "series_instance_uid": analysis.reading.series.series_instance_uid,
                "shape": list(analysis.reading.series.hu.shape),
                "spacing_mm": [round(value, 4) for value in analysis.reading.series.spacing_mm],
            },
            "seconds": analysis.seconds,
            "libraries": {
                name: importlib.metadata.version(name) for name in ("pydicom", "highdicom", "numpy", "scipy", "keras")
            },
        }

    def _refuse(self, lease: Lease, error: DicomNodeError) -> None:
        """SKIPPED when nothing in the study is for this product, FAILED when what is cannot be read, else later."""
        if not error.permanent:
            self._postpone(lease, Failure(error.code, str(error)))
            return
        cause = Cause.INELIGIBLE if isinstance(error, Ineligible) else Cause.ANALYSIS_FAILED
        failure = Failure(error.code, str(error))
        with self.database.transaction() as session:
            if isinstance(error, ReadingError):
                _write_verdicts(session, lease.study_id, error.verdicts)
                self._write_notes(session, lease, error.notes)
            move = Move(cause, self.clock(), f"{failure.code}: {failure.text}", failure=failure)
            studies.transition(session, lease.position, move)

    def _write_notes(self, session: Session, lease: Lease, notes: Sequence[str]) -> None:
        """What was left out on reading, for the timeline."""
        for text in notes:
            studies.note(session, lease.position, NoteKind.READING, self.clock(), text)

    def _end(self, lease: Lease, failure: Failure) -> None:
        with self.database.transaction() as session:
            detail = f"{failure.code}: {failure.text}"
            studies.transition(
                session, lease.position, Move(Cause.ANALYSIS_FAILED, self.clock(), detail, failure=failure)
            )

    def _postpone(self, lease: Lease, failure: Failure) -> None:
        """Try again later; give up when the tries are too old."""
        now, backoff = self.clock(), backoff_of(self.settings)
        if lease.first_failed_at is not None and backoff.exhausted(lease.first_failed_at, now):
            self._end(lease, failure)
            return
        pause = backoff.pause(lease.retries, random.random())  # noqa: S311  (jitter, not a secret)
        detail = f"again in {pause.total_seconds():.0f} s: {failure.text}"
        move = Move(Cause.POSTPONED, now, detail, failure=failure, not_before=now + pause)
        with self.database.transaction() as session:
            studies.transition(session, lease.position, move)

    def _crashed(self, lease: Lease, kind: str) -> None:
        """Count the crash; a study that crashes again and again is set aside instead of looping for ever."""
        try:
            with self.database.transaction() as session:
                studies.held(session, lease)
                crashes = session.scalar(select(Study.crashes).where(Study.id == lease.study_id)) or 0
                now = self.clock()
                if crashes + 1 >= self.settings.max_attempts:
                    text = f"the analysis crashed {crashes + 1} times, the last time with {kind}"
                    move = Move(Cause.POISONED, now, text, failure=Failure(FailureCode.POISON, text))
                else:
                    move = Move(Cause.CRASHED, now, f"the analysis crashed with {kind}")
                studies.transition(session, lease.position, move)
        except StaleStudy:
            logger.info("the crashed study is elsewhere already", extra={"study_id": lease.study_id})

    def _ring(self, lease: Lease) -> None:
        """Tell a clerk at once; when the broker does not answer, the next sweep does."""
        try:
            self.bell.ring_delivery(lease.study_id, lease.generation)
        except BellUnavailable:
            logger.warning("the broker does not answer; the sweep will ring", extra={"study_id": lease.study_id})


def backoff_of(settings: Settings) -> Backoff:
    """The back-off that these settings ask for."""
    return Backoff(settings.retry_base_seconds, settings.retry_max_seconds, settings.retry_age_seconds)


def _write_verdicts(session: Session, study_id: int, verdicts: Sequence[SeriesVerdict]) -> None:
    """Why each series was chosen or not, for the study's page."""
    rows = {row.series_instance_uid: row for row in session.scalars(select(Series).where(Series.study_id == study_id))}
    for verdict in sorted(verdicts, key=lambda item: item.chosen):  # a series of several stacks is chosen if one is
        row = rows.get(verdict.series_instance_uid)
        if row is not None:
            row.chosen, row.verdict = verdict.chosen, verdict.reason


def _level_finding(finding: VertebraFinding) -> LevelFinding:
    """The row of one level's finding."""
    probability = round(finding.probability, 4)
    return LevelFinding(vertebra=finding.vertebra.name, probability=probability, fractured=finding.fractured)


def _result_object(item: BuiltResult, stored: StoredResult) -> ResultObject:
    """The row of an object whose bytes are stored."""
    return ResultObject(
        kind=item.kind.value,
        variant=item.variant,
        identity=0,
        sop_class_uid=str(item.dataset.SOPClassUID),
        sop_instance_uid=str(item.dataset.SOPInstanceUID),
        path=stored.path,
        sha256=stored.sha256,
        size_bytes=stored.size_bytes,
    )


def _summary(analysis: Analysis) -> str:
    """One line for the timeline: levels, suspected fractures, seconds."""
    levels = [finding.vertebra.name for finding in analysis.findings.vertebrae]
    suspected = [finding.vertebra.name for finding in analysis.findings.fractured]
    seconds = sum(value for name, value in analysis.seconds.items() if "." not in name)
    found = f"{levels[0]}-{levels[-1]} ({len(levels)} levels)" if levels else "no level"
    return f"found {found}; fracture suspected: {', '.join(suspected) or 'none'}; {seconds:.1f} s"
