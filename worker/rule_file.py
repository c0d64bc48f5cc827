"""The rules of a site from the TOML file of CSPINE_RULES_FILE; ``deploy/rules.example.toml`` explains every key.

Everything is checked when a process starts; each error names the file, the rule with its line, and the key.
"""

import re
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

from worker import toml_table
from worker.rules import HEADER_KEYS, Action, Condition, Priority, Rule, Rules, pattern
from worker.settings import Settings, SettingsError
from worker.toml_table import TomlTable

MAX_FILE_BYTES = 256 * 1024
MAX_RULES = 200
MAX_PATTERNS = 50
MAX_AGE = 150

KEYS = ("name", "calling_ae_title", *HEADER_KEYS, "age_from", "age_below", "action", "priority")
_BEGINS_RULE = re.compile(r"\s*\[\[\s*rule\s*\]\]\s*(?:#.*)?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}")
_EXAMPLES = {
    "calling_ae_title": '["CT_ER*"]',
    "modality": '["CT"]',
    "procedure_code": '["CPT:72125", "99RIS:HWS*"]',
}


def read_rules(settings: Settings) -> Rules | None:
    """The rules of these settings, None where no file is set; one ``SettingsError`` names all that is wrong."""
    return None if settings.rules_file is None else parse_rules(settings.rules_file)


def parse_rules(path: Path) -> Rules:
    """Read and check the file; raises ``SettingsError``."""
    source = _text_of(path)
    try:
        content = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is no TOML: {error}") from error
    tables = content.pop("rule", None)
    problems = [f"{path.name}: {key} is not known: begin each rule with [[rule]]" for key in content]
    if not isinstance(tables, list) or not 1 <= len(tables) <= MAX_RULES:
        problems.append(f"{path.name}: expected 1 to {MAX_RULES} tables [[rule]]")
        tables = []
    lines = [number for number, line in enumerate(source.split("\n"), 1) if _BEGINS_RULE.fullmatch(line)]
    if len(lines) != len(tables) and tables:
        problems.append(f"{path.name}: begin each rule with [[rule]] on a line of its own, and nothing else")
        tables = []
    readers = [_RuleTable(table, path, line) for table, line in zip(tables, lines, strict=False)]
    rules = tuple(reader.rule() for reader in readers)
    problems += [problem for reader in readers for problem in reader.problems]
    problems = problems or _misplaced(path, rules)
    if problems:
        raise SettingsError("; ".join(problems))
    return Rules(path.name, rules)


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}): name a readable file of rules") from error
    if len(content) > MAX_FILE_BYTES:
        raise SettingsError(f"{path} is larger than {MAX_FILE_BYTES // 1024} KiB: name a file of rules")
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is no text in UTF-8: save it as such") from error


def _misplaced(path: Path, rules: tuple[Rule, ...]) -> list[str]:
    """Names that two rules have, and rules that are never reached."""
    names = [rule.name for rule in rules]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems = [f"{path.name}: name: two rules are called {name}" for name in twice]
    ends = next((place for place, rule in enumerate(rules) if rule.unconditional), len(rules))
    for rule in rules[ends + 1 :]:
        before = f"rule '{rules[ends].name}' (line {rules[ends].line}) before it has no conditions"
        problems.append(f"{path.name}: rule '{rule.name}' (line {rule.line}): is never reached: {before}")
    return problems


class _RuleTable(TomlTable):
    """One ``[[rule]]``."""

    def __init__(self, table: Any, path: Path, line: int) -> None:
        name = table.get("name") if isinstance(table, dict) else None
        known = f"rule '{name}'" if isinstance(name, str) and _NAME.fullmatch(name) else "rule"
        super().__init__(table, f"{path.name}: {known} (line {line})")
        self._line = line

    def rule(self) -> Rule:
        """What the table says; to be used only when no problem was found."""
        none: tuple[str, ...] = ()
        titles = self.take("calling_ae_title", partial(_patterns, "calling_ae_title"), none)
        patterns = {key: self.take(key, partial(_patterns, key), none) for key in HEADER_KEYS}
        name = self.take("name", _name, "")
        action, priority = self.take("action", _action, None), self.take("priority", _priority, None)
        rule = Rule(
            name=name,
            line=self._line,
            action=action or Action.ANALYZE,
            priority=Priority.NORMAL if priority is None else priority,
            calling_ae_titles=titles,
            conditions=tuple(Condition(key, values) for key, values in patterns.items() if values),
            age_from=self.take("age_from", _age, None),
            age_below=self.take("age_below", _age, None),
        )
        self.refuse_others(KEYS)
        for key, value, missing in (("name", name, "give the rule a name"), ("action", action, "say analyze or skip")):
            if not value and not any(f": {key}: " in problem for problem in self.problems):
                self.wrong(key, missing)
        if action is Action.SKIP and priority is not None:
            self.wrong("priority", "a study that is skipped has none")
        if rule.age_from is not None and rule.age_below is not None and rule.age_from >= rule.age_below:
            self.wrong("age_below", "must be above age_from")
        return rule


def _patterns(key: str, value: Any) -> tuple[str, ...]:
    found = tuple(pattern(one) for one in toml_table.texts(value, _EXAMPLES.get(key, '["*spine*", "neck*"]')))
    if not 1 <= len(found) <= MAX_PATTERNS:
        raise ValueError(f"expected 1 to {MAX_PATTERNS} patterns; leave the key out to ask for nothing")
    if key == "procedure_code" and not all(":" in one for one in found):
        raise ValueError(f"expected codes with their scheme, such as {_EXAMPLES[key]}")
    return found


def _name(value: Any) -> str:
    text = toml_table.text(value)
    if not _NAME.fullmatch(text):
        raise ValueError("expected up to 63 letters, digits, spaces, dots, hyphens or underscores")
    return text


def _action(value: Any) -> Action:
    try:
        return Action(toml_table.text(value))
    except ValueError:
        raise ValueError(f"expected one of {', '.join(Action)}") from None


def _priority(value: Any) -> Priority:
    found = {priority.word: priority for priority in Priority}.get(toml_table.text(value))
    if found is None:
        raise ValueError(f"expected one of {', '.join(priority.word for priority in Priority)}")
    return found


def _age(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_AGE:
        raise ValueError(f"expected years, 0 to {MAX_AGE}")
    return float(value)
