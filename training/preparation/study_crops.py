"""The crops of one study's levels whose truth is known, cut by the code that serves."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model.crops import CropConfig, crop_grid, level_boxes
from model.findings import Vertebra
from training.datasets.studies import LabeledVolume
from training.fitting.crop_sampler import CropCase
from training.preparation.crop_cases import case_on_grid

UNSPECIFIED = "unspecified"
"""The kind of a fracture of which nothing more is known."""


def study_crops(
    volume: LabeledVolume,
    labels: NDArray[np.uint8],
    fractures: Mapping[Vertebra, bool],
    kinds: Mapping[Vertebra, str],
    about: tuple[str, CropConfig],
) -> list[CropCase]:
    """The crops of the levels in ``labels`` (on the volume's grid) with known truth, from C1 downwards.

    ``about``: the data set that they come from and their size. A fracture's voxels count where they lie on its level; a
    crop of a fracture without one says that it is not marked.
    """
    source, config = about
    cases = []
    nothing = np.broadcast_to(np.False_, labels.shape)
    for number, box in sorted(level_boxes(labels).items()):
        level = Vertebra(number)
        if level not in fractures:
            continue
        broken = fractures[level]
        grid = crop_grid(volume.hu.shape, box, volume.spacing_mm, config)
        lesion: NDArray[np.bool_] = nothing
        if broken and volume.lesion is not None:
            lesion = np.zeros(labels.shape, dtype=np.bool_)
            lesion[grid.parts] = volume.lesion[grid.parts] & (labels[grid.parts] == number)
        kind = kinds.get(level) or UNSPECIFIED if broken else ""
        case = case_on_grid(volume.hu, labels, lesion, (number, kind, source), grid, config)
        cases.append(replace(case, masked=not broken or bool(case.mask.any())))
    return cases
