"""One run of ``evaluate``: measure the rows of the model card or a prepared split, write report, figures and card."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from dicom_node.sentences import WARNING
from model.bundle import Bundle, load_bundle
from training.config import save_config
from training.datasets.studies import DataSetError
from training.evaluation.evaluate import VolumePredictor, Watcher
from training.evaluation.evaluate_config import EvaluateConfig
from training.evaluation.evaluation import Evaluation
from training.evaluation.html_report import Report, write_report
from training.evaluation.measure import DataSets, measure
from training.evaluation.model_card import Measured, measured_text, write_card
from training.evaluation.prepared_measure import PreparedSplit, measure_prepared
from training.evaluation.result_log import ResultLog
from training.evaluation.tables import fractures_table, kinds_table, levels_table, points_table, studies_table
from training.evaluation.trained_on import doubts, trained_on
from training.evaluation.worst_cases import Gallery


def measured(config: EvaluateConfig) -> str:
    """Measure what the settings name; leakage between splits fails before a network is loaded.

    Returns the main tables as Markdown. Raises ``BundleError`` and ``DataSetError``.
    """
    if config.prepared is None:
        predictor = _predictor(config.bundle)
        return run_card(config, predictor, predictor.bundle)
    if config.output is None:
        raise DataSetError("an output folder is needed to measure a prepared folder")
    data = PreparedSplit.opened(config.prepared, config.split)
    config.output.mkdir(parents=True, exist_ok=True)
    save_config(config, config.output)
    count = len(data.prepared.of(data.split))
    with click.progressbar(length=count, label="studies", file=sys.stderr) as bar:
        return run_prepared(config.output, data, _predictor(config.bundle), config.worst, [lambda *_: bar.update(1)])


def _predictor(bundle: Path | None) -> VolumePredictor:
    """The bundle's networks, loaded."""
    from model.predictor import Predictor  # noqa: PLC0415 -- Keras takes seconds to import

    return Predictor(load_bundle(bundle))


def run_card(config: EvaluateConfig, predictor: VolumePredictor, bundle: Bundle) -> str:
    """Measure the rows of the model card; returns its tables."""
    command = f"python -m training evaluate --studies {config.studies}"
    gallery = None
    if config.output is not None:
        config.output.mkdir(parents=True, exist_ok=True)
        save_config(config, config.output)
        gallery = Gallery(config.output, config.worst)
    sets = DataSets(config.studies, config.data, config.atlas)
    measured = measure(predictor, sets, command, gallery)
    if config.figures is not None:
        config.figures.write_text(json.dumps(measured.as_json(bundle), indent=2) + "\n", encoding="utf-8")
    if config.card is not None:
        write_card(config.card, measured, bundle)
    if config.output is not None and gallery is not None:
        _write_card_report(config.output, measured, gallery, bundle)
    return measured_text(measured, bundle)


def _write_card_report(output: Path, measured: Measured, gallery: Gallery, bundle: Bundle) -> None:
    provenance = {"Command": measured.command, "Operating point": _operating_point(bundle)}
    warnings = ["None of these studies is of a patient with a fracture: performance on patients is unknown."]
    warnings += [f"Not measured: {sentence}" for sentence in measured.left_out]
    write_report(output, Report(measured.evaluations, gallery.finish(), provenance, warnings), bundle)


def run_prepared(
    output: Path, data: PreparedSplit, predictor: VolumePredictor, worst: int, watchers: Sequence[Watcher] = ()
) -> str:
    """Measure a prepared split into ``output``; returns the main tables and where the report is.

    Raises ``DataSetError`` as ``measure_prepared`` does, and where the folder holds results of another measurement.
    """
    bundle = predictor.bundle
    output.mkdir(parents=True, exist_ok=True)
    gallery = Gallery(output, worst)
    log = ResultLog(output, data.measurement(bundle.sha256))
    evaluations = measure_prepared(predictor, data, log, gallery, watchers)
    provenance, trained = data.provenance(), bundle.metadata.provenance
    provenance |= {"Trained on": trained_on(trained, data.prepared), "Operating point": _operating_point(bundle)}
    warnings = data.warnings() + doubts(trained, data.prepared, data.split)
    path = write_report(output, Report(evaluations, gallery.finish(), provenance, warnings), bundle)
    return "\n\n".join([_summary(evaluations), *warnings, WARNING, f"Report: {path}"])


def _operating_point(bundle: Bundle) -> str:
    metadata = bundle.metadata
    return f"{metadata.operating_point} ({metadata.operating_points[metadata.operating_point]:.4f})"


def _summary(evaluations: Sequence[Evaluation]) -> str:
    rows = {found.data: found for found in evaluations}
    tables = (levels_table, fractures_table, studies_table, kinds_table, points_table)
    return "\n\n".join(table(rows) for table in tables)
