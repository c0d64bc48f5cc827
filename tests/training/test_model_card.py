"""The card says what one run measured, between its markers, and begins with what the model is not."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from model.findings import Vertebra
from tests.conftest import PROJECT
from tests.training.scripted_predictor import (
    LAMINA_OF_C5,
    POINTS,
    SPACING_MM,
    ScriptedAnswer,
    ScriptedPredictor,
    findings_of,
    perfect,
    stack,
    study,
)
from training.commands.evaluate import evaluate as command
from training.evaluation import measure as measuring
from training.evaluation import synthetic_sets
from training.evaluation.bootstrap import Estimate
from training.evaluation.cord_sets import CordEvaluation, CordScan, judge_scan
from training.evaluation.evaluate import StudySet, evaluate
from training.evaluation.figures import Share
from training.evaluation.measure import DataSets, measure
from training.evaluation.model_card import BEGIN, END, CardError, Measured, main_values, measured_text, write_card
from training.evaluation.real_sets import RealVolume, judge_real
from training.evaluation.tables import estimate_text, markdown_table, share_text

CARD = PROJECT / "model" / "MODEL_CARD.md"


@pytest.fixture
def bundle(tmp_path):
    """A bundle's metadata, without a network."""
    document = {
        "name": "test",
        "preprocess": {"spacing_mm": 1.2, "band_mm": 48.0},
        "networks": {"levels": {"encoder": "compact", "decoder": [8, 4]}, "fracture": {"encoder": "cnn"}},
        "operating_points": POINTS,
        "provenance": {"training": {"config": {"steps": 7, "seed": 3}}, "calibration": [{"seed": 4, "steps": 9}]},
        "files": {"weights.npz": "0" * 64},
    }
    (tmp_path / "metadata.json").write_text(json.dumps(document))
    return SimpleNamespace(name="test", version="2", sha256="f" * 64, path=tmp_path)


@pytest.fixture
def measured():
    studies = [study("1", kinds=LAMINA_OF_C5), study("2")]
    answers = [perfect(one.phantom) for one in studies]
    evaluation = evaluate(
        ScriptedPredictor(lambda _: answers.pop(0)), StudySet("synthetic: bars", "bars of bone", "1–2", 2, studies)
    )
    phantom = stack(tuple(Vertebra)[:2])
    volume = RealVolume("real: bars", phantom.hu, SPACING_MM, {Vertebra.C1: (5, 12, 12)}, held_out=True)
    alarm = ScriptedAnswer(phantom.labels, findings_of(phantom.labels, {Vertebra.C1: 0.8}), phantom.labels)
    cord = np.zeros(phantom.labels.shape, dtype=np.bool_)
    cord[:, 18:20, 11:13] = True
    scan = judge_scan(CordScan("one", phantom.hu, SPACING_MM, cord), alarm)
    cords = CordEvaluation("real: cords", (scan,), 0)
    return Measured(
        "python -m training evaluate", (evaluation,), (judge_real(volume, alarm),), cords, ("a row (gone)",)
    )


def test_the_card_begins_with_what_the_model_is_not():
    first = CARD.read_text().split("\n\n")[1]
    assert first.startswith("**Trained without any real fracture. Performance on patients is unknown. Not a medical de")


def test_the_card_has_its_markers_once_and_leaves_nothing_open():
    text = CARD.read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    assert "TO BE FILLED" not in text


def test_what_was_measured_replaces_what_was_there_and_nothing_else(tmp_path, measured, bundle):
    card = tmp_path / "card.md"
    card.write_text(f"# Card\n\nbefore\n\n{BEGIN}old figures\n{END}\n\nafter\n")
    write_card(card, measured, bundle)
    text = card.read_text()
    assert text.startswith("# Card\n\nbefore\n")
    assert text.endswith(f"{END}\n\nafter\n")
    assert "old figures" not in text
    assert "ffff" in text
    write_card(card, measured, bundle)
    assert card.read_text() == text


@pytest.mark.parametrize("text", ["# Card\n", f"{BEGIN}", f"{BEGIN}{END}\n{BEGIN}{END}\n"])
def test_a_card_without_its_markers_is_not_written(tmp_path, measured, bundle, text):
    card = tmp_path / "card.md"
    card.write_text(text)
    with pytest.raises(CardError, match="exactly once"):
        write_card(card, measured, bundle)
    assert card.read_text() == text


