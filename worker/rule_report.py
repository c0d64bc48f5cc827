"""How a study does by each rule, for who writes rules: what its headers say, which rule is met or why not."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import select

from dicom_node.errors import InvalidInstance
from dicom_node.instance_file import read_instance
from dicom_node.series_facts import FACT_TAGS, SeriesFacts, facts_of
from worker.database import Database
from worker.errors import StartupError
from worker.records import Study
from worker.rules import HEADER_KEYS, Rule, Rules, StudyFacts, Trial, try_rule, values_of
from worker.triage import read_facts, spooled


def study_facts(database: Database, study_instance_uid: str, spool_dir: Path) -> StudyFacts:
    """What the rules see of a received study; ``StartupError`` where there is none of this UID."""
    with database.reading() as session:
        study_id = session.scalar(select(Study.id).where(Study.study_instance_uid == study_instance_uid))
        found = {} if study_id is None else spooled(session, (study_id,), spool_dir)
    if study_id is None:
        raise StartupError(f"no study {study_instance_uid} was received here: see `cspine studies`")
    return read_facts(found[study_id])


def folder_facts(folder: Path, calling_ae_title: str | None) -> StudyFacts:
    """What the rules would see of the study in a folder; ``StartupError`` unless it holds instances of one."""
    series: dict[str, SeriesFacts] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            facts = facts_of(read_instance(path, FACT_TAGS).dataset)
        except (InvalidInstance, OSError):  # other files lie in folders as well
            continue
        series[facts.series_instance_uid] = facts
    studies = {facts.study_instance_uid for facts in series.values()}
    if len(studies) != 1:
        raise StartupError(f"{folder} holds instances of {len(studies)} studies: name the folder of one")
    return StudyFacts(calling_ae_title, tuple(series.values()))


def report(rules: Rules, study: StudyFacts) -> Iterator[str]:
    """The lines of the report: the texts of headers come cleaned."""
    yield f"sent by {study.calling_ae_title or 'an AE title that is not known'}"
    for number, facts in enumerate(study.series, 1):
        yield from _series(f"series {number} of {len(study.series)}", facts)
    decision = rules.decide(study)
    reached = True
    for rule in rules.rules:
        yield _trial(try_rule(rule, study)) if reached else f"{_place(rule)}: not reached"
        reached = reached and (decision.trial is None or rule is not decision.trial.rule)
    yield decision.as_text()


def describe(rules: Rules) -> Iterator[str]:
    """Each rule in one line."""
    for rule in rules.rules:
        asked: list[tuple[str, Sequence[object]]] = [(one.key, one.patterns) for one in rule.conditions]
        asked = [("calling_ae_title", rule.calling_ae_titles), *asked] if rule.calling_ae_titles else asked
        asked += [("age_from", (rule.age_from,))] if rule.age_from is not None else []
        asked += [("age_below", (rule.age_below,))] if rule.age_below is not None else []
        conditions = "; ".join(f"{key} {' or '.join(str(value) for value in values)}" for key, values in asked)
        yield f"{_place(rule)}: {rule.outcome} if {conditions}" if asked else f"{_place(rule)}: {rule.outcome}, always"


def _series(title: str, facts: SeriesFacts | None) -> Iterator[str]:
    if facts is None:
        yield f"{title}: its header cannot be read"
        return
    yield f"{title}: {facts.series_instance_uid or 'without a UID'}"
    for key in HEADER_KEYS:
        yield f"  {key:<19} {', '.join(values_of(facts, key)) or '-'}"
    yield f"  {'age':<19} {'-' if facts.age_years is None else f'{facts.age_years:.1f} years'}"


def _trial(trial: Trial) -> str:
    """Whether a rule is met, or what it lacks."""
    by = f" by series {trial.series}" if trial.series else ""
    if trial.met:
        return f"{_place(trial.rule)}: met{by}"
    near = f", series {trial.series} comes nearest" if trial.series else ""
    return f"{_place(trial.rule)}: not met: {', '.join(trial.unmet)}{near}"


def _place(rule: Rule) -> str:
    return f"line {rule.line}, rule '{rule.name}'"
