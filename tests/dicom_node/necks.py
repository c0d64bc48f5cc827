"""Small CT series with known levels, as results are built from: real headers, real geometry, seven simple vertebrae."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_node.encode import encode
from dicom_node.node import Device
from dicom_node.profiles import PROFILES, Profile, Switch, profile_of
from dicom_node.result_context import ResultContext, ResultKind
from dicom_node.results import build_results
from dicom_node.series import CTSeries, Placement
from model.findings import Limitation, StudyFindings, Vertebra, VertebraFinding
from tests.dicom_node.small_series import sanitized
from training.synthesis.phantom_series import SeriesForm, SeriesOptions, make_series, native_volume

SPACING_MM = (2.0, 1.25, 1.0)
SHAPE = (56, 60, 64)
DEVICE = Device.create("1.2.3", "SITE-1")
ANALYZED_AT = datetime(2026, 1, 2, 3, 4, 5, 678900, UTC)
ALL_LEVELS = tuple(Vertebra)


def labels_of(levels: Sequence[Vertebra]) -> NDArray[np.uint8]:
    """Levels as body and process, standard frame; each leans to the right, so that a mirrored one is another one."""
    z, y, x = np.indices(SHAPE, dtype=np.float32)
    labels = np.zeros(SHAPE, np.uint8)
    for level in levels:
        middle = 4.0 + 7.0 * (level - 1)
        body = ((z - middle) / 2.6) ** 2 + ((y - 25) / 7) ** 2 + ((x - 30) / (7 + 0.5 * level)) ** 2 < 1
        process = ((z - middle - 1.5) / 2.2) ** 2 + ((y - 40) / 9) ** 2 + ((x - 26) / 2.5) ** 2 < 1
        labels[body | process] = level
    return labels


def explanation_of(fractured: Sequence[Vertebra]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Lesions in the process of each fractured level, below its largest slice, and the activation around them."""
    z, y, x = np.indices(SHAPE, dtype=np.float32)
    lesions, activation = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.float32)
    labels = labels_of(fractured)
    for level in fractured:
        off = ((z - 7.0 * (level - 1) - 6.0) / 1.2) ** 2 + ((y - 40) / 3) ** 2 + ((x - 26) / 3) ** 2
        lesions[(off < 1) & (labels == level)] = level
        activation = np.maximum(activation, 255 * np.exp(-off / 3))
    return lesions, activation.astype(np.uint8)


def findings_of(
    levels: Sequence[Vertebra], fractured: Sequence[Vertebra] = (), limitations: tuple[Limitation, ...] = ()
) -> StudyFindings:
    """Findings with a probability of 0.9 for fractured levels and a small, different one for each other level."""
    vertebrae = tuple(
        VertebraFinding(level, 0.9 if level in fractured else 0.02 * level, level in fractured, 9000.0)
        for level in levels
    )
    return StudyFindings(vertebrae, 0.93 if fractured else 0.14, 0.5, limitations)