def test_every_data_set_has_a_row_of_its_own_and_alarms_are_no_specificity(measured, bundle):
    text = measured_text(measured, bundle)
    for row in ("| synthetic: bars | 2 |", "| real: bars | 1 of 1 (C1) |", "| lamina | 1.000 ("):
        assert row in text
    assert "1.000 (0.03–1.00; 1 of 1)" in text
    assert "Alarm rate of levels (no specificity: the truth is unknown) | 0.500" in text
    assert "| real: bars | no alarm in intact bone | C1 | **no** |" in text
    assert "| synthetic: bars | mean Dice C1–C7 of 0.92 or more | 1.000 (1.00–1.00) | yes |" in text
    assert text.endswith("Not measured:\n\n- a row (gone)\n")
    assert "1–2" in text


def test_figures_come_as_json_too(measured, bundle):
    values = json.loads(json.dumps(measured.as_json(bundle)))
    assert values["known_truth"][0]["mean_dice"]["value"] == 1.0
    assert values["real_levels"][0]["alarms"] == ["C1"]
    assert values["real_cords"]["scans"] == 1


def test_main_values_of_the_bundle_are_those_of_both_networks(bundle):
    values = main_values(bundle)
    assert values["networks.levels.decoder"] == "8, 4"
    assert values["networks.fracture.encoder"] == "cnn"
    assert values["operating_points.high sensitivity"] == "0.2"
    assert values["provenance.training.config.steps"] == "7"
    assert not any("calibration" in place or "band_mm" in place for place in values)


def test_a_run_without_data_measures_the_phantoms_and_says_what_it_left_out(tmp_path, monkeypatch):
    known = [study("seed 1")]
    monkeypatch.setattr(measuring, "synthetic_set", lambda count: StudySet("synthetic", "what", "1", count, known))
    found = measure(ScriptedPredictor(lambda _: perfect(known[0].phantom)), DataSets(1, tmp_path), "the command")
    assert [result.data for result in found.evaluations] == ["synthetic"]
    assert (found.real, found.cords) == ((), None)
    assert len(found.left_out) == 4
    assert "No such file" in found.left_out[0]
    assert not any(str(tmp_path) in sentence for sentence in found.left_out)


def test_the_command_names_its_options():
    answer = CliRunner().invoke(command, ["--help"])
    assert answer.exit_code == 0
    assert {"--bundle", "--atlas", "--data", "--studies", "--json", "--card"} <= set(answer.output.split())
    assert CliRunner().invoke(command, ["--studies", "0"]).exit_code == 2


def test_a_table_escapes_its_cells_and_refuses_crooked_rows():
    assert markdown_table(["a", "b"], [["x|y", "line\nbreak"]]).splitlines()[2] == r"| x\|y | line break |"
    with pytest.raises(ValueError, match="1 cells"):
        markdown_table(["a", "b"], [["x"]])
    assert share_text(Share(19, 20, 0.8, 1.0)) == "0.950 (0.80–1.00; 19 of 20)"
    assert estimate_text(Estimate(0.9537, 0.91, 0.987)) == "0.954 (0.91–0.99)"
    assert share_text(None) == estimate_text(None) == "–"


def test_a_card_without_markers_ends_the_command_before_anything_is_measured(tmp_path):
    card = tmp_path / "card.md"
    card.write_text("no markers\n")
    answer = CliRunner().invoke(command, ["--card", str(card)])
    assert answer.exit_code == 2
    assert "exactly once" in answer.output


@pytest.mark.slow
def test_the_embedded_bundle_is_measured_on_a_phantom_and_its_card_written(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic_sets, "IN_PLANE_MM", 2.0)
    card, figures = tmp_path / "card.md", tmp_path / "figures.json"
    card.write_text(f"{BEGIN}{END}\n")
    options = ["--studies", "1", "--data", str(tmp_path), "--json", str(figures), "--card", str(card)]
    answer = CliRunner().invoke(command, options, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    assert "### Goals" in answer.output
    assert "| synthetic: phantoms | 1 |" in card.read_text()
    assert len(json.loads(figures.read_text())["left_out"]) == 4
