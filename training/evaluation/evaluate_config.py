"""Settings of the command ``evaluate``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from training.preparation.prepared import Split


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """What to measure, on which studies, and where to write it.

    With ``prepared`` a split of that folder is measured and ``output`` is needed; without it the synthetic,
    semi-synthetic and real rows of the model card are.
    """

    prepared: Annotated[Path | None, Field(description="Folder of `prepare`; none: the rows of the model card.")] = None
    split: Annotated[Split, Field(description="Split of the prepared folder to measure.")] = Split.TEST
    output: Annotated[Path | None, Field(description="Folder for report.html, figures.json and pictures.")] = None
    bundle: Annotated[Path | None, Field(description="Bundle to measure; none: the embedded one.")] = None
    worst: Annotated[
        int, Field(ge=0, le=100, description="Pictures of the most confident mistakes, of each kind and data set.")
    ] = 5
    studies: Annotated[
        int, Field(ge=1, le=100_000, description="Studies of each synthetic row (without prepared).")
    ] = 20
    data: Annotated[Path, Field(description="Folder with the real CT of the model card (without prepared).")] = Path(
        "../shared/data"
    )
    atlas: Annotated[
        Path | None, Field(description="SPL atlas; none: spl-head-neck-atlas in the data folder (without prepared).")
    ] = None
    figures: Annotated[Path | None, Field(description="Write every figure of the model card here, as JSON.")] = None
    card: Annotated[Path | None, Field(description="Model card whose measured part is written anew.")] = None