@dataclass(frozen=True)
class Case:
    """A study to build results for."""

    levels: tuple[Vertebra, ...] = ALL_LEVELS
    fractured: tuple[Vertebra, ...] = ()
    limitations: tuple[Limitation, ...] = ()
    options: SeriesOptions = field(default_factory=SeriesOptions)
    explained: bool = False

    def series(self) -> CTSeries:
        """The series as the reading child hands it over."""
        hu = np.where(labels_of(self.levels) > 0, 500, 40).astype(np.int16)
        volume = native_volume(hu, SPACING_MM, self.options)
        datasets = make_series(hu, SPACING_MM, self.options)
        if self.options.form is SeriesForm.SINGLE_FRAME:
            cosines = np.array(datasets[0].ImageOrientationPatient, float)
            normal = np.cross(cosines[:3], cosines[3:])
            if np.dot(volume.unit_vectors()[0], normal) < 0:
                volume = volume.flip_spatial(0)
            datasets = tuple(sorted(datasets, key=lambda d: float(np.dot(normal, np.array(d.ImagePositionPatient)))))
        count = volume.spatial_shape[0]
        placement = Placement(volume.get_geometry(), tuple(range(count)), (0,) * count, (0,) * count)
        headers = tuple(sanitized(dataset) for dataset in datasets)
        uid = str(headers[0].SeriesInstanceUID)
        return CTSeries(np.ascontiguousarray(volume.array), placement, headers, uid, "1.2.840.10008.1.2.1")

    def context(self) -> ResultContext:
        """The context of its results."""
        series = self.series()
        lesions, activation = explanation_of(self.fractured) if self.explained else (None, None)
        return ResultContext(
            series=series,
            labels=series.mask_to_native(labels_of(self.levels)),
            findings=findings_of(self.levels, self.fractured, self.limitations),
            device=DEVICE,
            bundle_name="synthetic-neck",
            bundle_version="0.1.0",
            bundle_sha256="c0ffee" + "0" * 58,
            analyzed_at=ANALYZED_AT,
            lesions=None if lesions is None else series.mask_to_native(lesions),
            activation=None if activation is None else series.mask_to_native(activation),
        )


POSITIVE = Case(fractured=(Vertebra.C2, Vertebra.C5))
EXPLAINED = Case(fractured=(Vertebra.C2, Vertebra.C5), explained=True)
NEGATIVE = Case()
LIMITED = Case(
    levels=(Vertebra.C1, Vertebra.C2, Vertebra.C4),
    fractured=(Vertebra.C4,),
    limitations=(Limitation.FEW_LEVELS, Limitation.LEVELS_NOT_CONTIGUOUS),
)
NOTHING_FOUND = Case(levels=(), limitations=(Limitation.NO_LEVELS,))
CASES = {
    "positive": POSITIVE,
    "explained": EXPLAINED,
    "negative": NEGATIVE,
    "limited": LIMITED,
    "nothing found": NOTHING_FOUND,
}


LABELMAP_PROFILES = (profile_of("default", ["labelmap"]), profile_of("air", ["labelmap"]))
EVERY_PROFILE = (*PROFILES.values(), *LABELMAP_PROFILES, profile_of("ohif", set(Switch) - {Switch.LABELMAP}))
"""Profiles that ask for every object there is."""


def every_object(context: ResultContext, profiles: Sequence[Profile] = EVERY_PROFILE) -> dict[str, Dataset]:
    """The result data sets of every profile by variant."""
    return {result.variant: result.dataset for result in build_results(context, profiles)}


def built(context: ResultContext) -> dict[ResultKind, Dataset]:
    """The result data sets by kind."""
    return {result.kind: result.dataset for result in build_results(context)}


def written(context: ResultContext, folder: Path) -> dict[ResultKind, Path]:
    """The result files by kind."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for kind, dataset in built(context).items():
        paths[kind] = folder / f"{kind.value}.dcm"
        paths[kind].write_bytes(encode(dataset))
    return paths


def copied_headers(context: ResultContext) -> list[Dataset]:
    """Headers to change: pydicom's own ``copy`` shares its elements with the original."""
    return [deepcopy(header) for header in context.series.headers]


def with_headers(context: ResultContext, headers: Sequence[Dataset]) -> ResultContext:
    """The same analysis of a series with other headers."""
    return replace(context, series=replace(context.series, headers=tuple(headers)))


def content(dataset: Dataset, *names: str) -> list[Dataset]:
    """The content items at a path of concept meanings below the root."""
    items = [dataset]
    for name in names:
        items = [child for item in items for child in item.get("ContentSequence", []) if meaning(child) == name]
    return items


def meaning(item: Dataset) -> str:
    """The meaning of an item's concept name."""
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeMeaning) if names else ""


def coded(item: Dataset) -> str:
    """The code value of a CODE item."""
    return str(item.ConceptCodeSequence[0].CodeValue)
