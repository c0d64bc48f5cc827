"""A small synthetic neck with a fracture of C5, and the results of the ohif profile for its known truth."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dicom_node.encode import encode
from dicom_node.profiles import PROFILES
from dicom_node.reading import read_study
from dicom_node.result_context import ResultContext
from dicom_node.results import ResultKind, build_results
from model.findings import Vertebra
from tests.dicom_node.necks import ALL_LEVELS, ANALYZED_AT, DEVICE, findings_of
from training.synthesis.augment import Contrast
from training.synthesis.fractures import FractureKind
from training.synthesis.phantom import Phantom, PhantomConfig, make_phantom
from training.synthesis.phantom_series import write_series

BROKEN = Vertebra.C5


@dataclass(frozen=True)
class NeckStudy:
    """The files of the CT series, its results by kind, and the Tracking UID of each level in them."""

    study_instance_uid: str
    slices: tuple[Path, ...]
    results: Mapping[ResultKind, Path]
    tracking_uids: Mapping[str, Vertebra]


def neck() -> Phantom:
    """Ninety slices of 180x180: few enough for a browser without a graphics card, enough for a sagittal view."""
    config = PhantomConfig(
        kinds={BROKEN: FractureKind.BURST},
        spacing_mm=(2.0, 1.0, 1.0),
        field_of_view_mm=(180.0, 180.0, 180.0),
        contrast=Contrast(),
    )
    return make_phantom(20220732, config)


def write_study(folder: Path) -> NeckStudy:
    """Write the series and its results below ``folder``; the truth takes the place of the networks."""
    phantom = neck()
    slices = write_series(phantom.hu, phantom.spacing_mm, folder / "ct")
    series = read_study(slices, folder / "scratch").series
    labels = np.where(np.isin(phantom.labels, ALL_LEVELS), phantom.labels, 0).astype(np.uint8)
    context = ResultContext(
        series=series,
        labels=series.mask_to_native(labels),
        findings=findings_of(ALL_LEVELS, (BROKEN,)),
        device=DEVICE,
        bundle_name="synthetic-neck",
        bundle_version="0.1.0",
        bundle_sha256="c0ffee" + "0" * 58,
        analyzed_at=ANALYZED_AT,
        lesions=series.mask_to_native(np.where(phantom.fracture, labels, 0).astype(np.uint8)),
    )
    results = {}
    for result in build_results(context, [PROFILES["ohif"]]):
        results[result.kind] = folder / f"{result.kind.value}.dcm"
        results[result.kind].write_bytes(encode(result.dataset))
    tracking_uids = {str(context.tracking_uid(level)): level for level in ALL_LEVELS}
    return NeckStudy(context.study_instance_uid, slices, results, tracking_uids)
