"""The report of a measurement as one HTML file: what was measured, tables with intervals, plots, the worst mistakes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.bundle import Bundle
from training.evaluation.cautions import cautions
from training.evaluation.evaluation import Evaluation
from training.evaluation.evaluation_json import evaluation_json
from training.evaluation.html_parts import Html, bullets, element, heading, page, paragraph, picture, some, table
from training.evaluation.plots import confusion_plot, precision_plot, reliability_plot, roc_plot, threshold_plot
from training.evaluation.report_tables import (
    calibration_rows,
    data_rows,
    decision_rows,
    fracture_rows,
    kind_rows,
    level_rows,
    loss_rows,
    mask_rows,
    point_rows,
    site_rows,
)
from training.evaluation.worst_cases import Mistake, WorstCase, gallery_folder

REPORT_FILE, FIGURES_FILE = "report.html", "figures.json"
TITLE = "Evaluation of a cspine bundle"
WARNING = "Not a medical device, not for diagnosis. These figures describe the studies named here and nothing else."
ABOUT = (
    "Each data set stands for itself: figures of different data sets are never pooled. Brackets hold the 95 % interval "
    "of 2000 draws in which whole patients are drawn with replacement, and counts. A study that the bundle refused "
    "counts as wrong, unless a line says otherwise. “†”: fewer than 30 values, far too few to rely on."
)


@dataclass(frozen=True, slots=True)
class Report:
    """What a report holds: the rows, the worst mistakes of each by its name, and what was measured as lines of text."""

    evaluations: Sequence[Evaluation]
    worst: Mapping[str, Sequence[WorstCase]]
    provenance: Mapping[str, str]
    warnings: Sequence[str] = ()


def write_report(folder: Path, report: Report, bundle: Bundle) -> Path:
    """Write ``report.html`` and ``figures.json`` into a folder that holds the pictures of the worst cases.

    Returns the path of the report, which holds pictures of the patients that were measured, and no names.
    """
    figures = {
        "provenance": dict(report.provenance),
        "bundle": {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256},
        "warnings": list(report.warnings),
        "data_sets": [evaluation_json(one) | {"cautions": cautions(one)} for one in report.evaluations],
        "worst": {name: [case.title + f" ({case.study})" for case in cases] for name, cases in report.worst.items()},
    }
    path = folder / REPORT_FILE
    (folder / FIGURES_FILE).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    path.write_text(report_html(report, bundle, folder), encoding="utf-8")
    return path


def report_html(report: Report, bundle: Bundle, folder: Path) -> str:
    """The page; the pictures of the worst cases are in the measurement's folder."""
    identity = {"Bundle": f"{bundle.name} {bundle.version}", "SHA-256 of the bundle": bundle.sha256}
    sections = [part for one in report.evaluations for part in _data_set(one, report.worst.get(one.data), folder)]
    return page(
        TITLE,
        heading(1, TITLE),
        paragraph(WARNING, "warning"),
        bullets(report.warnings, "cautions"),
        paragraph(ABOUT),
        heading(2, "What was measured"),
        table(("", ""), [*identity.items(), *report.provenance.items()]),
        table(*data_rows(report.evaluations)),
        *sections,
    )


def _data_set(found: Evaluation, worst: Sequence[WorstCase] | None, folder: Path) -> list[Html]:
    """Everything about one data set."""
    parts = [heading(2, found.data), paragraph(found.what), bullets(cautions(found), "cautions")]
    parts += [heading(3, "Fractures"), table(*fracture_rows(found)), table(*loss_rows(found))]
    parts += [heading(3, "Each level"), table(*level_rows(found))]
    parts += [
        picture(roc_plot(found), "ROC curve. Dot: the threshold of the bundle."),
        picture(precision_plot(found), "Precision and recall. Dotted: the share of positives, which guessing reaches."),
    ]
    parts += [heading(3, "Thresholds"), table(*point_rows(found)), *_decisions(found)]
    parts += [picture(threshold_plot(found), "Levels at every threshold; bands: 95 % intervals.")]
    parts += [heading(3, "Do probabilities mean what they say?"), table(*calibration_rows(found))]
    reliability = reliability_plot(found.level_calibration(), found.study_calibration())
    parts += [picture(reliability, "Reliability; numbers: how many values lie in a bin of equal width.")]
    parts += [heading(3, "Types of fracture and sites"), table(*kind_rows(found)), table(*site_rows(found))]
    parts += [heading(3, "Names and masks of levels"), *_masks(found)]
    parts += [*_named("Not judged: truth unknown", _unknown(found)), *_named("Refused", _refused(found))]
    return parts if worst is None else [*parts, *_worst(worst, gallery_folder(folder, found.data))]


def _decisions(found: Evaluation) -> list[Html]:
    note = (
        "Which threshold would reach a goal here. “Of these studies” is flattered, as the "
        "threshold was chosen on them; “of unseen patients” is measured in every draw on those that were not drawn. "
        "Choose thresholds on the validation split, and at another prevalence of fractures calibrate again."
    )
    return [paragraph(note), table(*decision_rows(found))]


def _masks(found: Evaluation) -> list[Html]:
    if not found.confusion().any():
        return [paragraph("No study has a mask of its levels: names, Dice and distances were not measured.")]
    note = (
        "Distances are means over the levels that were found: those without one carry no voxel with their name, and "
        "count as Dice 0. Where a data set marks fractures with boxes, meeting them says something, Dice nothing."
    )
    confusion = picture(confusion_plot(found), "Names of levels: how often each true level got each name.")
    return [paragraph(note), table(*mask_rows(found)), confusion]


def _unknown(found: Evaluation) -> list[str]:
    return [f"{level.name} ({len(names)}): {some(names)}" for level, names in found.unknown().items()]


def _refused(found: Evaluation) -> list[str]:
    return [f"{result.name}: {result.refused}" for result in found.refused]


def _named(title: str, lines: Sequence[str]) -> list[Html]:
    return [heading(3, title), bullets(lines)] if lines else []


def _worst(worst: Sequence[WorstCase], pictures: Path) -> list[Html]:
    """The worst mistakes of each kind; a picture that is missing is said, not hidden."""
    parts = [heading(3, "The most confident mistakes")]
    for mistake in Mistake:
        mine = [case for case in worst if case.mistake is mistake]
        parts.append(element("h4", Html(mistake.value)))
        parts += [_case(case, pictures / case.file_name) for case in mine] or [paragraph("none")]
    return parts


def _case(case: WorstCase, path: Path) -> Html:
    caption = f"{case.study}, {case.title}"
    return picture(path.read_bytes(), caption) if path.is_file() else paragraph(f"{caption} (no picture)")
