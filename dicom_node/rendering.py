"""The picture of the findings: a sagittal overview at the left, the views that tell most at its right, a legend below.

Every suspected level has an axial and a sagittal view: one above the other, or side by side where they are many.
"""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from dicom_node.planes import Volume, axial_plane, middle_plane, overview, sagittal_plane, shown_levels
from dicom_node.sentences import WARNING
from dicom_node.views import (
    HEAT_SWATCH_RGB,
    LESION_RGB,
    SCALE,
    SUSPECTED_RGB,
    TEXT_RGB,
    WARNING_RGB,
    Box,
    Plane,
    draw_plane,
    font,
)
from model.findings import StudyFindings, Vertebra

OVERVIEW_MARGIN_MM = 22.0
DETAIL_MARGIN_MM = 14.0
MOST_COLUMNS = 3
"""Levels whose views stand one above the other."""
PAIRS_A_ROW = 2
LEGEND_HEIGHT = 24
GAP = 6


def render_overlay(volume: Volume, findings: StudyFindings) -> Image.Image:
    """A picture (RGB, 1024 x 640) of the overview and the telling views of a volume."""
    image = new_picture(1024, 640)
    draw_views(image, Box(0, 0, 1024, 616), volume, findings)
    at = (8 * SCALE, 627 * SCALE)
    ImageDraw.Draw(image).text(at, WARNING, fill=WARNING_RGB, font=font(16), anchor="lm")
    return image.reduce(SCALE)


def new_picture(width: int, height: int) -> Image.Image:
    """A black picture that will be ``width`` x ``height`` after reduction."""
    return Image.new("RGB", (width * SCALE, height * SCALE))


def draw_views(image: Image.Image, box: Box, volume: Volume, findings: StudyFindings) -> None:
    """Draw the overview at the left of ``box``, the details at its right, and what their colors mean below."""
    suspected = frozenset(finding.vertebra for finding in findings.fractured)
    rows = detail_rows(volume, findings)
    planes = [plane for row in rows for plane in row]
    height = box.height - (LEGEND_HEIGHT if _draw_legend(image, box, planes, suspected) else 0)
    width = round(box.width * _overview_share(len(suspected)))
    left = Box(box.left + GAP, box.top + GAP, width - GAP, height - 2 * GAP)
    draw_plane(image, left, overview(volume, findings), suspected, OVERVIEW_MARGIN_MM)
    right = Box(box.left + width, box.top, box.width - width, height)
    for number, row in enumerate(rows):
        for cell, plane in zip(_cells(right, (number, len(rows)), len(rows[0])), row, strict=False):
            draw_plane(image, cell, plane, suspected, DETAIL_MARGIN_MM)


def _overview_share(suspected: int) -> float:
    """The share of the width that the overview gets beside the details of so many suspected levels."""
    if suspected > MOST_COLUMNS:
        return 0.27
    return 0.34 if suspected else 0.42


def detail_rows(volume: Volume, findings: StudyFindings) -> list[list[Plane]]:
    """The views of suspected levels in rows: axial above sagittal, or both side by side where levels are many."""
    shown = [finding for finding in shown_levels(findings) if finding.vertebra in volume.regions]
    if not shown:
        return [[middle_plane(volume)]]
    axial = [axial_plane(volume, finding) for finding in shown]
    if not findings.fractured:
        return [axial]
    sagittal = [sagittal_plane(volume, finding) for finding in shown]
    if 1 < len(shown) <= MOST_COLUMNS:
        return [axial, sagittal]
    pairs = [plane for pair in zip(axial, sagittal, strict=True) for plane in pair]
    return [pairs[first : first + 2 * PAIRS_A_ROW] for first in range(0, len(pairs), 2 * PAIRS_A_ROW)]


def _cells(box: Box, row: tuple[int, int], columns: int) -> list[Box]:
    """The boxes of one row (its number, and how many there are) of views of equal width."""
    number, rows = row
    top = box.top + GAP + number * (box.height - GAP) // rows
    height = (box.height - GAP) // rows - GAP
    lefts = [box.left + GAP + column * (box.width - GAP) // columns for column in range(columns)]
    return [Box(left, top, (box.width - GAP) // columns - GAP, height) for left in lefts]


def _draw_legend(image: Image.Image, box: Box, planes: Sequence[Plane], suspected: frozenset[Vertebra]) -> bool:
    """Write below the views what lines and shading mean; False where there is nothing to explain."""
    entries: list[tuple[str, tuple[int, int, int], bool]] = []
    if suspected:
        entries.append(("outline of a suspected level", SUSPECTED_RGB, False))
    if any(plane.lesion is not None and plane.lesion.any() for plane in planes):
        entries.append(("suspected fracture", LESION_RGB, False))
    if any(plane.heat is not None for plane in planes):
        entries.append(("where the network looked", HEAT_SWATCH_RGB, True))
    if not entries:
        return False
    draw = ImageDraw.Draw(image)
    x, y = box.left + GAP, box.top + box.height - LEGEND_HEIGHT / 2
    for text, color, shaded in entries:
        half = 6 if shaded else 1
        draw.rectangle((x * SCALE, (y - half) * SCALE, (x + 22) * SCALE, (y + half) * SCALE), fill=color)
        draw.text(((x + 30) * SCALE, y * SCALE), text, fill=TEXT_RGB, font=font(16), anchor="lm")
        x += 30 + round(draw.textlength(text, font=font(16)) / SCALE) + 28
    return True
