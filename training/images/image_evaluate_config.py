"""Settings of ``python -m training images evaluate``. No Keras here, so that commands start at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, slots=True)
class EvaluateImagesConfig:
    """What to measure, on what, and where figures go."""

    prepared: Annotated[Path, Field(description="Folder of `images prepare`: its test split is measured on")]
    bundle: Annotated[Path | None, Field(description="Image bundle to measure; else the embedded one")] = None
    figures: Annotated[Path | None, Field(description="Write every figure here, as JSON")] = None
    into_bundle: Annotated[bool, Field(description="Record the figures in the bundle's metadata")] = False
