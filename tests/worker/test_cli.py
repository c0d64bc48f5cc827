"""The command line: help that reads like documentation, errors that say what to do, the same words as the records."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from model.errors import UnusableVolume
from tests.worker.scripted import ScriptedPacs, Workplace, analyzed
from worker.cli import main
from worker.command_line import explain_errors
from worker.states import StudyState

COMMANDS = (
    "analyze",
    "clerk",
    "console",
    "demo",
    "doctor",
    "echo",
    "listen",
    "model",
    "retract",
    "retry",
    "reviews",
    "rules",
    "send",
    "studies",
    "study",
    "up",
    "user",
    "work",
)


def cspine(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def test_the_help_names_every_command_and_says_what_the_product_is_not() -> None:
    text = cspine("--help").output
    assert "Not a medical device" in text
    assert [
        line.split()[0] for line in text.splitlines() if line.startswith("  ") and line.split()[0] in COMMANDS
    ] == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = cspine(command, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 4


def test_studies_and_study_say_where_a_study_is_and_why(place: Workplace) -> None:
    place.analyzer().analyze(*place.complete())
    uid = place.view().line.study_instance_uid
    data = ("--data", place.settings.data_dir)
    listed = json.loads(cspine("studies", *data, "--json").output)
    assert [(line["study_instance_uid"], line["state"], line["instances"]) for line in listed] == [(uid, "SENDING", 64)]
    assert uid in cspine("studies", *data, "--state", "sending").output
    assert uid not in cspine("studies", *data, "--state", "failed").output
    shown = json.loads(cspine("study", uid, *data, "--json").output)
    assert [event["kind"] for event in shown["events"]][:2] == ["CREATED", "COMPLETED"]
    assert shown["findings"]["levels"][0]["vertebra"] == "C1"
    text = cspine("study", uid, *data).output
    assert "timeline" in text
    assert "chosen" in text


def test_a_failed_study_is_retried_and_another_is_not(place: Workplace) -> None:
    study_id, generation = place.complete()
    data = ("--data", place.settings.data_dir)
    uid = place.view().line.study_instance_uid
    refused = cspine("retry", uid, *data)
    assert refused.exit_code == 1
    assert "only a FAILED or SKIPPED study" in refused.output
    place.analyzer().analyze(study_id, generation)
    place.delivery().deliver(study_id, generation)
    assert place.state() is StudyState.FAILED
    assert "CSPINE_DESTINATION" in cspine("study", uid, *data).output
    assert "waits again (SENDING)" in cspine("retry", uid, *data).output
    assert place.state() is StudyState.SENDING


def test_a_wrong_result_is_withdrawn_once(tmp_path: Path, analyzed_template: Path) -> None:
    pacs = ScriptedPacs()
    with analyzed(analyzed_template, tmp_path / "data", pacs.peer) as place:
        place.deliver()
        data = ("--data", place.settings.data_dir)
        uid = place.view().results[0].sop_instance_uid
        done = cspine("retract", uid, *data, "--reason", "patient-safety")
        assert done.exit_code == 0
        assert f"a clerk sends the rejection to {pacs.peer}" in done.output
        again = cspine("retract", uid, *data)
        assert again.exit_code == 1
        assert "withdrawn already" in again.output
        assert place.deliver() is StudyState.WITHDRAWN
        assert "WITHDRAWN" in cspine("studies", *data).output
    pacs.stop()


def test_an_unknown_study_and_a_wrong_state_are_told_apart(place: Workplace) -> None:
    data = ("--data", place.settings.data_dir)
    assert "no study 1.2.3 was received here" in cspine("study", "1.2.3", *data).output
    assert "no study 1.2.3 was received here" in cspine("retry", "1.2.3", *data).output
    assert "RECEIVING, QUEUED" in cspine("studies", *data, "--state", "lost").output


def test_echo_and_send_speak_to_a_peer(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no DICOM")
    pacs = ScriptedPacs()
    try:
        assert f"{pacs.peer} answers" in cspine("echo", pacs.peer).output
        sent = cspine("send", tmp_path, pacs.peer)
        assert sent.exit_code == 1
        assert "holds no DICOM files" in sent.output
    finally:
        pacs.stop()
    gone = cspine("echo", pacs.peer)
    assert gone.exit_code == 1
    assert gone.output.startswith("Error: ")
    assert "AET@HOST:PORT" in cspine("echo", "nonsense").output


def test_wrong_settings_end_a_command_with_the_variable_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSPINE_PORT", "seventy")
    result = cspine("studies")
    assert result.exit_code == 1
    assert "CSPINE_PORT" in result.output


def test_a_worker_refuses_to_start_with_a_bundle_that_is_not_as_it_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSPINE_BUNDLE_PATH", str(tmp_path))
    result = cspine("work", "--data", tmp_path)
    assert result.exit_code == 1
    assert "no bundle in" in result.output


def test_a_volume_that_the_network_cannot_take_ends_a_command_with_a_sentence() -> None:
    @click.command()
    @explain_errors
    def analyze_something() -> None:
        raise UnusableVolume("the volume is too flat")

    result = CliRunner().invoke(analyze_something, catch_exceptions=False)
    assert result.exit_code == 1
    assert result.output == "Error: the volume is too flat\n"
