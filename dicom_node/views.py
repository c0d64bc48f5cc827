"""One view of a plane of the volume in the bone window, with the outlines of its levels, drawn into a picture.

Everything is drawn at twice its size and reduced at the end, which smooths lines and letters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

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
LESION_RGB = (255, 255, 0)
HEAT_RGB = (255, 140, 0)
HEAT_FROM = 0.35
"""Share of a level's strongest activation from which on it is shown."""
HEAT_OPACITY = 0.4
HEAT_SWATCH_RGB = (200, 110, 0)
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
    """One plane of the volume: HU and labels (row, column), pixel spacing (row, column) in mm, and its captions.

    ``lesion`` is a fracture's mask, ``heat`` (0..1) how much the network's answer rests on each pixel, both (row,
    column) or None; ``marks`` are rows at which other views cut this one. ``named``: the names of the levels stand
    beside them; ``note`` stands in the lower corner.
    """

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float]
    caption: str
    sides: tuple[str, str]
    lesion: NDArray[np.bool_] | None = None
    heat: NDArray[np.float32] | None = None
    marks: tuple[int, ...] = ()
    named: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a view lies: its size in drawing pixels, the mm (column, row) of its top left corner, and its scale."""

    size: tuple[int, int]
    origin_mm: tuple[float, float]
    pixels_per_mm: float

    def drawn(self, values: NDArray[np.uint8], spacing_mm: tuple[float, float]) -> Image.Image:
        """A plane of values (row, column) as this view shows it; black beside the plane."""
        (left, right), (top, bottom) = (self._span(axis, values.shape[1 - axis], spacing_mm) for axis in (0, 1))
        view = Image.new("L", self.size)
        if left < right and top < bottom:
            corners = [self._pixel(axis, at, spacing_mm) for at in ((left, top), (right, bottom)) for axis in (0, 1)]
            limits = (*values.shape[::-1], *values.shape[::-1])
            x0, y0, x1, y1 = (min(max(at, 0.0), float(limit)) for at, limit in zip(corners, limits, strict=True))
            size = (right - left, bottom - top)
            shown = Image.fromarray(values).resize(size, Image.Resampling.BICUBIC, (x0, y0, x1, y1))
            view.paste(shown, (left, top))
        return view

    def _span(self, axis: int, pixels: int, spacing_mm: tuple[float, float]) -> tuple[int, int]:
        """Which drawing pixels along an axis (0: columns, 1: rows) show a plane of so many pixels: from and to."""
        first, last = ((at * spacing_mm[1 - axis] - self.origin_mm[axis]) * self.pixels_per_mm for at in (0, pixels))
        return max(math.ceil(first - 1e-6), 0), min(math.floor(last + 1e-6), self.size[axis])

    def _pixel(self, axis: int, at: tuple[int, int], spacing_mm: tuple[float, float]) -> float:
        """Where in the plane (pixels along an axis) a drawing pixel begins."""
        return (self.origin_mm[axis] + at[axis] / self.pixels_per_mm) / spacing_mm[1 - axis]

    def line(self, outline: NDArray[np.float32], spacing_mm: tuple[float, float]) -> list[tuple[float, float]]:
        """An outline in pixels of a plane as a line of drawing pixels."""
        scaled = (outline * np.array(spacing_mm[::-1]) - np.array(self.origin_mm)) * self.pixels_per_mm
        return [(float(x), float(y)) for x, y in scaled]


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font at a final size in pixels: the same on every machine."""
    return ImageFont.load_default(size * SCALE)


def draw_plane(image: Image.Image, box: Box, plane: Plane, suspected: frozenset[Vertebra], margin_mm: float) -> None:
    """Draw one plane so that the levels in it, with a margin, fill ``box``."""
    frame = _frame(plane, (box.width * SCALE, box.height * SCALE), margin_mm)
    view = frame.drawn(_windowed(plane.hu), plane.spacing_mm).convert("RGB")
    if plane.heat is not None:
        view.paste(HEAT_RGB, mask=frame.drawn(_opacity(plane.heat), plane.spacing_mm))
    draw = ImageDraw.Draw(view)
    for mark in plane.marks:
        _mark(draw, frame, (mark + 0.5) * plane.spacing_mm[0])
    for level in (level for level in Vertebra if np.any(plane.labels == level)):
        color = _level_rgb(level, suspected)
        lines = [frame.line(outline, plane.spacing_mm) for outline in outlines(plane.labels == level)]
        for line in lines:
            draw.line(line, fill=color, width=3 if level in suspected else 2)
        if plane.named:
            _name_level(draw, level, lines, color)
    for outline in outlines(plane.lesion) if plane.lesion is not None else ():
        draw.line(frame.line(outline, plane.spacing_mm), fill=LESION_RGB, width=3)
    _annotate(draw, plane, frame.size)
    image.paste(view, (box.left * SCALE, box.top * SCALE))


