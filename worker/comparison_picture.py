"""The picture of a disagreement: a level's axial key slice and its sagittal middle with both models' outlines.

It holds pixels of the CT and our own words, no text of any header.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_node.contours import key_index, level_regions, outlines
from dicom_node.views import BONE_WINDOW, SCALE, TEXT_RGB, font
from model.findings import Vertebra

SERVING_RGB = (90, 200, 255)
SHADOW_RGB = (255, 150, 40)
SIDE = 480
FOOT = 28
MARGIN_MM = 15.0
NOTICE = "Not a medical device. Comparison of two models."


@dataclass(frozen=True, slots=True)
class TwoAnswers:
    """A volume (slice, row, column) in the standard frame with its spacing in mm, and the label maps of both models."""

    hu: NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    serving: NDArray[np.uint8]
    shadow: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Panel:
    """One plane: HU and both label maps (row, column), pixel spacing (row, column), what is framed, a caption."""

    hu: NDArray[np.int16]
    serving: NDArray[np.uint8]
    shadow: NDArray[np.uint8]
    spacing_mm: tuple[float, float]
    framed: NDArray[np.bool_]
    caption: str


def draw_disagreement(answers: TwoAnswers, level: Vertebra) -> bytes:
    """A PNG file of both views of a level that at least one of the models found."""
    picture = Image.new("RGB", (2 * SIDE * SCALE, (SIDE + FOOT) * SCALE))
    for number, panel in enumerate(_panels(answers, level)):
        picture.paste(_drawn(panel), (number * SIDE * SCALE, 0))
    draw = ImageDraw.Draw(picture)
    y = (SIDE + FOOT / 2) * SCALE
    for x, text, color in ((10, "serving", SERVING_RGB), (110, "shadow", SHADOW_RGB), (210, NOTICE, TEXT_RGB)):
        draw.text((x * SCALE, y), text, fill=color, font=font(16), anchor="lm")
    file = io.BytesIO()
    picture.reduce(SCALE).save(file, "PNG", optimize=True)
    return file.getvalue()


def _panels(answers: TwoAnswers, level: Vertebra) -> tuple[_Panel, _Panel]:
    """The axial plane with most of the level in either mask, and the sagittal plane through the middle of it."""
    either = np.where((answers.serving == level) | (answers.shadow == level), np.uint8(level), np.uint8(0))
    region = level_regions(either)[level]
    index = key_index(either, region, level)
    column = int(np.argmax(np.count_nonzero(either, axis=(0, 1))))
    slices, rows, columns = answers.spacing_mm
    axial = _Panel(
        answers.hu[index],
        answers.serving[index],
        answers.shadow[index],
        (rows, columns),
        either[index] > 0,
        f"{level.name}  axial",
    )
    serving, shadow = answers.serving[:, :, column], answers.shadow[:, :, column]
    sagittal = _Panel(
        answers.hu[:, :, column], serving, shadow, (slices, rows), (serving | shadow) > 0, f"{level.name}  sagittal"
    )
    return axial, sagittal


def _drawn(panel: _Panel) -> Image.Image:
    """One panel at drawing size: what is framed, with a margin, fills it."""
    spans = []
    for axis in (0, 1):
        used = np.flatnonzero(panel.framed.any(axis=1 - axis))
        margin = round(MARGIN_MM / panel.spacing_mm[axis])
        spans.append((max(0, int(used[0]) - margin), min(panel.hu.shape[axis], int(used[-1]) + 1 + margin)))
    (top, bottom), (left, right) = spans
    height, width = (bottom - top) * panel.spacing_mm[0], (right - left) * panel.spacing_mm[1]
    scale = SIDE * SCALE / max(height, width)
    low, high = BONE_WINDOW[0] - BONE_WINDOW[1] / 2, BONE_WINDOW[0] + BONE_WINDOW[1] / 2
    gray = np.clip((panel.hu[top:bottom, left:right] - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    view = Image.new("RGB", (SIDE * SCALE, SIDE * SCALE))
    view.paste(Image.fromarray(gray).resize(size, Image.Resampling.BICUBIC), (0, 0))
    draw = ImageDraw.Draw(view)
    factors = np.array([panel.spacing_mm[1] * scale, panel.spacing_mm[0] * scale])
    for labels, color in ((panel.serving, SERVING_RGB), (panel.shadow, SHADOW_RGB)):
        for level in (level for level in Vertebra if np.any(labels == level)):
            for outline in outlines(labels == level):
                points = (outline - np.array([left, top])) * factors
                draw.line([(float(x), float(y)) for x, y in points], fill=color, width=3)
    draw.text((8 * SCALE, 6 * SCALE), panel.caption, fill=TEXT_RGB, font=font(18))
    return view
