"""What becomes of complete studies by the rules of the site: one header of each series is read, the rules decide.

Headers are read when a study is complete and not kept: the records hold which rule decided, none of what it saw.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from dicom_node.errors import InvalidInstance
from dicom_node.instance_file import read_instance
from dicom_node.series_facts import FACT_TAGS, SeriesFacts, facts_of
from worker import studies
from worker.failures import Failure, FailureCode
from worker.records import Instance, NoteKind, Series, Study, StudyEvent
from worker.rules import Action, Decision, StudyFacts
from worker.states import Cause
from worker.studies import Move, Position

logger = logging.getLogger(__name__)

MAX_SERIES = 256
"""Series of a study that are looked at: the first that came."""


@dataclass(frozen=True, slots=True)
class SpooledStudy:
    """Who sent a study, and the file of the instance that came last of each of its series, in order of the series."""

    calling_ae_title: str
    files: tuple[Path, ...]


def spooled(session: Session, study_ids: Sequence[int], spool_dir: Path) -> Mapping[int, SpooledStudy]:
    """What there is to read of each of these studies."""
    found = {}
    query = select(Study.id, Study.calling_ae_title).where(Study.id.in_(study_ids)).order_by(Study.id)
    for study_id, calling_ae_title in session.execute(query).all():
        newest = select(func.max(Instance.id)).where(Instance.study_id == study_id).group_by(Instance.series_id)
        paths = (
            select(Instance.path)
            .join(Series, Series.id == Instance.series_id)
            .where(Instance.id.in_(newest))
            .order_by(Series.id)
            .limit(MAX_SERIES)
        )
        found[study_id] = SpooledStudy(calling_ae_title, tuple(spool_dir / path for path in session.scalars(paths)))
    return found


def read_facts(study: SpooledStudy) -> StudyFacts:
    """What the rules may ask about the study."""
    return StudyFacts(study.calling_ae_title, tuple(_facts(path) for path in study.files))


def complete(session: Session, position: Position, move: Move, decision: Decision | None) -> Position:
    """Let a complete study wait for its analysis, or end it there, as decided; None: there are no rules.

    The timeline names the rule. A priority that an operator gave stays.
    """
    if decision is None:
        return studies.transition(session, position, move)
    studies.note(session, position, NoteKind.RULE, move.at, decision.as_text())
    if decision.action is Action.SKIP:
        failure = Failure(FailureCode.EXCLUDED_BY_RULE, f"{decision.rule} says skip")
        detail = f"{failure.code}: {failure.text}"
        return studies.transition(
            session, position, replace(move, cause=Cause.EXCLUDED, detail=detail, failure=failure)
        )
    by_operator = exists().where(StudyEvent.study_id == position.study_id, StudyEvent.kind == NoteKind.PRIORITY)
    priority = update(Study).where(Study.id == position.study_id, ~by_operator).values(priority=int(decision.priority))
    session.connection().execute(priority)
    return studies.transition(session, position, move)


def _facts(path: Path) -> SeriesFacts | None:
    """The facts of one file; None when it cannot be read, which ends nothing: no condition is met by it."""
    try:
        return facts_of(read_instance(path, FACT_TAGS).dataset)
    except (InvalidInstance, OSError) as error:
        logger.warning("a header cannot be read for the rules", extra={"reason": type(error).__name__})
        return None
