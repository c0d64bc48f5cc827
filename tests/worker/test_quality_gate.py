"""The quality gate, reason by reason: named in every result and never negative, or not analyzed and said why.

Each case is a synthetic series, written as DICOM, read by the real child, judged by the real gate and built into the
real results; only the network is scripted, for it calls every level intact whatever it is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from scipy import ndimage

from dicom_node import codes
from dicom_node.errors import DicomNodeError, Ineligible, UnusableSeries
from dicom_node.node import Device
from dicom_node.reading import ReadingLimits
from dicom_node.result_context import ResultKind
from dicom_node.sentences import Answer, answer, limitation_sentences
from dicom_node.summary import BANNER_RGB, REMARKS_LEFT, SIZE
from dicom_node.views import WARNING_RGB
from model.bundle import Bundle
from model.findings import Limitation, StudyFindings, Vertebra, VertebraFinding
from model.quality import limitations_of
from tests.dicom_node.necks import coded, content
from tests.worker.scripted import SPACING_MM, BoxPrediction, FakeBundle, boxes
from training.synthesis.phantom_series import Geometry, SeriesOptions, write_series
from worker.pipeline import Analysis, AnalysisTools, Stages, analyze_files

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class CallsAllIntact:
    """A network that finds the boxes in any grid and calls each intact; ``said``: what it knows of its levels."""

    said: tuple[Limitation, ...] = ()

    def predict(self, hu: NDArray[np.int16], spacing_mm: Spacing) -> BoxPrediction:
        """Number the large pieces of bone from head to feet."""
        smooth = ndimage.uniform_filter(hu.astype(np.float32), 3)
        pieces, _ = ndimage.label(smooth > 300)
        labels = np.zeros(hu.shape, np.uint8)
        level = 0
        for number, box in enumerate(ndimage.find_objects(pieces), start=1):
            mine = pieces[box] == number
            if mine.sum() > 150 and smooth[box][mine].max() < 1500:
                level += 1
                labels[box][mine] = level
        found = tuple(VertebraFinding(Vertebra(n), 0.02, False, 900.0) for n in range(1, level + 1))
        limitations = (*self.said, *limitations_of(hu, spacing_mm, labels))
        nothing = np.zeros(hu.shape, np.uint8)
        return BoxPrediction(labels, StudyFindings(found, 0.05, 0.5, limitations), nothing, nothing)


@dataclass(frozen=True)
class Given:
    """A series, and what the network says of its levels."""

    hu: NDArray[np.int16] = field(default_factory=boxes)
    spacing_mm: Spacing = SPACING_MM
    geometry: Geometry = field(default_factory=Geometry)
    said: tuple[Limitation, ...] = ()

    def analyzed(self, folder: Path) -> Analysis:
        """The outcome of the whole way, from files to results."""
        paths = write_series(self.hu, self.spacing_mm, folder / "in", SeriesOptions(self.geometry))
        tools = AnalysisTools(
            CallsAllIntact(self.said),
            cast("Bundle", FakeBundle()),
            Device.create("1", "TEST"),
            ReadingLimits(),
            lambda: datetime(2026, 1, 2, tzinfo=UTC),
        )
        return analyze_files(paths, folder / "scratch", tools, Stages())


def noisy(hu: NDArray[np.int16], deviation: float) -> NDArray[np.int16]:
    """The volume with noise, as 12 bits hold it."""
    noise = np.random.default_rng(0).normal(0.0, deviation, hu.shape)
    return np.clip(np.rint(hu + noise), -1024, 3071).astype(np.int16)


def with_metal() -> NDArray[np.int16]:
    """The boxes with a plate behind C3."""
    hu = boxes()
    hu[18:28, 48:54, 30:40] = 3071
    return hu


def only(count: int) -> NDArray[np.int16]:
    """The boxes without those below the first ``count``."""
    hu = boxes()
    hu[hu > 590 + 10 * count] = 40
    return hu


def scaled(factor: float, shift: float = 0.0) -> NDArray[np.int16]:
    """The boxes on a wrong scale, with the noise that air has."""
    return noisy(np.rint(boxes() * factor + shift).astype(np.int16), 8.0)


LIMITED = {
    Limitation.NO_LEVELS: Given(only(0), said=(Limitation.NO_LEVELS,)),
    Limitation.FEW_LEVELS: Given(only(4), said=(Limitation.FEW_LEVELS,)),
    Limitation.LEVELS_NOT_CONTIGUOUS: Given(said=(Limitation.LEVELS_NOT_CONTIGUOUS,)),
    Limitation.CUT_LEVEL: Given(said=(Limitation.CUT_LEVEL,)),
    Limitation.THICK_SLICES: Given(geometry=Geometry(slice_thickness_mm=3.0)),
    Limitation.COARSE_PIXELS: Given(spacing_mm=(2.0, 2.4, 2.4)),
    Limitation.MISSING_SLICES: Given(geometry=Geometry(missing_slices=frozenset({21}))),
    Limitation.GANTRY_TILT: Given(geometry=Geometry(gantry_tilt_degrees=12.0)),
    Limitation.HU_SCALE: Given(scaled(0.75)),
    Limitation.METAL: Given(with_metal()),
    Limitation.HIGH_NOISE: Given(noisy(boxes(), 220.0)),
}
"""A series for every limitation that there is."""

REFUSED: dict[str, tuple[Given, type[DicomNodeError], str]] = {
    "thick": (Given(spacing_mm=(4.0, 1.5, 1.5)), Ineligible, "slices are 4.0 mm apart; at most 3.5 mm"),
    "coarse": (Given(spacing_mm=(2.0, 4.0, 4.0)), Ineligible, "pixels are 4.0 mm wide; at most 3.5 mm"),
    "short": (Given(boxes()[:12]), Ineligible, "12 slices over 24 mm: too few for a spine"),
    "scale": (Given(scaled(1.0, 480.0)), UnusableSeries, "not Hounsfield units"),
    "missing": (
        Given(geometry=Geometry(missing_slices=frozenset(range(20, 28)))),
        UnusableSeries,
        "Too many slices are missing",
    ),
    "tilt": (Given(geometry=Geometry(gantry_tilt_degrees=40.0)), UnusableSeries, "gantry tilt is too large"),
}
"""What is not analyzed at all: the series, the kind of refusal, and words of its reason."""


def dataset(analysis: Analysis, kind: ResultKind) -> Dataset:
    """The result of one kind."""
    return next(result.dataset for result in analysis.results if result.kind is kind)


def texts(items: Sequence[Dataset]) -> list[str]:
    """The text of content items."""
    return [str(item.TextValue) for item in items]


def assert_named_everywhere(analysis: Analysis, sentence: str) -> None:
    """The limitation stands in report, narrative and summary, and none of them calls the study negative."""
    assert answer(analysis.findings) is Answer.UNDETERMINED
    report = dataset(analysis, ResultKind.REPORT)
    (overall,) = content(report, "Qualitative Evaluations", "Fracture")
    assert coded(overall) == codes.UNDETERMINED.value
    assert f"Limitation: {sentence}" in texts(content(report, "Qualitative Evaluations", "Comment"))
    narrative = dataset(analysis, ResultKind.NARRATIVE)
    assert f"Limitation: {sentence}" in texts(content(narrative, "Findings", "Finding"))
    conclusion = texts(content(narrative, "Conclusions", "Conclusion"))[0]
    assert "is not excluded" in conclusion or "nothing can be said" in conclusion
    picture = dataset(analysis, ResultKind.SUMMARY).pixel_array
    assert tuple(picture[5, SIZE - 4]) == BANNER_RGB[Answer.UNDETERMINED]
    assert sentence in limitation_sentences(analysis.findings)
    assert np.any((picture[730:960, REMARKS_LEFT:] == WARNING_RGB).all(axis=2))


@pytest.mark.parametrize("limitation", Limitation)
def test_every_limitation_is_named_in_every_result_and_no_such_study_is_negative(limitation, tmp_path):
    analysis = LIMITED[limitation].analyzed(tmp_path)
    assert analysis.findings.limitations == (limitation,)
    assert_named_everywhere(analysis, limitation.value)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_judged_at_all_is_not_analyzed_and_the_reason_is_said(name, tmp_path):
    given, refusal, words = REFUSED[name]
    with pytest.raises(refusal, match=words):
        given.analyzed(tmp_path)


def test_the_same_series_without_any_reason_is_negative(tmp_path):
    analysis = Given().analyzed(tmp_path)
    assert analysis.findings.limitations == ()
    assert answer(analysis.findings) is Answer.ABSENT
    (overall,) = content(dataset(analysis, ResultKind.REPORT), "Qualitative Evaluations", "Fracture")
    assert coded(overall) == codes.ABSENT.value
