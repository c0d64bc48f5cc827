"""Measure a predictor on studies of known truth: one result a study, one summary a data set, none ever pooled."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle
from model.errors import UnusableVolume
from training.evaluation.evaluation import Evaluation
from training.evaluation.judging import Answer, JudgedStudy, judge, judge_refused
from training.evaluation.study_result import StudyResult

LOG = logging.getLogger(__name__)
TEST_SEED = 900_000_000
"""Seeds of test studies start here; training seeds stay far below."""
CALIBRATION_SEED = 800_000_000
"""Seeds of calibration studies start here: neither training nor test uses them."""


class VolumePredictor(Protocol):
    """What is measured: a bundle's network, or whatever answers as it does."""

    @property
    def bundle(self) -> Bundle:
        """The bundle, which names the operating points."""

    def predict(self, hu: NDArray[np.int16], spacing_mm: tuple[float, float, float]) -> Answer:
        """Answer for one volume in the standard frame; may raise ``UnusableVolume``."""


@dataclass(frozen=True, slots=True)
class StudySet:
    """A data set that is one row of every table.

    ``data`` names it, ``what`` describes it, ``seeds`` tell how to make it again; ``count`` studies come (for the log).
    ``own_labels``: the true labels are the network's own on the unbroken CT, so that Dice would mean nothing.
    ``earlier``: results of a run that was interrupted; ``studies`` are the others.
    """

    data: str
    what: str
    seeds: str
    count: int
    studies: Iterable[JudgedStudy]
    own_labels: bool = False
    earlier: tuple[StudyResult, ...] = ()


class Watcher(Protocol):
    """What looks at each study while its volume and its answer are in memory."""

    def __call__(self, study: JudgedStudy, answer: Answer | None, result: StudyResult) -> None:
        """Look at one study; ``answer`` is None where it was refused."""


def evaluate(predictor: VolumePredictor, studies: StudySet, watchers: Sequence[Watcher] = ()) -> Evaluation:
    """Run the predictor over a data set, one study in memory at a time."""
    results = list(studies.earlier)
    for number, study in enumerate(studies.studies, start=1):
        answer, result = _judged(predictor, study)
        results.append(result)
        for watcher in watchers:
            watcher(study, answer, result)
        verdict = "refused" if result.refused else "levels right" if result.all_right else "a level is wrong"
        LOG.info("%s: %d of %d, %s, %.1f s", studies.data, number, studies.count, verdict, result.seconds)
    metadata = predictor.bundle.metadata
    points = metadata.operating_points
    return Evaluation(
        studies.data,
        studies.what,
        studies.seeds,
        tuple(results),
        points[metadata.operating_point],
        points,
        studies.own_labels,
    )


def _judged(predictor: VolumePredictor, study: JudgedStudy) -> tuple[Answer | None, StudyResult]:
    try:
        answer = predictor.predict(study.hu, study.spacing_mm)
    except UnusableVolume as error:
        return None, judge_refused(study, str(error))
    return answer, judge(study, answer)
