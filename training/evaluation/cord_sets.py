"""CT of patients of whom only the spinal cord is known: whether labels lie around it, in order, and how many alarm.

The OpenKBP sample. Fracture status is unknown there, so the share of called levels is an alarm rate, no specificity.
"""

import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.errors import UnusableVolume
from model.findings import Limitation, Vertebra
from training.evaluation.bootstrap import Estimate
from training.evaluation.evaluate import VolumePredictor
from training.evaluation.figures import Share, mean_interval, share
from training.evaluation.judging import Answer

LOG = logging.getLogger(__name__)
FOLDER = "openkbp-sample"
DATA = "real: OpenKBP sample, head and neck CT of patients, voxels of about 4x4x2.5 mm; fracture status unknown"
OUTSIDE_HU = -1000
TUBE_MM = 30.0
"""Reach of the tube to the front and the sides of the cord: bodies and transverse processes lie within it."""
TUBE_BEHIND_MM = 45.0
"""Reach of the tube behind the cord, for the spinous processes."""
BODY_HU = -300
LARGEST_VOXELS = 64_000_000


class ScanError(ValueError):
    """A file that is no scan of this set."""


@dataclass(frozen=True, slots=True)
class CordScan:
    """One CT in the standard frame with the voxels of its spinal cord."""

    name: str
    hu: NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    cord: NDArray[np.bool_]


def read_scan(path: Path) -> CordScan:
    """One file of the sample; ``ScanError`` when it is not what it should be.

    Its arrays are (slice, row, column) from head to feet, front to back, right to left already: brainstem, mandible
    and cord follow each other along the first axis, the aortic arch lies toward higher columns. ``spacing_yxz`` is
    (row, column, slice). Voxels outside the body are stored as 0, which is taken for air; air around it is cut off.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            raw, cord, spacing = (stored[key] for key in ("ct_raw", "SpinalCord", "spacing_yxz"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ScanError(f"{path.name} cannot be read: {error}") from error
    if raw.ndim != 3 or raw.size > LARGEST_VOXELS or raw.dtype != np.int16 or raw.min() < 0:
        raise ScanError(f"{path.name}: ct_raw is no volume of HU + 1024")
    if cord.shape != raw.shape or cord.dtype != np.bool_ or not cord.any():
        raise ScanError(f"{path.name}: SpinalCord is no mask of the volume")
    if spacing.shape != (3,) or not ((spacing > 0.3) & (spacing < 10)).all():
        raise ScanError(f"{path.name}: spacing_yxz is implausible")
    spacing_mm = float(spacing[2]), float(spacing[0]), float(spacing[1])
    extent = np.ptp(np.argwhere(cord), axis=0) * spacing_mm
    if extent.argmax() != 0:
        raise ScanError(f"{path.name}: the cord does not run along the slices")
    body = ndimage.find_objects(((raw > 0) | cord).astype(np.uint8))[0]
    hu = np.where(raw == 0, OUTSIDE_HU, raw - 1024)[body].astype(np.int16)
    return CordScan(path.stem, hu, spacing_mm, cord[body].copy())


def read_scans(data_folder: Path) -> Iterator[CordScan]:
    """The scans of the sample one by one; a file that is none is logged and left out."""
    for path in sorted((data_folder / FOLDER).glob("*.npz")):
        try:
            yield read_scan(path)
        except ScanError as error:
            LOG.warning("left out: %s", error)


@dataclass(frozen=True, slots=True)
class CordResult:
    """One scan: probability of each level found, order of the middles, where labels lie in the slices of the cord.

    ``inside``: share of the labeled voxels within the tube; ``distance_mm``: their median distance from the cord, in
    the slice; None where no label shares a slice with the cord. ``by_chance``: share of all voxels of the body in the
    same slices within the tube.
    """

    name: str
    probability: dict[Vertebra, float]
    called: tuple[Vertebra, ...]
    in_order: bool
    inside: float | None
    distance_mm: float | None
    by_chance: float
    limitations: tuple[Limitation, ...]
    seconds: float


def in_order(labels: NDArray[np.uint8]) -> bool:
    """Whether the middles of the levels follow each other from head to feet."""
    slices = np.arange(labels.shape[0])
    counts = [(labels == level).sum(axis=(1, 2)) for level in Vertebra]
    middles = [float((count * slices).sum() / count.sum()) for count in counts if count.any()]
    return all(above < below for above, below in pairwise(middles))


def tube(scan: CordScan) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """The tube around the cord, and each voxel's distance in mm from the cord in its slice (infinite without cord)."""
    inside = np.zeros(scan.cord.shape, dtype=np.bool_)
    distance = np.full(scan.cord.shape, np.inf)
    rows = np.arange(scan.cord.shape[1])[:, None]
    for index in np.flatnonzero(scan.cord.any(axis=(1, 2))):
        mask = scan.cord[index]
        away = ndimage.distance_transform_edt(~mask, sampling=scan.spacing_mm[1:])
        middle = np.flatnonzero(mask.any(axis=1)).mean()
        inside[index] = away <= np.where(rows > middle, TUBE_BEHIND_MM, TUBE_MM)
        distance[index] = away
    return inside, distance


