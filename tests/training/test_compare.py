"""The comparison trains and measures in processes of their own and prints one row a contender."""

import pytest
from click.testing import CliRunner

from training.__main__ import main
from training.fitting.compare import table_of
from training.fitting.compare_config import Comparison
from training.fitting.contenders import CONTENDERS
from training.preparation.crop_cases import CropPlan, make_crops


def figures(name: str) -> dict[str, object]:
    share = {"value": 0.9, "low": 0.8, "high": 0.95, "hits": 9, "total": 10}
    return {
        "name": name,
        "steps": {"fractures": 40},
        "bytes": 2_000_000,
        "sensitivity": share,
        "specificity": share,
        "auc": {"value": 0.95, "low": 0.9, "high": 0.99},
        "kinds": dict.fromkeys(
            [
                "Jefferson", "dens I", "dens II", "dens III", "hangman", "compression", "burst", "teardrop", "facet",
                "lamina", "spinous process", "transverse process",
            ],
        )
        | {"burst": share},
        "fracture_seconds": 1.5,
        "peak_mib": 900.0,
    }  # fmt: skip


def test_the_table_has_a_row_for_each_contender_and_says_synthetic(tmp_path):
    plan = Comparison(tmp_path, (), tmp_path, seconds=60)
    text = table_of([figures("one"), figures("two")], plan)
    assert text.startswith("Synthetic data.")
    assert "60 s of training" in text
    assert text.count("| one |") == 2
    assert "9/10" in text
    assert "| 2.0 |" in text


def test_an_unknown_contender_is_named_with_those_that_are_known(tmp_path):
    folders = ["--output", str(tmp_path), "--crops", str(tmp_path), "--test-crops", str(tmp_path)]
    done = CliRunner().invoke(main, ["compare", *folders, "--only", "absent"])
    assert done.exit_code == 1
    assert CONTENDERS[0].name in done.output


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_plain_cnn_is_trained_and_measured_for_real(tmp_path, made_crops):
    make_crops(CropPlan(tmp_path / "test", anatomies=14, seed=6))
    crops, test_crops = str(made_crops[0].output), str(tmp_path / "test")
    options = ["--output", str(tmp_path / "out"), "--crops", crops, "--test-crops", test_crops, "--seconds", "5"]
    name = next(one.name for one in CONTENDERS if not one.names_levels)
    done = CliRunner().invoke(main, ["compare", *options, "--only", name], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert f"| {name} |" in done.output
    assert (tmp_path / "out" / "table.md").read_text() == done.output
