"""worker.rule_file: the example is right, and whatever is wrong in a file is told with file, rule, line and key."""

from pathlib import Path

import pytest

from tests.conftest import PROJECT
from worker.rule_file import KEYS, MAX_FILE_BYTES, parse_rules, read_rules
from worker.rules import HEADER_KEYS, Action, Priority, Rules
from worker.settings import Settings, SettingsError

EXAMPLE = PROJECT / "deploy" / "rules.example.toml"
SKIP = '[[rule]]\nname = "rest"\naction = "skip"\n'


def parsed(folder: Path, text: str) -> Rules:
    path = folder / "rules.toml"
    path.write_text(text)
    return parse_rules(path)


def problem_of(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as raised:
        parsed(folder, text)
    return str(raised.value)


def test_the_example_holds_every_key_and_its_first_rule_all_of_them():
    rules = parse_rules(EXAMPLE)
    first, last = rules.rules[0], rules.rules[-1]
    assert (first.name, first.action, first.priority) == ("trauma", Action.ANALYZE, Priority.URGENT)
    assert ({one.key for one in first.conditions}, first.age_from, first.age_below) == (set(HEADER_KEYS), 16.0, 120.0)
    assert first.calling_ae_titles == ("ct_er*", "router")
    assert last.unconditional
    assert last.action is Action.SKIP
    assert all(f"\n{key} = " in EXAMPLE.read_text() for key in KEYS)


def test_a_rule_knows_the_line_it_begins_on(tmp_path: Path):
    rules = parsed(
        tmp_path, '# rules\n\n[[rule]] # first\nname = "a"\nmodality = ["CT"]\naction = "analyze"\n\n' + SKIP
    )
    assert [(rule.name, rule.line) for rule in rules.rules] == [("a", 3), ("rest", 8)]


def test_lines_are_counted_with_the_line_ends_of_windows_as_well(tmp_path: Path):
    path = tmp_path / "rules.toml"
    path.write_bytes(b"# rules\r\n" + SKIP.replace("\n", "\r\n").encode())
    assert parse_rules(path).rules[0].line == 2


def test_without_a_file_there_are_no_rules(tmp_path: Path):
    assert read_rules(Settings()) is None
    (tmp_path / "r.toml").write_text(SKIP)
    rules = read_rules(Settings(rules_file=tmp_path / "r.toml"))
    assert rules is not None
    assert rules.file_name == "r.toml"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[rule]\n", "is no TOML"),
        ("", "rules.toml: expected 1 to 200 tables [[rule]]"),
        ("[rule]\n", "rules.toml: expected 1 to 200 tables [[rule]]"),
        ("[[rules]]\n" + SKIP, "rules.toml: rules is not known: begin each rule with [[rule]]"),
        ('rule = [{name = "a", action = "skip"}]', "rules.toml: begin each rule with [[rule]] on a line of its own"),
        ('[[rule]]\naction = "skip"', "rules.toml: rule (line 1): name: give the rule a name"),
        ('[[rule]]\nname = "a"', "rules.toml: rule 'a' (line 1): action: say analyze or skip"),
        ('[[rule]]\nname = "a\\nb"\naction = "skip"', "rules.toml: rule (line 1): name: expected up to 63 letters"),
        (SKIP + 'body_part = "NECK"', "rules.toml: rule 'rest' (line 1): body_part: expected a list such as"),
        (SKIP + "body_part = []", "body_part: expected 1 to 50 patterns"),
        (SKIP + "body_part = [1]", "body_part: expected a text in quotes"),
        (SKIP + f'modality = ["{"x" * 65}"]', "modality: expected patterns of 1 to 64 characters"),
        (SKIP + 'procedure_code = ["72125"]', "procedure_code: expected codes with their scheme, such as"),
        (SKIP + "age_from = -1", "age_from: expected years, 0 to 150"),
        (SKIP + "age_from = nan", "age_from: expected years, 0 to 150"),
        (SKIP + "age_from = true", "age_from: expected years, 0 to 150"),
        (SKIP + "age_from = 20\nage_below = 20", "age_below: must be above age_from"),
        (SKIP + 'priority = "low"', "priority: a study that is skipped has none"),
        (SKIP.replace("skip", "drop"), "action: expected one of analyze, skip"),
        (SKIP.replace("skip", "analyze") + 'priority = "high"', "priority: expected one of low, normal, urgent"),
        (SKIP + 'bodypart = ["NECK"]', "bodypart: is not a key: did you mean body_part?"),
        (SKIP + "zzz = 1", "zzz: is not a key: name, calling_ae_title,"),
        (SKIP + SKIP + 'modality = ["CT"]', "rules.toml: name: two rules are called rest"),
        (
            SKIP + '[[rule]]\nname = "late"\nmodality = ["CT"]\naction = "analyze"',
            "rules.toml: rule 'late' (line 4): is never reached: rule 'rest' (line 1) before it has no conditions",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, told: str):
    assert told in problem_of(tmp_path, text)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path):
    told = problem_of(tmp_path, SKIP + "age_from = 200\n[[rule]]\nmodality = 3\n")
    assert "rule 'rest' (line 1): age_from:" in told
    assert "rule (line 5): modality:" in told
    assert "rule (line 5): name:" in told
    assert "rule (line 5): action:" in told


def test_a_file_that_is_not_there_too_large_or_no_text_is_named(tmp_path: Path):
    path = tmp_path / "rules.toml"
    with pytest.raises(SettingsError, match=r"rules\.toml cannot be read \(No such file"):
        parse_rules(path)
    path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(SettingsError, match=r"rules\.toml is larger than 256 KiB"):
        parse_rules(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"rules\.toml is no text in UTF-8"):
        parse_rules(path)
