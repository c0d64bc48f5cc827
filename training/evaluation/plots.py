"""Plots of an evaluation as PNG: ROC, precision and recall, reliability, thresholds, confusion of levels."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.findings import Vertebra
from training.evaluation.bootstrap import INTERVAL, Values, drawn
from training.evaluation.calibration import BINS, Calibration
from training.evaluation.columns import Columns
from training.evaluation.evaluation import Evaluation
from training.evaluation.ranking import Ranking, rank

LEVELS, STUDIES = "levels", "whole studies"
COLORS = {LEVELS: "#1f5fa8", STUDIES: "#c0501f"}
GRID = np.linspace(0, 1, 101)


def roc_plot(found: Evaluation) -> bytes:
    """Sensitivity over the share of false alarms, of levels and of studies; dots: the bundle's threshold."""
    figure, pane = _square("false alarms (1 − specificity)", "sensitivity")
    pane.plot([0, 1], [0, 1], color="#999", linestyle=":", label="guessing")
    for name, columns in _both(found).items():
        ranking = rank(columns.scores, columns.truth)
        area = ranking.area()[0]
        pane.plot(1 - ranking.specificity[0], ranking.sensitivity[0], color=COLORS[name], label=f"{name}: {area:.3f}")
        called, truth = columns.called, columns.truth
        pane.plot(called[~truth].mean(), called[truth].mean(), "o", color=COLORS[name])
    return _finished(figure, pane, "area under the curve")


def precision_plot(found: Evaluation) -> bytes:
    """Precision over sensitivity; dotted: the share of positives, which guessing reaches."""
    figure, pane = _square("sensitivity (recall)", "precision (share of alarms that are right)")
    for name, columns in _both(found).items():
        ranking = rank(columns.scores, columns.truth)
        label = f"{name}: {ranking.average_precision()[0]:.3f}"
        pane.step(ranking.sensitivity[0, 1:], ranking.precision[0, 1:], where="pre", color=COLORS[name], label=label)
        pane.axhline(columns.truth.mean(), color=COLORS[name], linestyle=":")
    return _finished(figure, pane, "average precision")


def reliability_plot(levels: Calibration | None, studies: Calibration | None) -> bytes:
    """Observed share of fractures over predicted probability in bins of equal width, with intervals and counts."""
    figure, pane = _square("mean predicted probability", "observed share of fractures")
    pane.plot([0, 1], [0, 1], color="#999", linestyle=":", label="means what it says")
    for name, found in ((LEVELS, levels), (STUDIES, studies)):
        if found is None:
            continue
        filled = [(one.predicted, one.observed) for one in found.bins if one.predicted is not None and one.observed]
        places = [place for place, _ in filled]
        shares = [share for _, share in filled]
        below = [max(0.0, share.value - share.low) for share in shares]
        above = [max(0.0, share.high - share.value) for share in shares]
        label = f"{name}: {found.error.value:.3f}"
        pane.errorbar(
            places, [share.value for share in shares], yerr=[below, above], fmt="o-", color=COLORS[name],
            label=label, capsize=3, linewidth=1,
        )  # fmt: skip
        for place, share in filled:
            pane.annotate(str(share.total), (place, share.value), textcoords="offset points", xytext=(4, 4), fontsize=7)
    return _finished(figure, pane, f"calibration error ({BINS} bins)")


def threshold_plot(found: Evaluation) -> bytes:
    """Sensitivity and specificity of levels at every threshold, with 95 % bands; lines: the operating points."""
    figure, pane = _square("threshold", "share of levels")
    columns = found.levels()
    if columns.truth.any() and not columns.truth.all():
        value = _over_grid(rank(columns.scores, columns.truth))[0]
        draws = drawn(columns.patients, lambda taken: _over_grid(rank(columns.scores, columns.truth, taken)))
        low, high = np.nanpercentile(draws, INTERVAL, axis=0)
        for place, (name, color) in enumerate((("sensitivity", "#1f5fa8"), ("specificity", "#2a8a4a"))):
            pane.plot(GRID, value[:, place], color=color, label=name)
            pane.fill_between(GRID, low[:, place], high[:, place], color=color, alpha=0.2, linewidth=0)
    for name, threshold in found.points.items():
        pane.axvline(threshold, color="#555", linestyle="--", linewidth=0.8)
        pane.annotate(name, (threshold, 0.02), rotation=90, fontsize=7, xytext=(3, 0), textcoords="offset points")
    return _finished(figure, pane, "levels")


def _over_grid(ranking: Ranking) -> Values:
    """Sensitivity and specificity at the thresholds of the grid (draws, grid, 2)."""
    place = len(ranking.thresholds) - 1 - np.searchsorted(ranking.thresholds[::-1], GRID, side="left")
    place = np.maximum(place, 0)
    return np.stack([ranking.sensitivity[:, place], ranking.specificity[:, place]], axis=2)


def confusion_plot(found: Evaluation) -> bytes:
    """How often each true level got each name."""
    counts = found.confusion()
    order = [*range(1, 8), 0]
    shown = counts[np.ix_(order, order)]
    figure, pane = _figure()
    shares = shown / np.maximum(shown.sum(axis=1, keepdims=True), 1)
    pane.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [level.name for level in Vertebra]
    pane.set_xticks(range(8), [*names, "none"])
    pane.set_yticks(range(8), [*names, "not there"])
    pane.set_xlabel("name given to most of it")
    pane.set_ylabel("true level")
    for (row, column), count in np.ndenumerate(shown):
        if count:
            color = "white" if shares[row, column] > 0.5 else "black"
            pane.text(column, row, str(count), ha="center", va="center", color=color, fontsize=9)
    return _png(figure)


def _both(found: Evaluation) -> dict[str, Columns]:
    """Levels and whole studies, where both classes occur."""
    named = {LEVELS: found.levels(), STUDIES: found.studies()}
    return {name: columns for name, columns in named.items() if columns.truth.any() and not columns.truth.all()}


def _square(across: str, up: str) -> tuple[Figure, Axes]:
    figure, pane = _figure()
    pane.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=across, ylabel=up)
    pane.grid(visible=True, color="#ddd", linewidth=0.6)
    return figure, pane


def _figure() -> tuple[Figure, Axes]:
    """A square with fixed margins."""
    figure = Figure(figsize=(5.2, 5.2), dpi=100)
    figure.subplots_adjust(left=0.15, right=0.98, bottom=0.11, top=0.98)
    return figure, figure.subplots()


def _finished(figure: Figure, pane: Axes, title: str) -> bytes:
    """The plot with a legend, where there is anything to name."""
    if pane.get_legend_handles_labels()[0]:
        pane.legend(title=title, loc="best")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
