"""The command: settings from a file and options, a prepared RSNA tree measured by the embedded bundle, named errors."""

import json

import pytest
from click.testing import CliRunner

from model.crops import CropConfig
from model.findings import Vertebra
from model.preprocess import PreprocessConfig
from tests.training.trees import TreeStudy, rsna_uid, small_anatomy, write_rsna
from training.commands.evaluate import evaluate
from training.config import config_text, save_config
from training.datasets.data_sets import DataSetKind, DataSourceConfig, open_data_set
from training.evaluation.evaluate_config import EvaluateConfig
from training.preparation.prepare_config import PrepareConfig
from training.preparation.prepared import PreparedStudy, Split, begin, patient_hash, study_name, write_study


def run(*options, exit_code=0):
    answer = CliRunner().invoke(evaluate, [str(option) for option in options])
    assert answer.exit_code == exit_code, answer.output
    return answer.output


@pytest.fixture
def prepared(tmp_path):
    """The records of two studies of an RSNA tree, both for testing, and the settings that say where the tree is."""
    studies = [
        TreeStudy(rsna_uid(1), small_anatomy(1), frozenset({Vertebra.C3})),
        TreeStudy(rsna_uid(2), small_anatomy(2), mask=False),
    ]
    source = DataSourceConfig(DataSetKind.RSNA, write_rsna(tmp_path / "rsna", studies), name="RSNA 2022")
    folder = tmp_path / "prepared"
    begin(folder, PreprocessConfig(), CropConfig())
    for study in open_data_set(source).studies():
        name, patient = study_name(source.row, study.key), patient_hash(source.row, study)
        truth = {level: bool(broken) for level, broken in study.fractures.items()}
        write_study(folder, PreparedStudy(name, source.row, "", patient, Split.TEST, truth))
    save_config(PrepareConfig(folder, (source,), seed=3), folder)
    return folder


def test_a_prepared_tree_is_measured_by_the_embedded_bundle(prepared, tmp_path):
    output = tmp_path / "out"
    text = run("--prepared", prepared, "--output", output, "--worst", 1)
    assert "| RSNA 2022 | 2 |" in text
    assert str(output / "report.html") in text
    figures = json.loads((output / "figures.json").read_text(encoding="utf-8"))
    [found] = figures["data_sets"]
    assert len(figures["bundle"]["sha256"]) == 64
    assert figures["provenance"]["Split that was measured"].startswith("test, made with seed 3")
    assert (found["levels"]["sensitivity"]["total"], found["levels"]["specificity"]["total"]) == (1, 13)
    assert found["rsna_loss"]["loss"]["value"] > 0
    assert "worst = 1" in (output / "config.toml").read_text(encoding="utf-8")
    assert "Not a medical device" in (output / "report.html").read_text(encoding="utf-8")


def test_a_leak_ends_the_command_before_anything_is_measured(prepared, tmp_path):
    [one, other] = [PreparedStudy(f"rsna-{n}", "RSNA 2022", "", "same", split, {}) for n, split in enumerate(
        (Split.TRAIN, Split.TEST))]  # fmt: skip
    for study in (one, other):
        write_study(prepared, study)
    text = run("--prepared", prepared, "--output", tmp_path / "out", exit_code=1)
    assert "rsna-0" in text
    assert "rsna-1" in text
    assert "the same patient" in text
    assert not (tmp_path / "out").exists()


def test_options_go_before_the_file_and_all_settings_are_printed(tmp_path):
    file = tmp_path / "evaluate.toml"
    file.write_text('prepared = "here"\nsplit = "validation"\nworst = 3\n', encoding="utf-8")
    wanted = EvaluateConfig(tmp_path / "here", Split.VALIDATION, worst=7)
    assert run("--config", file, "--worst", 7, "--print-config") == config_text(wanted)
    assert '# Split of the prepared folder to measure.\nsplit = "test"' in run("--print-config")


@pytest.mark.parametrize(
    ("line", "named"), [("worst = 101", "worst: Input should be less than"), ("wurst = 1", "no such setting: wurst")]
)
def test_a_wrong_setting_is_named(tmp_path, line, named):
    file = tmp_path / "evaluate.toml"
    file.write_text(line, encoding="utf-8")
    assert named in run("--config", file, exit_code=2)


def test_a_prepared_folder_needs_an_output(tmp_path):
    assert "--output is missing" in run("--prepared", tmp_path, exit_code=2)


def test_what_cannot_be_measured_is_named_with_what_to_do(prepared, tmp_path):
    output = ("--output", tmp_path / "out")
    assert "run `python -m training prepare` first" in run("--prepared", tmp_path, *output, exit_code=1)
    assert "nothing" in run("--prepared", prepared, *output, "--bundle", tmp_path / "nothing", exit_code=1)
    (prepared / "config.toml").write_text("sources = 3\n", encoding="utf-8")
    text = run("--prepared", prepared, *output, exit_code=1)
    assert "does not say what it was prepared from: run `python -m training prepare` again" in text
