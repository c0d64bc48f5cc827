"""Which planes of a volume show its findings best: one sagittal overview, and two details of every suspected level.

Arrays are (slice, row, column) in the standard frame: head to feet, anterior to posterior, right to left. So a sagittal
view has the head on top and anterior at the left, an axial view anterior on top and the patient's right at the left.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dicom_node.contours import Region, key_index, level_regions
from dicom_node.sentences import percent
from dicom_node.views import BONE_WINDOW, Plane
from model.findings import StudyFindings, Vertebra, VertebraFinding


@dataclass(frozen=True)
class Volume:
    """HU of a study and what was found in it, in the standard frame.

    ``lesions``: 0 or the number of the suspected level whose fracture a voxel belongs to; ``activation``: how much the
    network's answer rests on a voxel. None: not known.
    """

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    lesions: NDArray[np.uint8] | None = None
    activation: NDArray[np.uint8] | None = None

    @cached_property
    def regions(self) -> Mapping[Vertebra, Region]:
        """The box of every level that the labels hold."""
        return level_regions(self.labels)

    def key_index(self, level: Vertebra) -> int:
        """The slice that shows a level of ``regions`` best."""
        return key_index(self.labels, self.regions[level], level, self.lesions)


def shown_levels(findings: StudyFindings) -> tuple[VertebraFinding, ...]:
    """The levels with a view of their own: every suspected one, else the one with the highest probability."""
    if findings.fractured:
        return findings.fractured
    return tuple(sorted(findings.vertebrae, key=lambda finding: -finding.probability)[:1])


def overview(volume: Volume, findings: StudyFindings) -> Plane:
    """The sagittal plane through the middle of the most suspicious level, or of the volume, with all outlines.

    Marks show where the axial views of suspected levels cut it; a note tells the window of all views.
    """
    shown = [finding for finding in shown_levels(findings) if finding.vertebra in volume.regions]
    most = max(shown, key=lambda finding: finding.probability, default=None)
    column = volume.hu.shape[2] // 2 if most is None else _middle_column(volume, most.vertebra)
    return Plane(
        volume.hu[:, :, column],
        volume.labels[:, :, column],
        (volume.spacing_mm[0], volume.spacing_mm[1]),
        "Sagittal",
        ("A", "P"),
        marks=tuple(volume.key_index(finding.vertebra) for finding in shown if finding.fractured),
        named=True,
        note=f"W {BONE_WINDOW[1]:.0f}  L {BONE_WINDOW[0]:.0f}",
    )


def axial_plane(volume: Volume, finding: VertebraFinding) -> Plane:
    """The axial plane with most of one level's fracture, else of the level: outline, fracture and activation."""
    level = finding.vertebra
    index = volume.key_index(level)
    return Plane(
        volume.hu[index],
        _only(volume.labels[index], level),
        (volume.spacing_mm[1], volume.spacing_mm[2]),
        f"{level.name}  {percent(finding.probability)}{'' if finding.fractured else '  (the highest)'}",
        ("R", "L"),
        lesion=None if volume.lesions is None else volume.lesions[index] == level,
        heat=None if volume.activation is None else _heat(volume, level, volume.activation[index]),
    )


def sagittal_plane(volume: Volume, finding: VertebraFinding) -> Plane:
    """The sagittal plane with most of one level's fracture, else through its middle, drawn as the axial one."""
    level = finding.vertebra
    column = _middle_column(volume, level)
    if volume.lesions is not None:
        region = volume.regions[level]
        areas = np.count_nonzero(volume.lesions[region] == level, axis=(0, 1))
        column = region[2].start + int(np.argmax(areas)) if areas.any() else column
    return Plane(
        volume.hu[:, :, column],
        _only(volume.labels[:, :, column], level),
        (volume.spacing_mm[0], volume.spacing_mm[1]),
        f"{level.name}  sagittal",
        ("A", "P"),
        lesion=None if volume.lesions is None else volume.lesions[:, :, column] == level,
        heat=None if volume.activation is None else _heat(volume, level, volume.activation[:, :, column]),
    )


def middle_plane(volume: Volume) -> Plane:
    """The axial plane in the middle of a volume in which no level was found."""
    middle = volume.hu.shape[0] // 2
    spacing = (volume.spacing_mm[1], volume.spacing_mm[2])
    return Plane(volume.hu[middle], volume.labels[middle], spacing, "Axial", ("R", "L"))


def _only(labels: NDArray[np.uint8], level: Vertebra) -> NDArray[np.uint8]:
    """The labels of one level alone."""
    return np.where(labels == level, np.uint8(level), np.uint8(0))


def _middle_column(volume: Volume, level: Vertebra) -> int:
    """The mean column of a level's voxels."""
    region = volume.regions[level]
    counts = np.count_nonzero(volume.labels[region] == level, axis=(0, 1))
    return int(region[2].start + round(float(np.average(np.arange(counts.size), weights=counts))))


def _heat(volume: Volume, level: Vertebra, plane: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """The activation in a plane as a share (0..1) of its maximum in the level's box; None where that is zero."""
    if volume.activation is None:
        return None
    most = int(volume.activation[volume.regions[level]].max())
    return np.minimum(plane.astype(np.float32) / np.float32(most), np.float32(1.0)) if most else None
