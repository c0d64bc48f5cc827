"""Rules from the file to the study's page: real instances, real sweeps, and the order in which workers take studies."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydicom import Dataset
from sqlalchemy import select

from tests.dicom_node.small_series import SPACING_MM, small_hu, write
from tests.worker.scripted import Workplace, workplace
from training.synthesis.phantom_options import Identity
from training.synthesis.phantom_series import SeriesOptions, make_series
from worker import waiting
from worker.cli import main
from worker.queries import StudyView, find_study, retry_study
from worker.records import Study, StudyEvent
from worker.states import Cause, StudyState
from worker.sweeps import Sweeps

RULES = """\
[[rule]]
name = "trauma"
calling_ae_title = ["SEND*"]
study_description = ["*trauma*"]
action = "analyze"
priority = "urgent"

[[rule]]
name = "neck-ct"
body_part = ["*spine*"]
series_description = ["*bone*"]
action = "analyze"

[[rule]]
name = "research"
study_description = ["trial *"]
action = "analyze"
priority = "low"

[[rule]]
name = "rest"
action = "skip"
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    """An installation with rules, which has received nothing."""
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    with workplace(tmp_path / "data") as made:
        made.settings = replace(made.settings, rules_file=rules)
        yield made


def series(study: str, number: int = 1, slices: int = 1, **identity: str) -> list[Dataset]:
    named = Identity(study=study, series=str(number), series_number=number, **identity)
    return list(make_series(small_hu((slices, 8, 8)), SPACING_MM, SeriesOptions(identity=named)))


def receive(place: Workplace, *datasets: Dataset) -> str:
    """Receive a study by C-STORE; return its UID."""
    uid = str(datasets[0].StudyInstanceUID)
    folder = place.settings.data_dir.parent / f"sent-{len(list(place.settings.data_dir.parent.iterdir()))}"
    write(datasets, folder)
    place.receive(folder)
    return uid


def sweep(place: Workplace) -> Sweeps:
    """Let the clerk find what is quiet, some time later."""
    place.clock = lambda: datetime.now(UTC) + timedelta(hours=1)
    sweeps = Sweeps(place.database, place.settings, place.bell, place.clock)
    sweeps.run()
    return sweeps


def view(place: Workplace, uid: str) -> StudyView:
    found = find_study(place.database, uid)
    assert found is not None
    return found


def priority(place: Workplace, uid: str) -> int:
    with place.database.reading() as session:
        found = session.scalar(select(Study.priority).where(Study.study_instance_uid == uid))
    assert found is not None
    return found


def cspine(place: Workplace, *arguments: object) -> Result:
    environment = {"CSPINE_RULES_FILE": str(place.settings.rules_file), "CSPINE_DATA_DIR": str(place.settings.data_dir)}
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)


def test_the_study_page_names_the_line_that_decided(place: Workplace):
    uid = receive(
        place,
        *series("1", 1, body_part="CHEST", series_description="Lung"),
        *series("1", 2, body_part="CSPINE", series_description="C-Spine axial bone"),
    )
    sweep(place)
    decided = "rule 'neck-ct' (line 8 of rules.toml): analyze, normal; met by series 2 of 2"
    assert view(place, uid).state is StudyState.QUEUED
    assert view(place, uid).rule == decided
    assert [event.kind for event in view(place, uid).events] == ["CREATED", "RULE", "COMPLETED"]
    assert f"rules      {decided}" in cspine(place, "study", uid).output
    assert json.loads(cspine(place, "study", uid, "--json").output)["rule"] == decided


def test_a_rule_that_skips_ends_the_study_with_its_name_and_the_next_step(place: Workplace):
    uid = receive(place, *series("1", body_part="KNEE", study_description="Knie", series_description="Knie"))
    sweep(place)
    found = view(place, uid)
    assert found.state is StudyState.SKIPPED
    assert found.reason == "EXCLUDED_BY_RULE: rule 'rest' (line 20 of rules.toml) says skip"
    assert found.next_step is not None
    assert "cspine rules test" in found.next_step
    assert place.bell.analyses == []


def test_the_operators_retry_analyzes_it_whatever_the_rules_say_until_the_study_changes(place: Workplace):
    sent = {"body_part": "KNEE", "study_description": "Knie", "series_description": "Knie"}
    uid = receive(place, *series("1", 1, **sent))
    sweep(place)
    assert retry_study(place.database, uid, place.clock()) is StudyState.QUEUED
    sweep(place)
    assert view(place, uid).state is StudyState.QUEUED
    receive(place, *series("1", 2, **sent))
    sweep(place)
    assert view(place, uid).state is StudyState.SKIPPED


def test_a_late_series_is_decided_on_again(place: Workplace):
    uid = receive(place, *series("1", 1, body_part="KNEE", study_description="Knie", series_description="Knie"))
    sweep(place)
    assert view(place, uid).state is StudyState.SKIPPED
    receive(place, *series("1", 2, body_part="CSPINE", study_description="Knie", series_description="bone"))
    sweep(place)
    assert view(place, uid).state is StudyState.QUEUED
    assert view(place, uid).rule == "rule 'neck-ct' (line 8 of rules.toml): analyze, normal; met by series 2 of 2"


