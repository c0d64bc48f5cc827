"""Real CT with known places of levels: read by the code that serves, named, searched for bone without a label."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.errors import DicomNodeError
from dicom_node.hu_scale import AIR_HU
from dicom_node.reading import read_study
from dicom_node.series import STANDARD_ORIENTATION, CTSeries
from model.findings import Limitation, Vertebra
from training.evaluation.evaluate import VolumePredictor
from training.evaluation.judging import NAMED_MM3, Answer

Spot = tuple[float, float, float]
NECK_FOLDER = "visible-human-female-neck"
NECK_MM: Mapping[Vertebra, Spot] = {
    Vertebra.C1: (250, 231, 1577),
    Vertebra.C2: (250, 238, 1552),
    Vertebra.C3: (250, 240, 1534),
    Vertebra.C4: (250, 243, 1519),
    Vertebra.C5: (250, 247, 1506),
}
"""Middles of the female neck's levels (LPS), seen by hand: C1's anterior arch, the others' bodies; C5 is cut."""
HEAD_FOLDER = "harvard-head"
HEAD_MM: Mapping[Vertebra, Spot] = {Vertebra.C1: (-7.3, 82.9, -161.0), Vertebra.C2: (-7.3, 99.5, -177.5)}
"""Middles of the head's whole levels (LPS), seen by hand: C1's anterior arch, C2's body."""
HEAD_AIR_HU = -520.0
"""Where air lies in the head as it comes; water lies at 0."""

REACH_MM = 3.0
DENSE_HU = 250
BONE_HU = 150
LARGEST_FOLDER = 2000


class SetUnavailable(Exception):
    """A data set is not here, or not what it should be; the row is left out."""


@dataclass(frozen=True, slots=True)
class RealVolume:
    """A real CT in the standard frame and the voxels in the middle of its levels.

    ``at_the_edge``: levels of which too little is in view to ask for their names; ``held_out``: no part of training.
    """

    data: str
    hu: NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    middles: Mapping[Vertebra, tuple[int, int, int]]
    held_out: bool
    at_the_edge: frozenset[Vertebra] = frozenset()
    warnings: tuple[Limitation, ...] = ()


def read_neck(data_folder: Path) -> RealVolume:
    """The female neck; ``SetUnavailable`` where it is missing or not as known."""
    with tempfile.TemporaryDirectory() as scratch:
        series = _read(_files(data_folder / NECK_FOLDER), Path(scratch))
        hu, spacing_mm = series.to_standard()
        middles = _voxels(series, NECK_MM)
        return RealVolume(
            "real: Visible Human female neck, never trained on",
            np.array(hu),
            spacing_mm,
            middles,
            held_out=True,
            warnings=series.warnings,
        )


def read_head(data_folder: Path) -> RealVolume:
    """The cadaver head with its HU scale corrected linearly (air to -1000, water kept), so that it can be read."""
    with tempfile.TemporaryDirectory() as scratch:
        corrected = _corrected(_files(data_folder / HEAD_FOLDER), Path(scratch) / "corrected")
        series = _read(corrected, Path(scratch) / "reading")
        hu, spacing_mm = series.to_standard()
        middles = _voxels(series, HEAD_MM)
        return RealVolume(
            "real: Harvard head, HU corrected; its bone texture is used for training",
            np.maximum(hu, AIR_HU),
            spacing_mm,
            middles,
            held_out=False,
            at_the_edge=frozenset({Vertebra.C3}),
            warnings=series.warnings,
        )


def _files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    if not 0 < len(found) <= LARGEST_FOLDER:
        raise SetUnavailable(f"{folder.name} is missing, empty or far too large")
    return found


def _corrected(paths: list[Path], folder: Path) -> list[Path]:
    """The same instances with a rescale that puts air where it belongs."""
    folder.mkdir()
    scale = 1000.0 / -HEAD_AIR_HU
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.RescaleIntercept = f"{float(dataset.RescaleIntercept) * scale:.6g}"
        dataset.RescaleSlope = f"{float(dataset.RescaleSlope) * scale:.8g}"
        dataset.save_as(folder / path.name)
    return sorted(folder.iterdir())


def _read(paths: list[Path], scratch: Path) -> CTSeries:
    try:
        return read_study(paths, scratch).series
    except DicomNodeError as error:
        raise SetUnavailable(f"{paths[0].parent.name} cannot be read: {error}") from error


def _voxels(series: CTSeries, places: Mapping[Vertebra, Spot]) -> dict[Vertebra, tuple[int, int, int]]:
    """The levels' middles (LPS, mm) as voxels of the standard frame; ``SetUnavailable`` where they lie outside."""
    geometry = _standard_geometry(series)
    found = np.rint(geometry.map_reference_to_indices(np.array(list(places.values()), dtype=np.float64))).astype(int)
    if not ((found >= 1) & (found < np.array(geometry.spatial_shape) - 1)).all():
        raise SetUnavailable("the levels are not where they are known to be")
    return {level: (int(at[0]), int(at[1]), int(at[2])) for level, at in zip(places, found, strict=True)}


