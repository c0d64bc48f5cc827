"""The commands of single images, from a folder of pictures to answers, as a user gives them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from tests.dicom_node.tiny_ct import make_ct, write_ct
from tests.training import image_runs
from training.__main__ import main
from training.config import load_config
from training.images.image_fit_config import FitImagesConfig
from training.images.prepared_images import read_index


def ran(*arguments, code=0):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def some_images(count=2):
    return sorted(image_runs.tree().rglob("*.png"))[:count]


@pytest.mark.slow
def test_from_a_folder_of_pictures_to_answers(tmp_path):
    settings = tmp_path / "prepare.toml"
    settings.write_text(
        f'folder = "{image_runs.tree()}"\noutput = "prepared"\nrows = 32\ncolumns = 32\nsynthetic = true\n'
    )
    said = ran("images", "prepare", "--config", settings)
    assert "84 images of 42 source studies" in said
    prepared = tmp_path / "prepared"
    fit = [
        "--prepared",
        prepared,
        "--output",
        tmp_path / "run",
        "--encoder",
        "compact",
        "--recipe",
        "dice",
        "--steps",
        4,
    ]
    assert "latest.weights.h5" in ran("images", "fit", *fit)
    assert load_config(FitImagesConfig, tmp_path / "run" / "config.toml").steps == 4
    assert (tmp_path / "run" / "curves.png").is_file()
    bundle = tmp_path / "bundle"
    assert "mine 7" in ran(
        "images", "export", "--run", tmp_path / "run", "--prepared", prepared, "--output", bundle, "--name", "mine",
        "--version", "7",
    )  # fmt: skip
    table = ran("images", "evaluate", "--bundle", bundle, "--prepared", prepared, "--into-bundle")
    assert "Synthetic images, no patient" in table
    assert "said C7" in table
    answered = ran("predict-image", "--bundle", bundle, *some_images())
    assert answered.count("level by probability") == 2
    assert "not a medical device" in answered


@pytest.mark.slow
def test_answers_as_json_with_overlays_and_a_slice_in_hu(tmp_path):
    dataset = make_ct(rows=48, columns=48)
    dataset.RescaleSlope, dataset.RescaleIntercept = "0.05", "0"
    slice_file = write_ct(dataset, tmp_path / "slice.dcm")
    images = [*some_images(1), slice_file]
    said = ran("predict-image", "--bundle", image_runs.bundle().path, "--json", "--overlay", tmp_path / "o", *images)
    picture, ct = (json.loads(line) for line in said.splitlines())
    assert len(picture["levels"]) == 7
    assert "not a medical device" in picture["notice"]
    codes = [{limitation["code"] for limitation in answer["limitations"]} for answer in (picture, ct)]
    assert "NOT_HU" in codes[0]
    assert "NOT_HU" not in codes[1]
    for path in (tmp_path / "o").iterdir():
        with Image.open(path) as overlay:
            assert overlay.format == "PNG"
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["0001.png", "0002.png"]


def test_a_damaged_image_is_told_and_the_others_are_answered(tmp_path):
    damaged = tmp_path / "cut.png"
    damaged.write_bytes(some_images(1)[0].read_bytes()[:100])
    said = ran("predict-image", "--bundle", image_runs.bundle().path, "--json", damaged, *some_images(1), code=1)
    first, second = (json.loads(line) for line in said.splitlines())
    assert "damaged" in first["error"]
    assert "levels" in second


def test_what_is_wrong_is_a_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    said = ran("images", "prepare", "--folder", tmp_path / "empty", "--output", tmp_path / "out", code=1)
    assert "no labeled image" in said
    assert "images prepare" in ran("images", "fit", "--prepared", tmp_path, "--output", tmp_path / "run", code=1)
    assert "no bundle" in ran("predict-image", "--bundle", tmp_path, *some_images(1), code=1)
    said = ran("images", "fit", "--prepared", tmp_path, "--output", tmp_path / "x", "--approach", "oracle", code=2)
    assert "encoder-decoder" in said


@pytest.mark.parametrize("command", ["synthetic", "prepare", "fit", "export", "evaluate", "compare", "features"])
def test_settings_are_printed_with_explanations_and_can_be_read_again(command, tmp_path):
    text = ran("images", command, "--print-config")
    assert text.count("#") >= 4
    path = tmp_path / "settings.toml"
    path.write_text(text)
    assert "Folder" in ran("images", command, "--config", path, "--print-config")


def test_help_needs_no_heavy_import():
    program = (
        "import sys; from training.__main__ import main; "
        "print([name for name in ('keras', 'tensorflow', 'matplotlib', 'pydantic', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_three_approaches_are_compared_on_the_same_images(tmp_path):
    settings = tmp_path / "compare.toml"
    settings.write_text(
        f'prepared = "{image_runs.prepared().folder}"\noutput = "out"\nencoder = "compact"\nweights = "none"\n'
        'recipe = "dice"\nsteps = 3\nbatch = 4\ncheckpoint_steps = 3\n'
    )
    table = ran("images", "compare", "--config", settings)
    for approach in ("encoder-decoder", "transfer-learning classifier", "custom CNN"):
        assert f"| {approach} |" in table
    assert (tmp_path / "out" / "table.md").read_text() == table
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert {one["steps"] for one in figures} == {3}
    assert len({one["images"] for one in figures}) == 1


def test_synthetic_images_are_a_data_set_of_this_form(tmp_path):
    ran("images", "synthetic", "--output", tmp_path / "images", "--cases", 2, "--test-cases", 1)
    files = [path for path in (tmp_path / "images").rglob("*") if path.suffix in {".png", ".jpg"}]
    assert len({path.stem.split("-")[0] for path in files}) == 3
    assert any("case900000000" in path.name for path in files)
    assert read_index(image_runs.prepared().folder).synthetic
    assert {Path(path.relative_to(tmp_path / "images")).parts[0] for path in files} <= {"fracture", "normal"}
