"""A picture of one level of one study: axial and sagittal plane in the bone window, truth and answer outlined."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.findings import Vertebra
from training.evaluation.judging import Answer, JudgedStudy

Mask = NDArray[np.bool_]
WINDOW_HU = (-500, 1300)
"""Center 400, width 1800."""
REACH_MM = (60.0, 50.0)
"""How far the sagittal and the axial view reach from the middle of the level."""
OUTLINES = (
    ("true level", "#40d060"),
    ("found level", "#ff5050"),
    ("marked fracture", "#ffd040"),
    ("suspected fracture", "#ff60ff"),
)


def case_picture(path: Path, study: JudgedStudy, answer: Answer, level: Vertebra, title: str) -> None:
    """Write the picture (PNG, 1100 x 560) of a level; it holds the patient's anatomy, and no name.

    The planes go through the marked fracture, else the suspected one, else the true or found level; where nothing of it
    is known, through the middle of the volume.
    """
    nothing = np.zeros(study.hu.shape, dtype=np.bool_)
    truth = nothing if study.labels is None else study.labels == level
    marked = nothing if study.lesion is None else study.lesion & (truth | (study.labels is None))
    masks = [truth, answer.labels == level, marked, answer.lesions == level]
    middle = _middle([masks[2], masks[3], masks[0], masks[1]], study.hu.shape)
    figure = Figure(figsize=(11, 5.6), dpi=100, facecolor="black")
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.07, top=0.88, wspace=0.02)
    figure.suptitle(title, color="white", fontsize=12)
    panes = figure.subplots(1, 2)
    _draw(panes[0], study, masks, middle, axis=2)
    _draw(panes[1], study, masks, middle, axis=0)
    lines = [panes[0].plot([], [], color=color, label=name)[0] for name, color in OUTLINES]
    figure.legend(handles=lines, loc="lower center", ncols=len(OUTLINES), labelcolor="white", frameon=False)
    figure.savefig(path, metadata={"Software": None})


def _middle(masks: Sequence[Mask], shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The voxel in the middle of the first mask that is not empty."""
    first, second, third = (size // 2 for size in shape)
    for mask in masks:
        if mask.any():
            first, second, third = (round(float(place.mean())) for place in np.nonzero(mask))
            break
    return first, second, third


def _draw(pane: Axes, study: JudgedStudy, masks: Sequence[Mask], middle: tuple[int, int, int], axis: int) -> None:
    """One plane through ``middle``, across ``axis`` (0: axial, 2: sagittal)."""
    down, right = [other for other in range(3) if other != axis]
    box = []
    for other in (down, right):
        reach = round(REACH_MM[axis == 0] / study.spacing_mm[other])
        box.append(slice(max(0, middle[other] - reach), middle[other] + reach + 1))
    place = tuple(middle[axis] if other == axis else box[other == right] for other in range(3))
    pane.imshow(
        study.hu[place],
        cmap="gray",
        vmin=WINDOW_HU[0],
        vmax=WINDOW_HU[1],
        aspect=study.spacing_mm[down] / study.spacing_mm[right],
        interpolation="bilinear",
    )
    for (_, color), mask in zip(OUTLINES, masks, strict=True):
        shown = mask[place]
        if shown.any() and not shown.all():
            pane.contour(shown, levels=[0.5], colors=[color], linewidths=1.0)
    pane.set_title("sagittal (front at the left)" if axis else "axial (right at the left)", color="white", fontsize=10)
    pane.set_axis_off()
