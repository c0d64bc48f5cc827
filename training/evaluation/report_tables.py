"""The tables of a report: a header and rows of text each, for one data set or all."""

from collections.abc import Sequence

import numpy as np

from model.findings import Vertebra
from training.evaluation.bootstrap import Estimate
from training.evaluation.calibration import BINS, Calibration
from training.evaluation.cautions import FEW
from training.evaluation.columns import Columns
from training.evaluation.evaluation import Evaluation, Refused
from training.evaluation.figures import Share
from training.evaluation.tables import NONE, estimate_text, share_text
from training.evaluation.thresholds import Decision

Table = tuple[Sequence[str], list[Sequence[str]]]
FRACTURE_HEADER = (
    "Threshold {threshold:.3f}",
    "Fractured / intact",
    "Sensitivity",
    "Specificity",
    "AUC",
    "Average precision",
)


def few_text(figure: Share | None) -> str:
    """A share, marked where it rests on few values."""
    return share_text(figure) + (" †" if figure and figure.total < FEW else "")


def data_rows(evaluations: Sequence[Evaluation]) -> Table:
    """What data there is."""
    header = ("Data", "What", "Made from", "Studies", "Patients", "With fracture", "Fractured levels", "Refused")
    return header, [
        (
            found.data,
            found.what,
            found.seeds,
            str(len(found.results)),
            str(found.patients),
            _count(found.studies().truth),
            _count(found.levels().truth),
            str(len(found.refused)),
        )
        for found in evaluations
    ]


def _count(truth: np.ndarray) -> str:
    return f"{int(truth.sum())} of {truth.size}"


def _fracture_cells(columns: Columns) -> list[str]:
    found, truth = columns.statistics(), columns.truth
    few = " †" if min(truth.sum(), (~truth).sum()) < FEW else ""
    area, precision = NONE, NONE
    if found.auc and found.average_precision:
        area = estimate_text(found.auc) + few
        precision = f"{estimate_text(found.average_precision)}{few} (guessing: {truth.mean():.3f})"
    return [
        f"{int(truth.sum())} / {int((~truth).sum())}",
        few_text(found.sensitivity),
        few_text(found.specificity),
        area,
        precision,
    ]


def fracture_rows(found: Evaluation) -> Table:
    """Levels together and whole studies, with refused studies as wrong and, where there are any, without them."""
    rows = [["all levels", *_fracture_cells(found.levels())], ["whole studies", *_fracture_cells(found.studies())]]
    if found.refused:
        rows.append(["all levels, without refused", *_fracture_cells(found.levels(refused=Refused.LEFT_OUT))])
        rows.append(["whole studies, without refused", *_fracture_cells(found.studies(Refused.LEFT_OUT))])
    return _fracture_header(found), list(rows)


def level_rows(found: Evaluation) -> Table:
    """Fractures of each level."""
    return _fracture_header(found), [[level.name, *_fracture_cells(found.levels(level))] for level in Vertebra]


def _fracture_header(found: Evaluation) -> list[str]:
    return [cell.format(threshold=found.threshold) for cell in FRACTURE_HEADER]


def loss_rows(found: Evaluation) -> Table:
    """The RSNA loss beside its baselines."""
    header = ("RSNA weighted log loss (lower is better)", "Best constants", "Gain over them", "0.5 everywhere", "So")
    rsna = found.rsna()
    if rsna is None:
        return header, [(NONE,) * len(header)]
    if rsna.gain.low > 0:
        verdict = "better than constants"
    elif rsna.gain.high < 0:
        verdict = "worse than constants"
    else:
        verdict = "not shown to be better than constants"
    figures = [estimate_text(figure) for figure in (rsna.loss, rsna.constants, rsna.gain)]
    return header, [(*figures, f"{np.log(2):.3f}", verdict)]


def point_rows(found: Evaluation) -> Table:
    """Levels at the bundle's operating points."""
    header = ("Operating point of the bundle", "Threshold", "Sensitivity of levels", "Specificity of levels")
    rows = []
    for name, threshold in found.points.items():
        at = found.statistics(threshold)
        rows.append((name, f"{threshold:.3f}", few_text(at.sensitivity), few_text(at.specificity)))
    return header, list(rows)


def decision_rows(found: Evaluation) -> Table:
    """Thresholds for goals."""
    header = (
        "Goal",
        "Threshold",
        "Sensitivity of these studies",
        "Specificity of these studies",
        "Sensitivity of unseen patients",
        "Specificity of unseen patients",
    )
    named = (("levels", found.level_decisions()), ("whole studies", found.study_decisions()))
    return header, [_decision(what, one) for what, decisions in named for one in decisions]


def _decision(what: str, one: Decision) -> Sequence[str]:
    def unseen(value: float | None, figure: Estimate) -> str:
        return NONE if value is None else f"{value:.3f} ({figure.low:.2f}–{figure.high:.2f})"

    return (
        f"{one.name} of {what}",
        estimate_text(one.threshold, 4),
        f"{one.sensitivity.value:.3f}",
        f"{one.specificity.value:.3f}",
        unseen(one.unseen_sensitivity, one.sensitivity),
        unseen(one.unseen_specificity, one.specificity),
    )


def calibration_rows(found: Evaluation) -> Table:
    """Errors of calibration."""
    header = (
        "Probabilities of",
        f"Expected calibration error ({BINS} bins of equal width)",
        "Brier score",
        "Mean probability",
        "Share with fracture",
    )
    named = (("levels that were found", found.level_calibration()), ("answered studies", found.study_calibration()))
    return header, [_calibration(name, one) for name, one in named if one is not None]


def _calibration(name: str, one: Calibration) -> Sequence[str]:
    errors = [estimate_text(one.error), estimate_text(one.brier)]
    return (name, *errors, f"{one.predicted:.3f}", f"{one.observed:.3f}")


def kind_rows(found: Evaluation) -> Table:
    """Sensitivity for each type of fracture."""
    return ("Type of fracture", "Sensitivity of levels"), [
        (kind, few_text(figure)) for kind, figure in found.by_kind().items()
    ]


def site_rows(found: Evaluation) -> Table:
    """Levels and whole studies of each site."""
    header = (
        "Site",
        "Studies",
        "Sensitivity of levels",
        "Specificity of levels",
        "AUC of levels",
        "Sensitivity of studies",
        "Specificity of studies",
        "AUC of studies",
    )
    rows = []
    for site, mine in found.by_site().items():
        levels, studies = (_fracture_cells(columns)[1:4] for columns in (mine.levels(), mine.studies()))
        rows.append((site, str(len(mine.results)), *levels, *studies))
    return header, list(rows)


def mask_rows(found: Evaluation) -> Table:
    """Names, Dice and distances of levels."""
    header = ("Level", "Dice", "Mean surface distance, mm", "95 % Hausdorff distance, mm", "Without distance")
    rows: list[Sequence[str]] = []
    for level in (*Vertebra, None):
        without, masks = found.without_surface(level)
        few = " †" if 0 < masks < FEW else ""
        distances = [estimate_text(figure, 2) for figure in (found.surface_mm(level), found.hausdorff95_mm(level))]
        figures = [f"{figure}{few}" for figure in (estimate_text(found.dice(level)), *distances)]
        rows.append((level.name if level else "all levels", *figures, f"{without} of {masks}"))
    for words, enough in (("five levels or more", True), ("fewer levels", False)):
        right = few_text(found.all_right(enough_levels=enough))
        rows.append((f"studies with {words} in view: all levels right", right, "", "", ""))
    return header, rows
