"""One view of a plane of the volume in the bone window, with the outlines of its levels, drawn into a picture.

Everything is drawn at twice its size and reduced at the end, which smooths lines and letters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicom_node.contours import outlines
from dicom_node.segmentation import LEVEL_RGB
from model.findings import Vertebra

SCALE = 2
"""Drawing size over final size."""

BONE_WINDOW = (400.0, 1800.0)
"""Center and width in HU."""

SUSPECTED_RGB = (255, 64, 64)
TEXT_RGB = (235, 235, 235)
WARNING_RGB = (255, 200, 60)
FRAME_RGB = (90, 90, 90)
STROKE = 2 * SCALE
"""Black edge around letters on top of an image."""

SMALLEST_VIEW_MM = 70.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of the final picture in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Plane:
    """One plane of the volume: HU and labels (row, column), pixel spacing (row, column) in mm, and its captions."""

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float]
    caption: str
    sides: tuple[str, str]


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font at a final size in pixels: the same on every machine."""
    return ImageFont.load_default(size * SCALE)


def draw_plane(image: Image.Image, box: Box, plane: Plane, suspected: frozenset[Vertebra], margin_mm: float) -> None:
    """Draw one plane so that the levels in it, with a margin, fill ``box``."""
    size = (box.width * SCALE, box.height * SCALE)
    center, pixels_per_mm = _view(plane, size, margin_mm)
    row_mm, column_mm = plane.spacing_mm
    origin = (center[0] - size[0] / 2 / pixels_per_mm, center[1] - size[1] / 2 / pixels_per_mm)
    mapping = (
        1 / pixels_per_mm / column_mm,
        0,
        origin[0] / column_mm,
        0,
        1 / pixels_per_mm / row_mm,
        origin[1] / row_mm,
    )
    view = Image.fromarray(_windowed(plane.hu)).transform(
        size, Image.Transform.AFFINE, mapping, Image.Resampling.BICUBIC
    )
    view = view.convert("RGB")
    draw = ImageDraw.Draw(view)
    to_view = np.array([column_mm, row_mm]) * pixels_per_mm, np.array(origin) * pixels_per_mm
    for level in (Vertebra(int(label)) for label in np.unique(plane.labels) if label):
        color = SUSPECTED_RGB if level in suspected else LEVEL_RGB[level]
        lines = [outline * to_view[0] - to_view[1] for outline in outlines(plane.labels == level)]
        for line in lines:
            draw.line([(float(x), float(y)) for x, y in line], fill=color, width=3 if level in suspected else 2)
        if plane.sides == ("A", "P"):
            _name_level(draw, level, lines, color)
    _annotate(draw, plane, size)
    image.paste(view, (box.left * SCALE, box.top * SCALE))


def _view(plane: Plane, size: tuple[int, int], margin_mm: float) -> tuple[tuple[float, float], float]:
    """The center (column, row) in mm and the drawing pixels per mm of a view of the levels, else of the whole plane."""
    row_mm, column_mm = plane.spacing_mm
    rows, columns = np.nonzero(plane.labels)
    if rows.size == 0:
        height, width = plane.hu.shape[0] * row_mm, plane.hu.shape[1] * column_mm
        return (width / 2, height / 2), min(size[0] / width, size[1] / height)
    left, right = columns.min() * column_mm, (columns.max() + 1) * column_mm
    top, bottom = rows.min() * row_mm, (rows.max() + 1) * row_mm
    width = max(right - left + 2 * margin_mm, SMALLEST_VIEW_MM)
    height = max(bottom - top + 2 * margin_mm, SMALLEST_VIEW_MM)
    return ((left + right) / 2, (top + bottom) / 2), min(size[0] / width, size[1] / height)


def _windowed(hu: NDArray[np.int16]) -> NDArray[np.uint8]:
    """HU in the bone window as gray values."""
    center, width = BONE_WINDOW
    gray = (hu.astype(np.float32) - (center - width / 2)) * (255.0 / width)
    windowed: NDArray[np.uint8] = np.clip(gray, 0, 255).astype(np.uint8)
    return windowed


def _name_level(
    draw: ImageDraw.ImageDraw, level: Vertebra, lines: Sequence[NDArray[np.float64]], color: tuple[int, int, int]
) -> None:
    """Write the name of a level in front of (anterior to) its foremost large outline."""
    areas = [float(np.prod(np.ptp(line, axis=0))) for line in lines]
    large = [line for line, area in zip(lines, areas, strict=True) if area >= max(areas) / 4]
    body = min(large, key=lambda line: float(line[:, 0].min()))
    x, y = float(body[:, 0].min()) - 6 * SCALE, float(body[:, 1].min() + body[:, 1].max()) / 2
    draw.text(
        (max(x, 34 * SCALE), y),
        level.name,
        fill=color,
        font=font(17),
        anchor="rm",
        stroke_width=STROKE,
        stroke_fill=(0, 0, 0),
    )


def _annotate(draw: ImageDraw.ImageDraw, plane: Plane, size: tuple[int, int]) -> None:
    """Caption, side marks and frame of a view."""
    width, height = size
    draw.text(
        (8 * SCALE, 6 * SCALE),
        plane.caption,
        fill=TEXT_RGB,
        font=font(18),
        anchor="la",
        stroke_width=STROKE,
        stroke_fill=(0, 0, 0),
    )
    middle = height / 2
    draw.text(
        (6 * SCALE, middle),
        plane.sides[0],
        fill=TEXT_RGB,
        font=font(16),
        anchor="lm",
        stroke_width=STROKE,
        stroke_fill=(0, 0, 0),
    )
    draw.text(
        (width - 6 * SCALE, middle),
        plane.sides[1],
        fill=TEXT_RGB,
        font=font(16),
        anchor="rm",
        stroke_width=STROKE,
        stroke_fill=(0, 0, 0),
    )
    draw.rectangle((0, 0, width - 1, height - 1), outline=FRAME_RGB, width=SCALE)
