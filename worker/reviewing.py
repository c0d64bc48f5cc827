"""Received reviews read, one after the other: the clerk's way from a file in the spool to a verdict in the timeline."""

import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from dicom_node.errors import InvalidInstance, ReadingAborted
from dicom_node.review import Review as Reading
from dicom_node.review_reading import ResultFile, ResultVersion, read_review
from dicom_node.transfer_syntaxes import SEGMENTATION_CLASSES
from model.findings import Vertebra
from worker import studies
from worker.database import Database
from worker.ports import Clock
from worker.records import NoteKind, ResultObject, Review, ReviewState, Run
from worker.settings import Settings
from worker.storage import ResultCorrupt, ResultStore

logger = logging.getLogger(__name__)

SCRATCH_PREFIX = "review-"
SCRATCH_SECONDS = 3600.0
"""No reading lasts so long; a scratch folder that is older belongs to nobody."""

_LIMIT = 100
"""Reviews that one round reads; the rest comes with the next."""


class ReviewReader:
    """Reads what waits. Several may run at once: the first that is done with a review records it.

    Whatever an object holds, its study stays where it is: only the review's row and the timeline are written.
    """

    def __init__(self, database: Database, settings: Settings, clock: Clock) -> None:
        self._database = database
        self._results = ResultStore(settings.results_dir)
        self._settings = settings
        self._clock = clock

    def run(self, stopped: Callable[[], bool] = lambda: False) -> int:
        """Read the reviews that wait, until ``stopped``; return how many were done with.

        Raises SQLAlchemyError and OSError (no scratch folder, no process): the next round begins where this one ended.
        """
        query = select(Review).where(Review.state == ReviewState.RECEIVED).order_by(Review.id).limit(_LIMIT)
        with self._database.reading() as session:
            waiting = session.scalars(query).all()
        done = 0
        for row in waiting:
            if stopped():
                break
            self._read(row)
            done += 1
        return done

    def sweep_scratch(self) -> int:
        """Remove what killed readers left in the scratch folder; return how many there were."""
        oldest = self._clock().timestamp() - SCRATCH_SECONDS
        left = [p for p in self._settings.scratch_dir.glob(f"{SCRATCH_PREFIX}*") if p.stat().st_mtime < oldest]
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
        return len(left)

    def _read(self, row: Review) -> None:
        """Read one object and record what it says."""
        with self._database.reading() as session:
            versions = self._versions(session, row.study_id)
        self._settings.scratch_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(dir=self._settings.scratch_dir, prefix=SCRATCH_PREFIX) as scratch:
                path = self._settings.spool_dir / row.path
                reading = read_review(path, [version for _, version in versions], Path(scratch))
        except (InvalidInstance, ReadingAborted) as error:
            self._unreadable(row, str(error))
            return
        if reading is None:
            self._forget(row)
        else:
            self._record(row, versions[reading.version][0], reading)

    def _versions(self, session: Session, study_id: int) -> list[tuple[Run, ResultVersion]]:
        """The versions of our results of a study, newest first."""
        runs = session.scalars(select(Run).where(Run.study_id == study_id).order_by(Run.generation.desc())).all()
        return [(run, ResultVersion(tuple(map(self._file, run.results)), suspected_levels(run))) for run in runs]

    def _file(self, result: ResultObject) -> ResultFile:
        """One of our results; of one whose bytes are lost the UID still counts."""
        try:
            path = self._results.verified(result.path, result.sha256)
        except ResultCorrupt:
            logger.warning("a stored result is not compared with a review: its bytes are lost")
            return ResultFile("", "", result.sop_instance_uid)
        return ResultFile(str(path), result.sop_class_uid, result.sop_instance_uid)

    def _record(self, row: Review, run: Run, reading: Reading) -> None:
        values = {
            "state": ReviewState.READ,
            "run_id": run.id,
            "verdict": reading.verdict,
            "content": {name: value for name, value in reading.as_json().items() if name != "version"},
        }
        self._conclude(row, values, f"of the results of generation {run.generation}: {reading.as_line()}")

    def _unreadable(self, row: Review, reason: str) -> None:
        self._conclude(row, {"state": ReviewState.UNREADABLE, "reason": reason}, f"cannot be read: {reason}")

    def _conclude(self, row: Review, values: dict[str, object], text: str) -> None:
        """Write what became of a review, and its line in the timeline, unless another reader was first."""
        statement = update(Review).where(Review.id == row.id, Review.state == ReviewState.RECEIVED).values(values)
        with self._database.transaction() as session:
            if session.connection().execute(statement).rowcount == 1:
                position = studies.position_of(session, row.study_id)
                detail = f"{kind_of(row)} from {row.calling_ae_title} {text}"
                studies.note(session, position, NoteKind.REVIEW, self._clock(), detail)

    def _forget(self, row: Review) -> None:
        """Delete what does not speak of our results: row first, for a file without one is adopted and read again."""
        statement = delete(Review).where(Review.id == row.id, Review.state == ReviewState.RECEIVED)
        with self._database.transaction() as session:
            deleted = session.connection().execute(statement).rowcount
        if deleted:
            (self._settings.spool_dir / row.path).unlink(missing_ok=True)
            logger.info("a %s that does not speak of our results was deleted", kind_of(row))


def read_again(database: Database) -> int:
    """Let everything that could not be read be read again; return how many there are."""
    statement = update(Review).where(Review.state == ReviewState.UNREADABLE)
    statement = statement.values(state=ReviewState.RECEIVED, reason=None)
    with database.transaction() as session:
        return session.connection().execute(statement).rowcount


def suspected_levels(run: Run) -> tuple[Vertebra, ...]:
    """The levels where a run suspects a fracture."""
    return tuple(Vertebra[level["vertebra"]] for level in run.findings["levels"] if level["fractured"])


def kind_of(row: Review) -> str:
    """What a review is, in a word."""
    if row.sop_class_uid in SEGMENTATION_CLASSES:
        return "segmentation"
    return "key object selection" if row.sop_class_uid == _KEY_OBJECTS else "report"


_KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
