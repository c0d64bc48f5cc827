"""Settings of ``python -m training compare``. No Keras here, so that commands start at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, slots=True)
class Comparison:
    """What to compare, on which crops and for how long; ``only``: names of contenders, none for all."""

    output: Annotated[Path, Field(description="Folder for runs, table and figures.")]
    crops: Annotated[tuple[Path, ...], Field(min_length=1, description="Folders of `crops`, the same for all.")]
    test_crops: Annotated[Path, Field(description="Folder of crops of other seeds, to measure on.")]
    atlas: Annotated[Path | None, Field(description="Folder of the SPL atlas, for synthetic cases.")] = None
    seconds: Annotated[float, Field(gt=0, description="Training time of every network.")] = 600.0
    studies: Annotated[int, Field(gt=0, description="Synthetic studies to measure levels on.")] = 12
    only: Annotated[tuple[str, ...], Field(description="Names of contenders; none for all.")] = ()
