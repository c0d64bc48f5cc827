"""The way of one study from files to results: what explains a suspected fracture comes home with its mask."""

from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from dicom_node.node import Device
from dicom_node.reading import ReadingLimits
from dicom_node.result_context import ResultKind
from dicom_node.views import LESION_RGB
from model.bundle import Bundle
from model.findings import Vertebra
from tests.worker.scripted import FakeBundle, ReadsTheBoxes, write_boxes
from training.synthesis.phantom_series import Geometry, SeriesOptions
from worker.pipeline import Analysis, AnalysisTools, Stages, analyze_files


def analyzed(folder: Path, geometry: Geometry) -> Analysis:
    paths = write_boxes(folder / "in", SeriesOptions(geometry))
    bundle = cast("Bundle", FakeBundle())
    now = datetime(2026, 1, 2, tzinfo=UTC)
    tools = AnalysisTools(ReadsTheBoxes(), bundle, Device.create("1", "TEST"), ReadingLimits(), lambda: now)
    return analyze_files(paths, folder / "scratch", tools, Stages())


@pytest.mark.parametrize(
    "geometry",
    [Geometry(), Geometry(orientation="LPF"), Geometry(missing_slices=frozenset({20, 40}))],
    ids=["axial", "sagittal", "with missing slices"],
)
def test_the_fracture_is_outlined_in_the_summary_of_any_series(geometry, tmp_path):
    analysis = analyzed(tmp_path, geometry)
    assert set(np.unique(analysis.prediction.lesions)) == {0, Vertebra.C5}
    (summary,) = (result.dataset for result in analysis.results if result.kind is ResultKind.SUMMARY)
    views = summary.pixel_array[104:676]
    assert np.count_nonzero((views == LESION_RGB).all(axis=2)) > 50
    assert set(analysis.seconds) == {"read", "predict", "build"}
