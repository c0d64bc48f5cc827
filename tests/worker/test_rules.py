"""worker.rules: the first rule that is met decides, in the site's words, whatever the headers hold."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.series_facts import SeriesFacts
from worker.rules import MAXIMUM_PATTERN, Action, Condition, Priority, Rule, Rules, StudyFacts, pattern, try_rule

NECK = SeriesFacts(modality="CT", body_part="CSPINE", series_description="HWS Knochen", age_years=45.0)
CHEST = SeriesFacts(modality="CT", body_part="CHEST", series_description="Thorax Lunge", procedure_codes=("CPT:71260",))
SKIP_REST = Rule("rest", 9, Action.SKIP)


def rule(name: str = "neck", line: int = 1, **more) -> Rule:
    patterns = more.pop("patterns", {}).items()
    conditions = tuple(Condition(key, tuple(pattern(one) for one in values)) for key, values in patterns)
    titles = tuple(pattern(one) for one in more.pop("titles", ()))
    return Rule(name, line, conditions=conditions, calling_ae_titles=titles, **more)


def study(*series: SeriesFacts | None, sender: str | None = "CT1") -> StudyFacts:
    return StudyFacts(sender, series)


def met(one: Rule, *series: SeriesFacts | None, sender: str | None = "CT1") -> bool:
    return try_rule(one, study(*series, sender=sender)).met


def test_the_first_rule_that_is_met_decides_and_is_named_with_its_line():
    rules = Rules(
        "rules.toml",
        (
            rule("abdomen", 3, patterns={"body_part": ["ABDOMEN"]}, action=Action.SKIP),
            rule("neck-ct", 12, patterns={"body_part": ["*spine*"]}, priority=Priority.URGENT),
            rule("all", 20),
        ),
    )
    decision = rules.decide(study(CHEST, NECK))
    assert decision.as_text() == "rule 'neck-ct' (line 12 of rules.toml): analyze, urgent; met by series 2 of 2"
    assert (decision.action, decision.priority) == (Action.ANALYZE, Priority.URGENT)


def test_a_study_that_meets_no_rule_is_analyzed_as_without_rules():
    decision = Rules("rules.toml", (rule(patterns={"modality": ["MR"]}),)).decide(study(NECK))
    assert decision.as_text() == "no rule of rules.toml is met: analyze, normal"
    assert (decision.action, decision.priority) == (Action.ANALYZE, Priority.NORMAL)


def test_a_last_rule_without_conditions_decides_on_the_rest():
    rules = Rules("rules.toml", (rule(patterns={"body_part": ["*spine*"]}), SKIP_REST))
    assert rules.decide(study(CHEST)).as_text() == "rule 'rest' (line 9 of rules.toml): skip"
    assert rules.decide(study()).action is Action.SKIP
    assert rules.decide(study(NECK)).action is Action.ANALYZE


def test_one_series_must_meet_all_conditions_of_headers():
    both = rule(patterns={"body_part": ["CSPINE"], "series_description": ["*lunge*"]})
    assert not met(both, NECK, CHEST)
    assert met(both, CHEST, SeriesFacts(body_part="CSPINE", series_description="Lunge"))


def test_the_sender_is_matched_beside_the_series():
    one = rule(titles=["CT_*", "ROUTER"], patterns={"modality": ["CT"]})
    assert met(one, NECK, sender="ct_2")
    assert not met(one, NECK, sender="MR_1")
    assert not met(one, NECK, sender=None)
    assert try_rule(one, study(NECK, sender="MR_1")).unmet == ("calling_ae_title",)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["hws knochen"], True),
        (["hws"], False),
        (["HWS*"], True),
        (["*noche?"], True),
        (["?"], False),
        (["thorax", "*KNOCHEN"], True),
        (["[h]ws*"], False),
        (["*"], True),
    ],
)
def test_patterns_know_star_and_question_mark_alone_and_no_case(patterns, expected):
    assert met(rule(patterns={"series_description": patterns}), NECK) is expected


def test_letters_are_compared_without_case_in_other_scripts_as_well():
    assert met(
        rule(patterns={"study_description": ["*WIRBELSÄULE*"]}), SeriesFacts(study_description="Halswirbelsäule")
    )
    assert met(rule(patterns={"study_description": ["шея"]}), SeriesFacts(study_description="ШЕЯ"))
    assert met(rule(patterns={"body_part": ["[neck]"]}), SeriesFacts(body_part="[NECK]"))


def test_what_a_header_does_not_say_meets_no_pattern():
    assert not met(rule(patterns={"protocol_name": ["*"]}), NECK)
    assert not met(rule(patterns={"procedure_code": ["*:*"]}), NECK)
    assert not met(rule(patterns={"modality": ["*"]}), None)


def test_one_of_several_codes_is_enough():
    codes = SeriesFacts(procedure_codes=("99RIS:CTHWS", "CPT:72125"))
    assert met(rule(patterns={"procedure_code": ["cpt:72125"]}), codes)
    assert not met(rule(patterns={"procedure_code": ["cpt:7212"]}), codes)


@pytest.mark.parametrize(("age", "expected"), [(None, False), (15.9, False), (16.0, True), (64.9, True), (65.0, False)])
def test_ages_are_from_and_below(age, expected):
    assert met(rule(age_from=16.0, age_below=65.0), SeriesFacts(age_years=age)) is expected


def test_the_series_that_comes_nearest_tells_what_is_missing():
    one = rule(patterns={"modality": ["CT"], "body_part": ["*SPINE"], "protocol_name": ["trauma"]})
    trial = try_rule(one, study(None, SeriesFacts(modality="MR"), NECK))
    assert (trial.series, trial.unmet) == (3, ("protocol_name",))
    assert try_rule(one, study()).unmet == ("modality", "body_part", "protocol_name")


def test_a_pattern_of_many_stars_is_matched_at_once():
    one = rule(patterns={"series_description": ["*a" * 31 + "b"]})
    begin = time.perf_counter()
    assert not met(one, SeriesFacts(series_description="a" * 64))
    assert time.perf_counter() - begin < 0.5


@pytest.mark.parametrize("text", ["", " ", "\x00\x1b", "x" * (MAXIMUM_PATTERN + 1)])
def test_a_pattern_that_says_nothing_or_too_much_is_refused(text: str):
    with pytest.raises(ValueError, match="1 to 64 characters"):
        pattern(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=64), st.text(min_size=1, max_size=64))
def test_no_text_of_a_stranger_breaks_matching_or_reaches_the_timeline(description: str, wanted: str):
    try:
        cleaned = pattern(wanted)
    except ValueError:
        return
    rules = Rules("rules.toml", (Rule("one", 1, conditions=(Condition("study_description", (cleaned,)),)), SKIP_REST))
    text = rules.decide(study(SeriesFacts(study_description=description))).as_text()
    assert text in {
        "rule 'one' (line 1 of rules.toml): analyze, normal; met by series 1 of 1",
        "rule 'rest' (line 9 of rules.toml): skip",
    }
