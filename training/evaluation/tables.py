"""Markdown tables of what was measured, and how figures are written in them."""

from collections.abc import Iterable, Mapping, Sequence

from model.findings import Vertebra
from training.evaluation.bootstrap import Estimate
from training.evaluation.cord_sets import CordEvaluation
from training.evaluation.evaluation import Evaluation, kind_order
from training.evaluation.figures import Share
from training.evaluation.real_sets import RealResult

Rows = Mapping[str, Evaluation]
"""What is measured, by the name of its row."""
NONE = "–"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a row must have as many cells as the header, or ValueError."""
    lines = [header, ["---"] * len(header), *rows]
    for line in lines:
        if len(line) != len(header):
            raise ValueError(f"a row of {len(line)} cells in a table of {len(header)} columns")
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", r"\|").split())


def share_text(figure: Share | None) -> str:
    """A share with its interval and counts, as "0.95 (0.88–0.99; 38 of 40)"."""
    if figure is None:
        return NONE
    return f"{figure.value:.3f} ({figure.low:.2f}–{figure.high:.2f}; {figure.hits} of {figure.total})"


def estimate_text(figure: Estimate | None, digits: int = 3) -> str:
    """A figure with its interval, as "0.954 (0.93–0.97)"."""
    if figure is None:
        return NONE
    low, high = (f"{end:.{max(1, digits - 1)}f}" for end in (figure.low, figure.high))
    return f"{figure.value:.{digits}f} ({low}–{high})"


def count_text(figure: Share | None) -> str:
    """Counts alone, as "38 of 40"."""
    return f"{figure.hits} of {figure.total}" if figure else NONE


def names_text(levels: Iterable[Vertebra]) -> str:
    """Levels by name, or "none"."""
    return ", ".join(level.name for level in levels) or "none"


def levels_table(rows: Rows, first: str = "Data") -> str:
    """Names and masks: studies with all visible levels right, Dice, seconds."""
    header = [
        first,
        "Studies",
        "All visible levels right (5 or more in view)",
        "All right (fewer than 5)",
        "Fewer than 5, and says so",
        "Mean Dice",
        "Seconds",
    ]
    return markdown_table(
        header,
        [
            [
                name,
                str(len(result.results)),
                share_text(result.all_right(enough_levels=True)),
                share_text(result.all_right(enough_levels=False)),
                count_text(result.limited()),
                estimate_text(result.dice()),
                f"{result.seconds():.1f}",
            ]
            for name, result in rows.items()
        ],
    )


def dice_table(rows: Rows, first: str = "Data") -> str:
    """Dice of each level."""
    header = [first, *(level.name for level in Vertebra)]
    cells = [[name, *(estimate_text(result.dice(v)) for v in Vertebra)] for name, result in rows.items()]
    return markdown_table(header, [row for row in cells if set(row[1:]) != {NONE}])


def fractures_table(rows: Rows, first: str = "Data") -> str:
    """Fractures of levels at the bundle's threshold, masks of the fractures found, RSNA loss beside its baseline."""
    header = [
        first,
        "Sensitivity",
        "Specificity",
        "AUC",
        "Mask meets the fracture",
        "Dice of the mask",
        "RSNA loss (best constants)",
    ]
    return markdown_table(header, [[name, *_fracture_cells(result)] for name, result in rows.items()])


def _fracture_cells(result: Evaluation) -> list[str]:
    found, rsna = result.statistics(), result.rsna()
    return [
        share_text(found.sensitivity),
        share_text(found.specificity),
        estimate_text(found.auc),
        share_text(result.lesion_hits()),
        estimate_text(result.lesion_dice()),
        f"{rsna.loss.value:.3f} ({rsna.constants.value:.3f})" if rsna else NONE,
    ]


def studies_table(rows: Rows, first: str = "Data") -> str:
    """Fractures of whole studies: called when any level is, AUC by the study probability."""
    cells = []
    for name, result in rows.items():
        found = result.study_statistics()
        cells.append([name, share_text(found.sensitivity), share_text(found.specificity), estimate_text(found.auc)])
    return markdown_table([first, "Sensitivity", "Specificity", "AUC"], cells)


def points_table(rows: Rows, first: str = "Data") -> str:
    """Sensitivity and specificity of levels at every operating point."""
    cells = []
    for name, result in rows.items():
        for point, threshold in result.points.items():
            found = result.statistics(threshold)
            cells.append(
                [name, point, f"{threshold:.3f}", share_text(found.sensitivity), share_text(found.specificity)]
            )
    return markdown_table([first, "Operating point", "Threshold", "Sensitivity", "Specificity"], cells)


def kinds_table(rows: Rows, first: str = "Fracture") -> str:
    """Sensitivity for each type of fracture (rows) in each data set (columns)."""
    found = {name: result.by_kind() for name, result in rows.items()}
    kinds = dict.fromkeys(kind for figures in found.values() for kind in figures)
    ordered = sorted(kinds, key=kind_order)
    cells = [[kind, *(share_text(figures.get(kind)) for figures in found.values())] for kind in ordered]
    return markdown_table([first, *found], cells)


def real_table(results: Iterable[RealResult]) -> str:
    """Real subjects with known places of levels: names, bone without a label, every probability, every alarm."""
    header = [
        "Data",
        "Levels right",
        "Wrongly named",
        "Voxels above 250 HU near a level that are labeled",
        "Labels within 3 mm of bone",
        "Fracture probability of levels taken for intact",
        "Alarms",
        "Limitations named",
    ]
    return markdown_table(
        header,
        [
            [
                result.data,
                f"{len(result.right)} of {len(result.named)} ({names_text(result.right)})",
                names_text(result.wrongly_named),
                f"{result.dense_labeled:.3f}",
                f"{result.on_bone:.3f}",
                ", ".join(f"{level.name} {value:.2f}" for level, value in result.probability.items()),
                names_text(result.alarms),
                ", ".join(limitation.name for limitation in result.limitations) or "none",
            ]
            for result in results
        ],
    )


def cords_table(result: CordEvaluation) -> str:
    """The OpenKBP sample, one figure a line."""
    lines = (
        ("Scans (refused)", f"{len(result.results) + result.refused} ({result.refused})"),
        ("Share of labeled voxels in the tube around the cord", estimate_text(result.inside())),
        ("The same share of all voxels of the body (chance)", estimate_text(result.by_chance())),
        ("Median distance of labeled voxels from the cord, mm", estimate_text(result.distance_mm(), 1)),
        ("Levels found in a scan", estimate_text(result.levels_found(), 1)),
        ("Scans whose levels follow each other downwards", share_text(result.in_order())),
        ("Alarm rate of levels (no specificity: the truth is unknown)", share_text(result.alarms())),
        ("Alarm rate of scans", share_text(result.scans_with_alarm())),
        ("Scans with a limitation named beside their findings", share_text(result.limited())),
    )
    return markdown_table([result.data, ""], lines)
