"""What every result object is built from, and the identity it gets: kinds, series, deterministic UIDs."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import UID

from dicom_node.contours import Region, level_regions
from dicom_node.node import Device, deterministic_uid
from dicom_node.result_kind import ResultKind
from dicom_node.series import Placement
from dicom_node.source_headers import usable_header
from model.findings import StudyFindings, Vertebra


class SourceSeries(Protocol):
    """The CT series as results need it; arrays are (slice, row, column) in the native frame.

    ``headers`` are the sanitized headers in frame order: one a slice, or one multi-frame header for all slices.
    """

    @property
    def headers(self) -> tuple[Dataset, ...]:
        """Sanitized headers."""

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID of the source."""

    @property
    def hu(self) -> NDArray[np.int16]:
        """HU, native frame."""

    @property
    def placement(self) -> Placement:
        """Where the slices lie in a regular grid with its geometry."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel spacing (slice, row, column) of ``hu``."""


@dataclass(frozen=True, slots=True)
class ResultObject:
    """One DICOM object to be stored and sent; ``variant`` is its stable key, unique in one analysis."""

    kind: ResultKind
    dataset: Dataset
    variant: str


@dataclass(frozen=True, slots=True)
class SupersededResult:
    """A report of an earlier version of the results of the same study, which this version replaces."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """Where a native slice comes from: an instance, and the frame in it (from 1) if it is multi-frame."""

    sop_class_uid: str
    sop_instance_uid: str
    frame_numbers: list[int] | None


@dataclass(frozen=True)
class ResultContext:
    """One analysis: the series, its mask and findings, who found them, and when.

    ``labels`` (uint8, 0..7, native frame) holds voxels of exactly the levels that ``findings`` names. ``lesions`` (of
    the same form: voxels of the fracture of a suspected level carry its number) and ``activation`` (uint8: how much the
    network's answer rests on a voxel) explain the findings; None where nothing is to be explained. ``analyzed_at``
    must be aware: dates and times are written in its zone, or in the source's Timezone Offset From UTC if it has one.
    ``supersedes`` names the reports of earlier versions, which the reports list; no UID depends on it.
    Raises ``ValueError`` where this does not hold.
    """

    series: SourceSeries
    labels: NDArray[np.uint8]
    findings: StudyFindings
    device: Device
    bundle_name: str
    bundle_version: str
    bundle_sha256: str
    analyzed_at: datetime
    lesions: NDArray[np.uint8] | None = None
    activation: NDArray[np.uint8] | None = None
    supersedes: tuple[SupersededResult, ...] = ()

    def __post_init__(self) -> None:
        if self.analyzed_at.tzinfo is None:
            raise ValueError("analyzed_at has no time zone")
        for mask in (self.labels, self.lesions, self.activation):
            if mask is None:
                continue
            if mask.shape != self.series.hu.shape:
                raise ValueError(f"mask of shape {mask.shape} on a series of shape {self.series.hu.shape}")
            if mask.dtype != np.uint8:
                raise ValueError(f"mask of type {mask.dtype}, not uint8")

    @cached_property
    def header(self) -> Dataset:
        """The first source header as objects can take it: patient and study of every result."""
        return usable_header(self.series.headers[0])

    @cached_property
    def regions(self) -> Mapping[Vertebra, Region]:
        """The box (slice, row, column) of every level in ``labels``."""
        return level_regions(self.labels)

    def broken(self, index: int, vertebra: Vertebra) -> NDArray[np.bool_] | None:
        """The pixels (row, column) of a level's fracture in native slice ``index``; None where none is known there."""
        if self.lesions is None:
            return None
        mask = (self.lesions[index] == vertebra) & (self.labels[index] == vertebra)
        return mask if mask.any() else None

    @property
    def levels(self) -> tuple[Vertebra, ...]:
        """The levels found, from C1 downwards; segment numbers follow this order."""
        return tuple(finding.vertebra for finding in self.findings.vertebrae)

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID of the source, and of every result."""
        return str(self.series.headers[0].StudyInstanceUID)

    def source_frame(self, index: int) -> SourceFrame:
        """The source of native slice ``index``."""
        headers = self.series.headers
        multi_frame = len(headers) == 1 and self.labels.shape[0] > 1
        header = headers[0 if multi_frame else index]
        frames = [index + 1] if multi_frame else None
        return SourceFrame(str(header.SOPClassUID), str(header.SOPInstanceUID), frames)

    @cached_property
    def identity(self) -> tuple[str, ...]:
        """What one version of the results depends on: study, instances and voxels of the series, model and software."""
        instances = hashlib.sha256(np.ascontiguousarray(self.series.hu).data)
        for uid in sorted(str(header.SOPInstanceUID) for header in self.series.headers):
            instances.update(uid.encode("ascii", "replace") + b"\n")
        return (
            self.study_instance_uid,
            str(self.series.series_instance_uid),
            instances.hexdigest(),
            self.bundle_sha256,
            self.device.software_version,
        )

    def uid(self, *purpose: str) -> UID:
        """The UID that this analysis gives to ``purpose`` however often it is repeated (PS3.5 B.2)."""
        return deterministic_uid("result", *purpose, *self.identity)

    def tracking_uid(self, vertebra: Vertebra) -> UID:
        """The Tracking UID of a level, the same in segment and measurement group."""
        return self.uid("tracking", vertebra.name)


def tracking_identifier(vertebra: Vertebra) -> str:
    """The human-readable tracking identifier of a level: plain, so that no viewer takes it for its own annotation."""
    return f"cspine {vertebra.name}"