def judge_scan(scan: CordScan, answer: Answer) -> CordResult:
    """Where the labels of an answer lie, and which levels alarm."""
    inside, distance = tube(scan)
    with_cord = np.isfinite(distance)
    labeled, body = (answer.labels > 0) & with_cord, (scan.hu > BODY_HU) & with_cord
    any_labeled = bool(labeled.any())
    return CordResult(
        name=scan.name,
        probability={finding.vertebra: finding.probability for finding in answer.findings.vertebrae},
        called=tuple(finding.vertebra for finding in answer.findings.fractured),
        in_order=in_order(answer.labels),
        inside=float(inside[labeled].mean()) if any_labeled else None,
        distance_mm=float(np.median(distance[labeled])) if any_labeled else None,
        by_chance=float(inside[body].mean()) if body.any() else 0.0,
        limitations=answer.findings.limitations,
        seconds=sum(answer.seconds.values()),
    )


@dataclass(frozen=True, slots=True)
class CordEvaluation:
    """All scans of the sample; ``refused`` counts those that the predictor would not answer."""

    data: str
    results: tuple[CordResult, ...]
    refused: int

    def inside(self) -> Estimate | None:
        """Share of labeled voxels within the tube, the mean over scans."""
        return self._mean([result.inside for result in self.results])

    def by_chance(self) -> Estimate | None:
        """The same share of all voxels of the body."""
        return self._mean([result.by_chance for result in self.results])

    def distance_mm(self) -> Estimate | None:
        """Median distance of labeled voxels from the cord, the mean over scans."""
        return self._mean([result.distance_mm for result in self.results])

    def levels_found(self) -> Estimate | None:
        """Levels found in a scan, the mean over scans."""
        return self._mean([float(len(result.probability)) for result in self.results])

    def in_order(self) -> Share | None:
        """Share of the scans, among those with two levels or more, whose levels follow each other downwards."""
        ordered = np.array([r.in_order for r in self.results if len(r.probability) > 1], dtype=np.bool_)
        return share(ordered, np.arange(len(ordered)))

    def alarms(self) -> Share | None:
        """Share of the levels found that are called fractured."""
        rows = [(v in r.called, k) for k, r in enumerate(self.results) for v in r.probability]
        called, number = [hit for hit, _ in rows], [k for _, k in rows]
        return share(np.array(called, dtype=np.bool_), np.array(number, dtype=np.intp))

    def scans_with_alarm(self) -> Share | None:
        """Share of the scans with any level called fractured."""
        called = np.array([bool(result.called) for result in self.results], dtype=np.bool_)
        return share(called, np.arange(len(called)))

    def limited(self) -> Share | None:
        """Share of the scans with a limitation beside their findings."""
        named = np.array([bool(result.limitations) for result in self.results], dtype=np.bool_)
        return share(named, np.arange(len(named)))

    @staticmethod
    def _mean(values: list[float | None]) -> Estimate | None:
        known = np.array([value for value in values if value is not None], dtype=np.float64)
        return mean_interval(known, np.arange(len(known)))

    def as_json(self) -> dict[str, object]:
        """The summary and every scan as plain JSON values."""
        figures = {
            "inside_tube": self.inside(),
            "inside_tube_by_chance": self.by_chance(),
            "median_distance_mm": self.distance_mm(),
            "levels_found": self.levels_found(),
            "in_order": self.in_order(),
            "alarm_rate_levels": self.alarms(),
            "alarm_rate_scans": self.scans_with_alarm(),
            "scans_with_a_limitation": self.limited(),
        }
        return {
            "data": self.data,
            "scans": len(self.results),
            "refused": self.refused,
            **{name: figure.as_json() if figure else None for name, figure in figures.items()},
            "results": [_json(result) for result in self.results],
        }


def _json(result: CordResult) -> dict[str, object]:
    return {
        "name": result.name,
        "probability": {level.name: round(value, 4) for level, value in result.probability.items()},
        "called": [level.name for level in result.called],
        "in_order": result.in_order,
        "inside_tube": result.inside,
        "median_distance_mm": result.distance_mm,
        "by_chance": round(result.by_chance, 4),
        "limitations": [limitation.name for limitation in result.limitations],
        "seconds": round(result.seconds, 2),
    }


def measure_cords(predictor: VolumePredictor, data_folder: Path, most: int | None = None) -> CordEvaluation | None:
    """Run the predictor over the sample (``most``: over its first so many scans); None where there is none."""
    results, refused = [], 0
    for number, scan in enumerate(read_scans(data_folder), start=1):
        if most is not None and number > most:
            break
        try:
            result = judge_scan(scan, predictor.predict(scan.hu, scan.spacing_mm))
        except UnusableVolume:
            refused += 1
            LOG.info("%s: %s refused", FOLDER, scan.name)
            continue
        results.append(result)
        LOG.info("%s: %s, %d levels, %.1f s", FOLDER, scan.name, len(result.probability), result.seconds)
    return CordEvaluation(DATA, tuple(results), refused) if results or refused else None