def _level_rgb(level: Vertebra, suspected: frozenset[Vertebra]) -> tuple[int, int, int]:
    """Red for a suspected level; the others have their own color, a dim one beside a suspected level."""
    if level in suspected:
        return SUSPECTED_RGB
    red, green, blue = LEVEL_RGB[level]
    return (red * 3 // 4, green * 3 // 4, blue * 3 // 4) if suspected else (red, green, blue)


def _opacity(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """How opaque the shading is (0..255): nothing for faint heat, never so much that bone disappears."""
    share = np.clip((heat - HEAT_FROM) / (1.0 - HEAT_FROM), 0.0, 1.0)
    return np.asarray(np.rint(255 * HEAT_OPACITY * share), dtype=np.uint8)


def _mark(draw: ImageDraw.ImageDraw, frame: _Frame, at_mm: float) -> None:
    """A dotted line across the view where another view cuts it."""
    y = (at_mm - frame.origin_mm[1]) * frame.pixels_per_mm
    for x in range(0, frame.size[0], 8 * SCALE):
        draw.line((x, y, x + 3 * SCALE, y), fill=SUSPECTED_RGB, width=SCALE)


def _frame(plane: Plane, size: tuple[int, int], margin_mm: float) -> _Frame:
    """A view of the levels in a plane, else of all of it."""
    center, width, height = _extent(plane, margin_mm)
    scale = min(size[0] / width, size[1] / height)
    return _Frame(size, (center[0] - size[0] / 2 / scale, center[1] - size[1] / 2 / scale), scale)


def _extent(plane: Plane, margin_mm: float) -> tuple[tuple[float, float], float, float]:
    """Center (column, row), width and height in mm of what a view has to show."""
    row_mm, column_mm = plane.spacing_mm
    rows, columns = np.nonzero(plane.labels)
    if rows.size == 0:
        height, width = plane.hu.shape[0] * row_mm, plane.hu.shape[1] * column_mm
        return (width / 2, height / 2), width, height
    left, right = columns.min() * column_mm, (columns.max() + 1) * column_mm
    top, bottom = rows.min() * row_mm, (rows.max() + 1) * row_mm
    width = max(right - left + 2 * margin_mm, SMALLEST_VIEW_MM)
    height = max(bottom - top + 2 * margin_mm, SMALLEST_VIEW_MM)
    return ((left + right) / 2, (top + bottom) / 2), width, height


def _windowed(hu: NDArray[np.int16]) -> NDArray[np.uint8]:
    """HU in the bone window as gray values."""
    center, width = BONE_WINDOW
    gray = (hu.astype(np.float32) - (center - width / 2)) * (255.0 / width)
    windowed: NDArray[np.uint8] = np.clip(gray, 0, 255).astype(np.uint8)
    return windowed


def _name_level(
    draw: ImageDraw.ImageDraw, level: Vertebra, lines: Sequence[list[tuple[float, float]]], color: tuple[int, int, int]
) -> None:
    """Write the name of a level in front of (anterior to) its foremost large outline."""
    areas = [float(np.prod(np.ptp(line, axis=0))) for line in lines]
    large = [np.array(line) for line, area in zip(lines, areas, strict=True) if area >= max(areas) / 4]
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
    texts = (
        ((8 * SCALE, 6 * SCALE), plane.caption, 18, "la"),
        ((6 * SCALE, height / 2), plane.sides[0], 16, "lm"),
        ((width - 6 * SCALE, height / 2), plane.sides[1], 16, "rm"),
        ((8 * SCALE, height - 6 * SCALE), plane.note, 14, "ls"),
    )
    for at, text, letters, anchor in texts:
        draw.text(
            at, text, fill=TEXT_RGB, font=font(letters), anchor=anchor, stroke_width=STROKE, stroke_fill=(0, 0, 0)
        )
    draw.rectangle((0, 0, width - 1, height - 1), outline=FRAME_RGB, width=SCALE)
