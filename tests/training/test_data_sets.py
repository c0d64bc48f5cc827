"""Sources in a configuration file: each kind of data set by its name, paths beside the file, errors that help."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from training.config import ConfigError, config_text, load_config
from training.datasets.data_sets import DataSetKind, DataSourceConfig, open_data_set
from training.datasets.nifti_pairs import NiftiDataSet, NiftiLayout
from training.datasets.studies import DataSetError


@dataclass(frozen=True, slots=True)
class Sources:
    sources: Annotated[tuple[DataSourceConfig, ...], Field(description="The data sets")] = ()


def load(tmp_path: Path, text: str) -> tuple[DataSourceConfig, ...]:
    file = tmp_path / "prepare.toml"
    file.write_text(text)
    return load_config(Sources, file).sources


def test_a_source_of_a_configuration_file_is_a_data_set_beside_it(tmp_path):
    text = """
    [[sources]]
    kind = "nifti"
    layout = "totalsegmentator"
    folder = "ts"
    fractures = "ts.csv"
    leave_out = ["s0001"]

    [[sources]]
    kind = "rsna"
    folder = "/data/rsna"
    name = "RSNA 2022"
    test_only = true
    """
    pairs, rsna = load(tmp_path, text)
    data = open_data_set(pairs)
    assert isinstance(data, NiftiDataSet)
    assert (data.name, data.layout, data.folder) == ("nifti", NiftiLayout.TOTALSEGMENTATOR, tmp_path / "ts")
    assert data.fractures == tmp_path / "ts.csv"
    assert data.leave_out == frozenset({"s0001"})
    assert rsna.test_only
    assert open_data_set(rsna).name == "RSNA 2022"
    again = load(tmp_path, config_text(Sources((pairs, rsna))))
    assert again == (pairs, rsna)


def test_a_kind_that_is_not_known_is_answered_with_those_that_are(tmp_path):
    with pytest.raises(ConfigError, match=r"sources\.0\.kind: .*'rsna', 'nifti', 'dicom' or 'reviews'"):
        load(tmp_path, '[[sources]]\nkind = "kaggle"\nfolder = "x"\n')


@pytest.mark.parametrize("kind", list(DataSetKind))
def test_a_folder_that_is_not_there_is_named_before_anything_is_read(tmp_path, kind):
    with pytest.raises(DataSetError, match="nowhere"):
        open_data_set(DataSourceConfig(kind, tmp_path / "nowhere")).studies()
