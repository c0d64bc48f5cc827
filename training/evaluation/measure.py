"""Every data set that is at hand, one after another: synthetic, semi-synthetic, real; what is missing is said."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model.errors import UnusableVolume
from training.evaluation.cord_sets import CordEvaluation, measure_cords
from training.evaluation.evaluate import StudySet, VolumePredictor, evaluate
from training.evaluation.evaluation import Evaluation
from training.evaluation.model_card import Measured
from training.evaluation.real_sets import RealResult, SetUnavailable, measure_real, read_head, read_neck
from training.evaluation.semisynthetic_sets import broken_set, checked_labels
from training.evaluation.synthetic_sets import synthetic_set
from training.evaluation.worst_cases import Gallery
from training.synthesis.atlas import load_atlas

Evaluate = Callable[[StudySet], Evaluation]

LOG = logging.getLogger(__name__)
ATLAS_FOLDER = "spl-head-neck-atlas"


@dataclass(frozen=True, slots=True)
class DataSets:
    """What to measure: studies of each synthetic row, the folder with real CT, the atlas where it is elsewhere."""

    studies: int
    data: Path
    atlas: Path | None = None


def measure(predictor: VolumePredictor, sets: DataSets, command: str, gallery: Gallery | None = None) -> Measured:
    """Measure every row that can be measured here; ``command`` is what the card says was run."""
    left_out: list[str] = []

    def evaluated(studies: StudySet) -> Evaluation:
        return evaluate(predictor, studies, [gallery.painter(studies.data)] if gallery else [])

    evaluations = _synthetic(evaluated, sets, left_out)
    neck, broken = _neck(predictor, evaluated, sets.data, left_out)
    real = [result for result in (neck, _head(predictor, sets.data, left_out)) if result is not None]
    cords = _cords(predictor, sets.data, left_out)
    return Measured(command, (*evaluations, *broken), tuple(real), cords, tuple(left_out))


def _leave_out(left_out: list[str], sentence: str) -> None:
    left_out.append(sentence)
    LOG.warning("left out: %s", sentence)


def _synthetic(evaluated: Evaluate, sets: DataSets, left_out: list[str]) -> list[Evaluation]:
    found = [evaluated(synthetic_set(sets.studies))]
    folder = sets.atlas or sets.data / ATLAS_FOLDER
    try:
        atlas = load_atlas(folder)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        _leave_out(left_out, f"variations of the atlas's subject ({folder.name}: {reason})")
        return found
    return [*found, evaluated(synthetic_set(sets.studies, atlas=atlas))]


def _neck(
    predictor: VolumePredictor, evaluated: Evaluate, data: Path, left_out: list[str]
) -> tuple[RealResult | None, list[Evaluation]]:
    """The intact female neck, and fractures inserted into the levels that are rightly named there."""
    try:
        volume = read_neck(data)
        result, answer = measure_real(predictor, volume)
    except (SetUnavailable, UnusableVolume) as error:
        _leave_out(left_out, f"the female neck and the fractures inserted into it ({error})")
        return None, []
    LOG.info("%s: %d of %d levels right", result.data, len(result.right), len(result.named))
    labels = checked_labels(answer.labels, volume)
    del answer
    return result, [evaluated(broken_set(volume, labels))]


def _head(predictor: VolumePredictor, data: Path, left_out: list[str]) -> RealResult | None:
    try:
        result, _ = measure_real(predictor, read_head(data))
    except (SetUnavailable, UnusableVolume) as error:
        _leave_out(left_out, f"the cadaver head ({error})")
        return None
    LOG.info("%s: %d of %d levels right", result.data, len(result.right), len(result.named))
    return result


def _cords(predictor: VolumePredictor, data: Path, left_out: list[str]) -> CordEvaluation | None:
    found = measure_cords(predictor, data)
    if found is None:
        _leave_out(left_out, "the OpenKBP sample (it is not in the data folder)")
    return found