def _standard_geometry(series: CTSeries) -> highdicom.VolumeGeometry:
    placeholder = np.broadcast_to(np.zeros(1, dtype=np.uint8), series.geometry.spatial_shape)
    volume = series.geometry.with_array(placeholder).to_patient_orientation(STANDARD_ORIENTATION)
    return volume.get_geometry()


def named_right(labels: NDArray[np.uint8], volume: RealVolume) -> dict[Vertebra, float]:
    """Share of the 27 voxels around each level's middle that carry its name."""
    shares = {}
    for level, (w, v, u) in volume.middles.items():
        shares[level] = float((labels[w - 1 : w + 2, v - 1 : v + 2, u - 1 : u + 2] == level).mean())
    return shares


@dataclass(frozen=True, slots=True)
class RealResult:
    """One real CT of levels taken for intact.

    ``named``: share of the voxels around each level's middle with its name; ``wrongly_named``: levels that are not in
    view; ``dense_labeled``: share of the voxels above 250 HU within 3 mm of a label that carry a label;
    ``on_bone``: share of the labeled voxels within 3 mm of bone above 150 HU.
    """

    data: str
    held_out: bool
    named: Mapping[Vertebra, float]
    wrongly_named: tuple[Vertebra, ...]
    probability: Mapping[Vertebra, float]
    alarms: tuple[Vertebra, ...]
    dense_labeled: float
    on_bone: float
    limitations: tuple[Limitation, ...]
    seconds: float

    @property
    def right(self) -> tuple[Vertebra, ...]:
        """The levels whose middle carries their name."""
        return tuple(level for level, share in self.named.items() if share > 0.5)

    def as_json(self) -> dict[str, object]:
        """The result as plain JSON values."""
        return {
            "data": self.data,
            "held_out": self.held_out,
            "named": {level.name: round(share, 3) for level, share in self.named.items()},
            "wrongly_named": [level.name for level in self.wrongly_named],
            "probability": {level.name: round(value, 4) for level, value in self.probability.items()},
            "alarms": [level.name for level in self.alarms],
            "dense_labeled": round(self.dense_labeled, 4),
            "on_bone": round(self.on_bone, 4),
            "limitations": [limitation.name for limitation in self.limitations],
            "seconds": round(self.seconds, 2),
        }


def measure_real(predictor: VolumePredictor, volume: RealVolume) -> tuple[RealResult, Answer]:
    """Run the predictor on one real CT; returns what was measured and the answer itself."""
    answer = predictor.predict(volume.hu, volume.spacing_mm)
    return judge_real(volume, answer), answer


def judge_real(volume: RealVolume, answer: Answer) -> RealResult:
    """Compare an answer with what is known of a real CT."""
    findings = answer.findings.with_limitations(*volume.warnings)
    dense, on_bone = bone_shares(volume.hu, answer.labels, volume.spacing_mm)
    in_view = {*volume.middles, *volume.at_the_edge}
    return RealResult(
        data=volume.data,
        held_out=volume.held_out,
        named=named_right(answer.labels, volume),
        wrongly_named=tuple(
            finding.vertebra
            for finding in findings.vertebrae
            if finding.vertebra not in in_view and finding.volume_mm3 >= NAMED_MM3
        ),
        probability={finding.vertebra: finding.probability for finding in findings.vertebrae},
        alarms=tuple(finding.vertebra for finding in findings.fractured),
        dense_labeled=dense,
        on_bone=on_bone,
        limitations=findings.limitations,
        seconds=sum(answer.seconds.values()),
    )


def bone_shares(
    hu: NDArray[np.int16], labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float]
) -> tuple[float, float]:
    """Share of the dense voxels near a label that carry one, and share of the labeled voxels near bone (0 without)."""
    where = ndimage.find_objects((labels > 0).astype(np.uint8))
    if not where:
        return 0.0, 0.0
    box = tuple(
        slice(max(0, part.start - round(REACH_MM / step) - 2), part.stop + round(REACH_MM / step) + 2)
        for part, step in zip(where[0], spacing_mm, strict=True)
    )
    labeled, seen = labels[box] > 0, hu[box]
    near_label = ndimage.distance_transform_edt(~labeled, sampling=spacing_mm) <= REACH_MM
    dense = (seen > DENSE_HU) & near_label
    bone = seen > BONE_HU
    if not bone.any():
        return 0.0, 0.0
    near_bone = ndimage.distance_transform_edt(~bone, sampling=spacing_mm) <= REACH_MM
    return float(labeled[dense].mean()) if dense.any() else 0.0, float(near_bone[labeled].mean())