def test_an_urgent_study_that_comes_while_others_wait_is_analyzed_first(place: Workplace):
    low = receive(place, *series("1", study_description="Trial 7", body_part="HEAD"))
    first, second = (receive(place, *series(study, study_description="CT neck")) for study in "23")
    sweep(place)
    urgent = receive(place, *series("4", study_description="CT Polytrauma"))
    sweep(place)
    messages = list(place.bell.analyses)
    assert messages[-1] == (4, 1)
    for study_id, generation in messages:
        place.analyzer().analyze(study_id, generation)
    with place.database.reading() as session:
        claims = select(Study.study_instance_uid).join(StudyEvent).where(StudyEvent.kind == Cause.CLAIMED)
        order = list(session.scalars(claims.order_by(StudyEvent.id)))
    assert order == [urgent, first, second, low]


def test_a_priority_that_an_operator_gave_stays(place: Workplace):
    raised = receive(place, *series("1", study_description="CT neck"))
    lowered = receive(place, *series("2", study_description="CT Polytrauma"))
    with place.database.transaction() as session:
        waiting.prioritize(session, 1, 10, place.clock(), "tester")
    sweep(place)
    assert (priority(place, raised), priority(place, lowered)) == (10, 5)


@pytest.mark.filterwarnings("ignore")  # of pydicom, which writes what the test makes it write
def test_hostile_headers_are_matched_and_never_shown_by_the_records(place: Workplace, caplog: pytest.LogCaptureFixture):
    (dataset,) = series("1", body_part="CSPINE", series_description="bone")
    dataset.StudyDescription = "<script>alert(1)</script>\x1b[2J trauma \r\nDoe^Jane" + "x" * 2000
    dataset.ProtocolName = "Müller"
    dataset.SpecificCharacterSet = "GB18030"
    dataset.PatientAge = "OLD"
    caplog.clear()
    uid = receive(place, dataset)
    sweep(place)
    assert view(place, uid).rule == "rule 'trauma' (line 1 of rules.toml): analyze, urgent; met by series 1 of 1"
    told = "\n".join([*view(place, uid).as_lines(), caplog.text])
    assert "script" not in told
    assert "Doe" not in told
    shown = cspine(place, "rules", "test", uid).output
    assert "\x1b" not in shown
    assert "script alert(1) /script [2J trauma Doe^Jane" in shown


def test_a_file_that_vanished_or_is_no_instance_ends_nothing(place: Workplace):
    uid = receive(place, *series("1", 1), *series("1", 2))
    gone, broken = sorted(place.settings.spool_dir.rglob("*.dcm"))
    gone.unlink()
    broken.write_bytes(b"\0" * 200)
    sweep(place)
    assert view(place, uid).rule == "rule 'rest' (line 20 of rules.toml): skip"


def test_without_rules_nothing_is_decided(place: Workplace):
    place.settings = replace(place.settings, rules_file=None)
    uid = receive(place, *series("1", body_part="KNEE"))
    sweep(place)
    assert (view(place, uid).state, view(place, uid).rule) == (StudyState.QUEUED, None)


def test_rules_check_shows_each_rule_and_refuses_a_wrong_file(place: Workplace, tmp_path: Path):
    checked = cspine(place, "rules", "check")
    assert checked.exit_code == 0
    assert "line 8, rule 'neck-ct': analyze, normal if body_part *spine*; series_description *bone*" in checked.output
    assert "line 20, rule 'rest': skip, always" in checked.output
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[[rule]]\nname = "a"\naction = "drop"\n')
    refused = cspine(place, "rules", "check", wrong)
    assert refused.exit_code == 1
    assert "wrong.toml: rule 'a' (line 1): action: expected one of analyze, skip" in refused.output


def test_rules_test_says_which_rule_would_decide_on_a_folder_and_why(place: Workplace, tmp_path: Path):
    write([*series("1", 1, body_part="CHEST"), *series("1", 2)], tmp_path / "study")
    (tmp_path / "study" / "notes.txt").write_text("no instance")
    shown = cspine(place, "rules", "test", tmp_path / "study").output.splitlines()
    assert "  body_part           CSPINE" in shown
    assert any(line.startswith("  age ") and line.endswith(" years") for line in shown)
    assert shown[-5:] == [
        "line 1, rule 'trauma': not met: calling_ae_title, study_description, series 1 comes nearest",
        "line 8, rule 'neck-ct': met by series 2",
        "line 14, rule 'research': not reached",
        "line 20, rule 'rest': not reached",
        "rule 'neck-ct' (line 8 of rules.toml): analyze, normal; met by series 2 of 2",
    ]
    write(series("2"), tmp_path / "study" / "other")
    assert "holds instances of 2 studies" in cspine(place, "rules", "test", tmp_path / "study").output


def test_rules_test_of_a_study_that_is_not_here_says_so(place: Workplace):
    refused = cspine(place, "rules", "test", "1.2.3")
    assert refused.exit_code == 1
    assert "no study 1.2.3 was received here" in refused.output


def test_no_process_starts_with_wrong_rules(place: Workplace, tmp_path: Path):
    (tmp_path / "rules.toml").write_text("[[rule]]\n")
    refused = cspine(place, "clerk")
    assert refused.exit_code == 1
    assert "rule (line 1): name: give the rule a name" in refused.output
