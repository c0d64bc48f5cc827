"""PAPER.md names modules, functions, settings and commands that there are."""

import re
import shlex

import pytest
from click.testing import CliRunner

from tests.conftest import PROJECT
from training.__main__ import main
from training.fitting.recipes import Recipe

TEXT = (PROJECT / "training" / "PAPER.md").read_text(encoding="utf-8")
FILES = sorted(set(re.findall(r"`((?:model/)?\w+\.py)`", TEXT)))
COMMANDS = sorted(set(re.findall(r"^python -m training ([^#\n]+)", TEXT, re.MULTILINE)))


def test_every_module_of_the_paper_is_there():
    rows = re.findall(r"^\| (\d+)\. ", TEXT, re.MULTILINE)
    assert [int(row) for row in rows] == list(range(1, 11))


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_is_named_is_there(name):
    folder = PROJECT if name.startswith("model/") else PROJECT / "training"
    assert (folder / name).is_file()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_the_options_that_are_shown(command):
    words = shlex.split(command)
    names = [word for word in words if not word.startswith("-")][: 2 if words[0] == "images" else 1]
    said = CliRunner().invoke(main, [*names, "--help"]).output
    options = [word for word in words if word.startswith("--")]
    assert options
    assert all(option in said for option in options)


def test_functions_and_recipes_that_are_named_are_there():
    source = (PROJECT / "model" / "image_preprocess.py").read_text(encoding="utf-8")
    for name in ("remove_artifacts", "normalize_image", "resize"):
        assert f"`{name}`" in TEXT
        assert f"def {name}(" in source
    assert {Recipe.PAPER.value, Recipe.DICE.value} <= set(re.findall(r"`(\w+)`", TEXT))
