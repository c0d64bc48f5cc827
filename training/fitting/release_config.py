"""Settings of ``python -m training export``. No Keras here, so that commands start at once."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field


class Chosen(StrEnum):
    """Which weights of a run are released."""

    BEST = "best"
    LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Release:
    """What to release: the folders of both runs, what fracture scores are calibrated on, and the bundle's name.

    Calibration needs levels that no step was trained on: the split for validation of prepared folders, or crops of
    seeds of their own.
    """

    levels: Annotated[Path, Field(description="Folder of a run of `fit --stage levels`.")]
    fractures: Annotated[Path, Field(description="Folder of a run of `fit --stage fractures`.")]
    output: Annotated[Path, Field(description="Folder of the bundle to write.")]
    prepared: Annotated[
        tuple[Path, ...], Field(description="Folders of `prepare` whose validation split calibrates fractures.")
    ] = ()
    crops: Annotated[
        tuple[Path, ...], Field(description="Folders of `crops` of seeds of their own that calibrate fractures.")
    ] = ()
    weights: Annotated[
        Chosen, Field(description='"best": those with the best validation loss, where there are some; else "latest".')
    ] = Chosen.BEST
    name: Annotated[str, Field(min_length=1, description="Name of the bundle.")] = "cspine-synthetic"
    version: Annotated[str, Field(min_length=1, description="Version of the bundle.")] = "1"
