"""Pictures of the findings: one sagittal view and the axial views that tell most.

Arrays are (slice, row, column) in the standard frame: head to feet, anterior to posterior, right to left. So a sagittal
view has the head on top and anterior at the left, an axial view anterior on top and the patient's right at the left.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_node.contours import key_slices, level_regions
from dicom_node.sentences import WARNING, percent
from dicom_node.views import SCALE, WARNING_RGB, Box, Plane, draw_plane, font
from model.findings import StudyFindings, Vertebra, VertebraFinding

SAGITTAL_MARGIN_MM = 22.0
AXIAL_MARGIN_MM = 18.0


@dataclass(frozen=True, slots=True)
class Volume:
    """Mask and HU of a study in the standard frame."""

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]


def render_overlay(
    hu: NDArray[np.int16],
    labels: NDArray[np.uint8],
    findings: StudyFindings,
    spacing_mm: tuple[float, float, float],
) -> Image.Image:
    """A picture (RGB, 1024 x 640) of one sagittal and the telling axial views; arrays in the standard frame."""
    image = new_picture(1024, 640)
    draw_views(image, Box(0, 0, 1024, 616), Volume(hu, labels, spacing_mm), findings)
    at = (8 * SCALE, 627 * SCALE)
    ImageDraw.Draw(image).text(at, WARNING, fill=WARNING_RGB, font=font(16), anchor="lm")
    return image.reduce(SCALE)


def new_picture(width: int, height: int) -> Image.Image:
    """A black picture that will be ``width`` x ``height`` after reduction."""
    return Image.new("RGB", (width * SCALE, height * SCALE))


def draw_views(image: Image.Image, box: Box, volume: Volume, findings: StudyFindings) -> None:
    """Draw the sagittal view at the left of ``box`` and the axial views at its right."""
    suspected = frozenset(finding.vertebra for finding in findings.fractured)
    shown = shown_levels(findings)
    gap = 6
    sagittal_width = round(box.width * 0.42)
    sagittal = Box(box.left + gap, box.top + gap, sagittal_width - gap, box.height - 2 * gap)
    draw_plane(image, sagittal, _sagittal(volume, shown), suspected, SAGITTAL_MARGIN_MM)
    planes = _axial_planes(volume, shown)
    columns = 1 if len(planes) <= 2 else 2
    rows = math.ceil(len(planes) / columns)
    left, width = box.left + sagittal_width + gap, box.width - sagittal_width - gap
    for number, plane in enumerate(planes):
        row, column = divmod(number, columns)
        cell = Box(
            left + column * width // columns,
            box.top + gap + row * (box.height - gap) // rows,
            width // columns - gap,
            (box.height - gap) // rows - gap,
        )
        draw_plane(image, cell, plane, suspected, AXIAL_MARGIN_MM)


def shown_levels(findings: StudyFindings) -> tuple[VertebraFinding, ...]:
    """The levels with an axial view: every suspected one, else the one with the highest probability."""
    if findings.fractured:
        return findings.fractured
    return tuple(sorted(findings.vertebrae, key=lambda finding: -finding.probability)[:1])


def _sagittal(volume: Volume, shown: Sequence[VertebraFinding]) -> Plane:
    """The sagittal plane through the middle of the first level shown, or of the volume."""
    column = volume.hu.shape[2] // 2
    if shown:
        most = max(shown, key=lambda finding: finding.probability)
        column = _middle_column(volume.labels, most.vertebra, column)
    slice_mm, row_mm, _ = volume.spacing_mm
    return Plane(volume.hu[:, :, column], volume.labels[:, :, column], (slice_mm, row_mm), "Sagittal", ("A", "P"))


def _middle_column(labels: NDArray[np.uint8], vertebra: Vertebra, otherwise: int) -> int:
    """The mean column of a level's voxels."""
    region = level_regions(labels).get(vertebra)
    if region is None:
        return otherwise
    counts = np.count_nonzero(labels[region] == vertebra, axis=(0, 1))
    return int(region[2].start + round(float(np.average(np.arange(counts.size), weights=counts))))


def _axial_planes(volume: Volume, shown: Sequence[VertebraFinding]) -> list[Plane]:
    """The axial plane of largest area of every level shown, or the middle one."""
    spacing = (volume.spacing_mm[1], volume.spacing_mm[2])
    slices = key_slices(volume.labels)
    planes = []
    for finding in shown:
        if finding.vertebra in slices:
            index = slices[finding.vertebra].index
            labels = np.where(volume.labels[index] == finding.vertebra, np.uint8(finding.vertebra), np.uint8(0))
            caption = f"{finding.vertebra.name}  {percent(finding.probability)}"
            planes.append(Plane(volume.hu[index], labels, spacing, caption, ("R", "L")))
    if not planes:
        middle = volume.hu.shape[0] // 2
        planes.append(Plane(volume.hu[middle], volume.labels[middle], spacing, "Axial", ("R", "L")))
    return planes
