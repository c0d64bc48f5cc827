"""The settings of ``python -m training prepare``: the file ``config.toml`` of every prepared folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from training.datasets.data_sets import DataSourceConfig
from training.preparation.prepared import Split


@dataclass(frozen=True, slots=True)
class PrepareConfig:
    """What is prepared, how it is split, and what is done about studies that cannot be read."""

    output: Annotated[Path, Field(description="Folder of the prepared studies; an interrupted run goes on there")] = (
        Path("prepared")
    )
    sources: Annotated[
        tuple[DataSourceConfig, ...],
        Field(description="The data sets: tables [[sources]] with kind (rsna, nifti, dicom, reviews), folder, ..."),
    ] = ()
    validation_share: Annotated[float, Field(ge=0, lt=1, description="Share of patients to choose settings by")] = 0.15
    test_share: Annotated[float, Field(ge=0, lt=1, description="Share of patients to measure on in the end")] = 0.15
    seed: Annotated[int, Field(description="Seed of the split")] = 1
    split_file: Annotated[
        Path | None,
        Field(description="CSV of a published split (study or patient, split); it goes before split.csv of the output"),
    ] = None
    allow_missing_class: Annotated[
        bool, Field(description="Accept a split that is empty or has no fractured or no intact study")
    ] = False
    find_levels: Annotated[
        bool, Field(description="Find the levels of studies without a mask with a bundle, so that crops can be cut")
    ] = True
    bundle: Annotated[Path | None, Field(description="Folder of that bundle; the embedded one by default")] = None
    processes: Annotated[
        int, Field(ge=1, le=256, description="Studies in work at the same time, each in a process of its own")
    ] = 1
    skip_unreadable: Annotated[
        bool, Field(description="Go on without studies that cannot be read; problems.csv names them")
    ] = False

    def __post_init__(self) -> None:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave nothing to train on: their sum must be below 1")

    @property
    def shares(self) -> Mapping[Split, float]:
        """The share of each split."""
        train = 1 - self.validation_share - self.test_share
        return {Split.TRAIN: train, Split.VALIDATION: self.validation_share, Split.TEST: self.test_share}
