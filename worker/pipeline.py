"""One study from its files to its result objects: read, predict, bring the mask home, build (the GPU worker's work).

``analyze_files`` knows no queue and no database: the worker's task and ``cspine analyze`` run the same code.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dicom_node.node import Device
from dicom_node.profiles import PROFILES, Profile
from dicom_node.reading import ReadingLimits, StudyReading, read_study
from dicom_node.result_context import ResultContext, ResultObject, SupersededResult
from dicom_node.results import build_results
from model.bundle import Bundle
from model.findings import StudyFindings


class Prediction(Protocol):
    """What a predictor answers: arrays of the input's shape, findings, and seconds a stage."""

    @property
    def labels(self) -> NDArray[np.uint8]:
        """Label map: 0, or the level 1..7 of a voxel."""

    @property
    def lesions(self) -> NDArray[np.uint8]:
        """Fracture mask: 0, or the suspected level 1..7 whose fracture a voxel belongs to."""

    @property
    def activation(self) -> NDArray[np.uint8]:
        """Class-activation map 0..255: where the network looked; zero away from suspected levels."""

    @property
    def findings(self) -> StudyFindings:
        """Levels and probabilities."""

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each stage."""


HounsfieldVolume = NDArray[np.int16]


class VolumePredictor(Protocol):
    """The port to the network: HU in the standard frame (head to feet, anterior to posterior, right to left)."""

    def predict(self, hu: HounsfieldVolume, spacing_mm: tuple[float, float, float]) -> Prediction:
        """Answer for one volume."""


@dataclass(frozen=True, slots=True)
class AnalysisTools:
    """What every analysis of one process shares; results are built for all of ``profiles``."""

    predictor: VolumePredictor
    bundle: Bundle
    device: Device
    limits: ReadingLimits
    now: Callable[[], datetime]
    profiles: tuple[Profile, ...] = (PROFILES["default"],)


@dataclass(frozen=True, slots=True)
class Analysis:
    """The outcome of one study: the prediction's arrays are in the standard frame; ``seconds`` names each stage.

    ``findings`` are the prediction's with the limitations of the series in front; ``bundle`` made them.
    """

    bundle: Bundle
    reading: StudyReading
    prediction: Prediction
    findings: StudyFindings
    results: tuple[ResultObject, ...]
    analyzed_at: datetime
    seconds: dict[str, float]


@dataclass(slots=True)
class Stages:
    """Times the stages of one analysis and tells ``on_stage`` that it moves (the lease is renewed only then)."""

    on_stage: Callable[[str], None] = lambda _stage: None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage."""
        self.on_stage(name)
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 3)


def analyze_files(
    paths: Sequence[Path],
    scratch: Path,
    tools: AnalysisTools,
    stages: Stages,
    supersedes: tuple[SupersededResult, ...] = (),
) -> Analysis:
    """Analyze the study that these files hold; ``supersedes`` are the reports of the version before this one.

    Raises ``Ineligible`` when there is nothing for this product in them, ``UnusableSeries`` or ``ReadingAborted`` when
    the chosen series cannot be read, ``PredictorOutOfMemory`` (transient) when the accelerator is too small at present.
    """
    with stages.stage("read"):
        reading = read_study(paths, scratch, tools.limits)
        hu, spacing_mm = reading.series.to_standard()
    with stages.stage("predict"):
        prediction = tools.predictor.predict(hu, spacing_mm)
    stages.seconds.update({f"predict.{name}": round(value, 3) for name, value in prediction.seconds.items()})
    with stages.stage("build"):
        findings = prediction.findings.with_limitations(*reading.series.warnings)
        analyzed_at = tools.now()
        context = ResultContext(
            series=reading.series,
            labels=reading.series.mask_to_native(prediction.labels),
            findings=findings,
            device=tools.device,
            bundle_name=tools.bundle.name,
            bundle_version=tools.bundle.version,
            bundle_sha256=tools.bundle.sha256,
            analyzed_at=analyzed_at,
            lesions=_brought_home(prediction.lesions, reading),
            activation=_brought_home(prediction.activation, reading),
            supersedes=supersedes,
        )
        results = _built(context, tools.profiles)
    return Analysis(tools.bundle, reading, prediction, findings, results, analyzed_at, stages.seconds)


def _built(context: ResultContext, profiles: Sequence[Profile]) -> tuple[ResultObject, ...]:
    """The results; a version that was made before is not said to supersede itself."""
    results = build_results(context, profiles)
    own = {str(result.dataset.SOPInstanceUID) for result in results}
    others = tuple(earlier for earlier in context.supersedes if earlier.sop_instance_uid not in own)
    if others == context.supersedes:
        return results
    return build_results(replace(context, supersedes=others), profiles)


def _brought_home(explanation: NDArray[np.uint8], reading: StudyReading) -> NDArray[np.uint8] | None:
    """An array of the standard frame on the native slices; None when it is zero everywhere, as in most studies."""
    return reading.series.mask_to_native(explanation) if explanation.any() else None
