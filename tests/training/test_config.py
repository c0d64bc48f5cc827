"""Configuration files of the training commands."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from training.config import CONFIG_FILE, ConfigError, config_text, load_config, save_config


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Source:
    folder: Path
    color: Color = Color.RED


@dataclass(frozen=True, slots=True)
class Wanted:
    output: Annotated[Path, Field(description="Where the result goes.")]
    steps: Annotated[int, Field(gt=0, description="How many steps.")] = 10
    rate: float = 0.5
    atlas: Annotated[Path | None, Field(description="Folder of the atlas.")] = None
    sources: tuple[Source, ...] = field(default_factory=tuple)


def written(folder: Path, text: str) -> Path:
    path = folder / "wanted.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_options_go_before_the_file_and_the_file_before_the_defaults(tmp_path):
    file = written(tmp_path, 'output = "out"\nsteps = 20\n[[sources]]\nfolder = "data/one"\ncolor = "blue"\n')
    config = load_config(Wanted, file, steps=30, rate=None)
    assert config == Wanted(tmp_path / "out", 30, 0.5, None, (Source(tmp_path / "data/one", Color.BLUE),))


def test_what_was_saved_is_read_as_the_same_settings(tmp_path):
    config = Wanted(tmp_path / "out", 7, 0.25, None, (Source(tmp_path / "a"), Source(tmp_path / "b", Color.BLUE)))
    path = save_config(config, tmp_path)
    assert path.name == CONFIG_FILE
    assert load_config(Wanted, path) == config
    assert "# How many steps.\nsteps = 7" in config_text(config)
    assert "# atlas =" in config_text(config)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('output = "o"\nsteps = 0', "steps: Input should be greater than 0"),
        ('output = "o"\nsteps = "many"\nrate = "x"', "rate: Input should be a valid number"),
        ("steps = 3", "output: Field required"),
        ('output = "o"\nstep = 3', "no such setting: step. Settings are: output, steps, rate, atlas, sources"),
        (
            'output = "o"\n[[sources]]\nfolder = "a"\ncolor = "green"',
            "sources.0.color: Input should be 'red' or 'blue'",
        ),
        ("output = ", "cannot be read as TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_setting_and_what_it_may_be(tmp_path, text, named):
    with pytest.raises(ConfigError) as caught:
        load_config(Wanted, written(tmp_path, text))
    assert named in str(caught.value)
    assert "wanted.toml" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        load_config(Wanted, tmp_path / "absent.toml")
