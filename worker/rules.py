"""Which studies are analyzed, and which of them first: rules of a site in their order; the first that is met decides.

Pure. A rule is met when the sender fits and one series meets all its other conditions; a rule without conditions is
always met. Patterns know ``*`` and ``?`` alone, as queries of DICOM do (PS3.4 C.2.2.2.4), and are matched without
regard to case. What a header does not say meets no pattern.
"""

import fnmatch
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from dicom_node.sanitize import clean_text
from dicom_node.series_facts import SeriesFacts

MAXIMUM_PATTERN = 64
"""Characters of a pattern: no fact is longer."""


class Action(StrEnum):
    """What becomes of a complete study."""

    ANALYZE = "analyze"
    SKIP = "skip"


class Priority(IntEnum):
    """Whom a study waits before; operators can put single studies before all of them."""

    LOW = -5
    NORMAL = 0
    URGENT = 5

    @property
    def word(self) -> str:
        """The priority as rules and pages call it."""
        return self.name.lower()


HEADER_KEYS = (
    "modality",
    "body_part",
    "study_description",
    "series_description",
    "protocol_name",
    "procedure_code",
    "station_name",
)
"""What patterns can be given for beside the calling AE title."""


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What rules know of a study: who sent it (None: not known) and its series; None is one that cannot be read."""

    calling_ae_title: str | None
    series: tuple[SeriesFacts | None, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """What a series must say under one of the ``HEADER_KEYS``: one of these patterns must fit."""

    key: str
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its name, its line in the file, its conditions, and what it decides; ages are years."""

    name: str
    line: int
    action: Action = Action.ANALYZE
    priority: Priority = Priority.NORMAL
    calling_ae_titles: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    age_from: float | None = None
    age_below: float | None = None

    @property
    def unconditional(self) -> bool:
        """Whether the rule is met by every study."""
        return not self.calling_ae_titles and not self.asks_headers

    @property
    def asks_headers(self) -> bool:
        """Whether a series must meet it."""
        return bool(self.conditions) or self.age_from is not None or self.age_below is not None

    @property
    def outcome(self) -> str:
        """What it decides, in words."""
        return _outcome(self.action, self.priority)

    def unmet(self, facts: SeriesFacts | None) -> tuple[str, ...]:
        """The keys whose conditions a series does not meet."""
        facts = facts or SeriesFacts()
        missed = [one.key for one in self.conditions if not _fits(one.patterns, values_of(facts, one.key))]
        age = facts.age_years
        missed += ["age_from"] if self.age_from is not None and (age is None or age < self.age_from) else []
        missed += ["age_below"] if self.age_below is not None and (age is None or age >= self.age_below) else []
        return tuple(missed)


@dataclass(frozen=True, slots=True)
class Trial:
    """How a study did by one rule: met when ``unmet`` is empty.

    ``series`` counts from 1: the first series that meets the rule, or comes nearest; 0 where none was asked for.
    """

    rule: Rule
    unmet: tuple[str, ...]
    series: int

    @property
    def met(self) -> bool:
        """Whether the rule decides, if none before it does."""
        return not self.unmet


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a study by the rules of ``file_name``; without a ``trial`` none of them was met."""

    file_name: str
    trial: Trial | None
    series_count: int

    @property
    def action(self) -> Action:
        """What becomes of it: where no rule is met it is analyzed."""
        return Action.ANALYZE if self.trial is None else self.trial.rule.action

    @property
    def priority(self) -> Priority:
        """Whom it waits before."""
        return Priority.NORMAL if self.trial is None else self.trial.rule.priority

    @property
    def rule(self) -> str:
        """The rule and its line."""
        if self.trial is None:
            return f"no rule of {self.file_name} is met"
        return f"rule '{self.trial.rule.name}' (line {self.trial.rule.line} of {self.file_name})"

    def as_text(self) -> str:
        """One line for the timeline: it holds the site's own words alone, none of a header."""
        by = f"; met by series {self.trial.series} of {self.series_count}" if self.trial and self.trial.series else ""
        return f"{self.rule}: {_outcome(self.action, self.priority)}{by}"


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a file in their order."""

    file_name: str
    rules: tuple[Rule, ...]

    def decide(self, study: StudyFacts) -> Decision:
        """The first rule that is met decides; where none is, the study is analyzed."""
        trial = next((trial for trial in (try_rule(rule, study) for rule in self.rules) if trial.met), None)
        return Decision(self.file_name, trial, len(study.series))


def try_rule(rule: Rule, study: StudyFacts) -> Trial:
    """How the study does by this rule, whatever the others say."""
    titles = () if study.calling_ae_title is None else (study.calling_ae_title,)
    strange = ("calling_ae_title",) if rule.calling_ae_titles and not _fits(rule.calling_ae_titles, titles) else ()
    if not rule.asks_headers:
        return Trial(rule, strange, 0)
    missed, number = min(
        ((rule.unmet(facts), number) for number, facts in enumerate(study.series, 1)),
        key=lambda found: len(found[0]),
        default=(rule.unmet(None), 0),
    )
    return Trial(rule, (*strange, *missed), number)


def values_of(facts: SeriesFacts, key: str) -> tuple[str, ...]:
    """What a series says under a key of the rules."""
    found = facts.procedure_codes if key == "procedure_code" else (getattr(facts, key),)
    return tuple(value for value in found if value)


def pattern(text: str) -> str:
    """A pattern as it is matched: cleaned as facts are, in one case; ValueError when it is empty or too long."""
    cleaned = clean_text(text, MAXIMUM_PATTERN + 1).casefold()
    if not cleaned or len(cleaned) > MAXIMUM_PATTERN:
        raise ValueError(f"expected patterns of 1 to {MAXIMUM_PATTERN} characters")
    return cleaned


def _fits(patterns: tuple[str, ...], values: tuple[str, ...]) -> bool:
    """Whether one of the values fits one of the patterns; fnmatch's expressions never try a star twice."""
    folded = [value.casefold() for value in values]
    return any(fnmatch.fnmatchcase(value, one.replace("[", "[[]")) for value in folded for one in patterns)


def _outcome(action: Action, priority: Priority) -> str:
    return action.value if action is Action.SKIP else f"{action}, {priority.word}"
