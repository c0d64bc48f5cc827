"""The same data, the same time, one row a contender: what each encoder and recipe learns, and what it costs to run."""

import json
import logging
import multiprocessing
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.engine import build_engine, default_runtime
from model.findings import StudyFindings, Vertebra
from model.naming import NamingConfig, solve_levels
from model.network_config import network_of
from model.predictor import level_probabilities
from model.preprocess import PreprocessConfig, prepare, restore_labels
from training.evaluation.bootstrap import Estimate
from training.evaluation.figures import Share, fracture_statistics, mean_interval, share
from training.evaluation.judging import judge
from training.evaluation.synthetic_sets import synthetic_set
from training.evaluation.tables import estimate_text, markdown_table, share_text
from training.fitting.batches import CropData, LevelData
from training.fitting.compare_config import Comparison
from training.fitting.contenders import CONTENDERS, Contender
from training.fitting.crop_sampler import stored_crops
from training.fitting.export import weights_bytes
from training.fitting.fit import fit_fractures, fit_levels
from training.fitting.fit_config import FitConfig
from training.fitting.release import crop_scores, trained_fractures, trained_levels
from training.synthesis.fractures import FractureKind

logger = logging.getLogger(__name__)

TABLE_FILE = "table.md"
FIGURES_FILE = "figures.json"
SPECIFIC = 0.9
"""The threshold of each contender calls this share of the intact calibration crops intact."""


@dataclass(frozen=True, slots=True)
class LabelsOnly:
    """The answer of a level network alone: a label map, as ``training.evaluation.judging`` takes answers."""

    labels: NDArray[np.uint8]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def findings(self) -> StudyFindings:
        """Nothing is said of fractures."""
        return StudyFindings((), 0.0, 0.5)

    @property
    def lesions(self) -> NDArray[np.uint8]:
        """No fracture is marked."""
        return np.zeros_like(self.labels)


def compare(plan: Comparison) -> str:
    """Train and measure every contender, each in processes of its own; returns the table, which is written too.

    Raises ValueError for a name that no contender has.
    """
    chosen = [one for one in CONTENDERS if not plan.only or one.name in plan.only]
    if len(chosen) < len(plan.only):
        raise ValueError(f"contenders are: {'; '.join(one.name for one in CONTENDERS)}")
    plan.output.mkdir(parents=True, exist_ok=True)
    figures = [_in_own_process(plan, contender) for contender in chosen]
    (plan.output / FIGURES_FILE).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    table = table_of(figures, plan)
    (plan.output / TABLE_FILE).write_text(table + "\n", encoding="utf-8")
    return table


def _in_own_process(plan: Comparison, contender: Contender) -> dict[str, Any]:
    """Train in one process and measure in another, whose peak memory is then that of using the networks."""
    folder = plan.output / f"{contender.encoder}-{contender.recipe}"
    context = multiprocessing.get_context("spawn")
    for task in (_train, _measure):
        process = context.Process(target=task, args=(plan, contender, folder))
        process.start()
        process.join()
        if process.exitcode != 0:
            raise ValueError(f"{contender.name}: {task.__name__} ended with {process.exitcode}")
    found: dict[str, Any] = json.loads((folder / FIGURES_FILE).read_text(encoding="utf-8"))
    logger.info("%s: %s", contender.name, found)
    return found


def _train(plan: Comparison, contender: Contender, folder: Path) -> None:
    def config(stage: str, batch: int) -> FitConfig:
        return FitConfig(
            folder / stage,
            network_of(stage, contender.encoder),
            contender.recipe,
            steps=1_000_000,
            seconds=plan.seconds,
            batch=batch,
            learning_rate=contender.learning_rate,
        )

    if contender.names_levels:
        fit_levels(config("levels", 8), LevelData(atlas=plan.atlas))
    fit_fractures(config("fractures", 4), CropData(plan.crops))


def _measure(plan: Comparison, contender: Contender, folder: Path) -> None:

    figures: dict[str, Any] = {"name": contender.name, "steps": {}, "bytes": 0}
    fractures = trained_fractures(folder / "fractures")
    figures |= _fracture_figures(fractures, plan)
    figures["bytes"] += len(weights_bytes(fractures))
    figures["steps"]["fractures"] = _steps(folder / "fractures")
    if contender.names_levels:
        levels = trained_levels(folder / "levels")
        figures |= _level_figures(levels, plan)
        figures["bytes"] += len(weights_bytes(levels))
        figures["steps"]["levels"] = _steps(folder / "levels")
    figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (folder / FIGURES_FILE).write_text(json.dumps(figures), encoding="utf-8")


def _steps(run: Path) -> int:
    return int(json.loads((run / "training.json").read_text(encoding="utf-8"))["step"])


def _level_figures(network: Any, plan: Comparison) -> dict[str, Any]:
    """Dice and names on synthetic studies of test seeds."""
    engine = build_engine(network, default_runtime())
    dice: list[float] = []
    right: list[bool] = []
    seconds: list[float] = []
    for study in synthetic_set(plan.studies).studies:
        started = time.perf_counter()
        prepared = prepare(study.hu, study.spacing_mm, PreprocessConfig())
        levels = level_probabilities(engine, prepared, PreprocessConfig())
        found = solve_levels(levels, prepared.hu, prepared.spacing_mm, NamingConfig())
        labels = restore_labels(found.labels, prepared)
        seconds.append(time.perf_counter() - started)
        result = judge(study, LabelsOnly(labels))
        dice.append(float(np.mean([level.mask.dice for level in result.levels if level.mask])))
        right.append(result.all_right)
    numbers = np.arange(len(dice))
    return {
        "dice": _json(mean_interval(np.array(dice), numbers)),
        "all_right": _json(share(np.array(right), numbers)),
        "level_seconds": float(np.median(seconds)),
    }


def _fracture_figures(network: Any, plan: Comparison) -> dict[str, Any]:
    """Fractures on crops of other seeds: every other one sets the threshold, the rest is measured."""
    cases = [case for path in sorted(plan.test_crops.glob("*.npz")) for case in stored_crops(path)]
    started = time.perf_counter()
    values, truth = crop_scores(network, cases), np.array([bool(case.kind) for case in cases])
    seconds = (time.perf_counter() - started) / len(cases)
    numbers = np.arange(len(cases)) // 2  # two paintings of one anatomy are one case
    tuned = numbers % 2 == 0
    threshold = float(np.quantile(values[tuned & ~truth], SPECIFIC, method="higher")) + 1e-6
    found = fracture_statistics(values[~tuned], truth[~tuned], numbers[~tuned], threshold)
    kinds = np.array([case.kind for case in cases])
    hits = {
        kind.value: _json(share(values[~tuned & (kinds == kind)] >= threshold, numbers[~tuned & (kinds == kind)]))
        for kind in FractureKind
    }
    return {
        "sensitivity": _json(found.sensitivity),
        "specificity": _json(found.specificity),
        "auc": _json(found.auc),
        "kinds": hits,
        "fracture_seconds": len(Vertebra) * seconds,
    }


def _json(figure: Share | Estimate | None) -> dict[str, Any] | None:
    return figure.as_json() if figure else None


def _share(values: dict[str, Any] | None) -> str:
    return share_text(Share(values["hits"], values["total"], values["low"], values["high"]) if values else None)


def _estimate(values: dict[str, Any] | None) -> str:
    return estimate_text(Estimate(**values) if values else None)


def table_of(figures: Sequence[dict[str, Any]], plan: Comparison) -> str:
    """Two Markdown tables: the contenders, and the sensitivity of each for each type of fracture (synthetic data)."""
    header = (
        "Contender", "Steps (levels, fractures)", "Mean Dice C1–C7", "All visible levels right", "Fracture sensitivity",
        "Specificity", "AUC", "Seconds a study", "Peak memory, MiB", "Bundle, MB",
    )  # fmt: skip
    rows = [
        (
            one["name"],
            f"{one['steps'].get('levels', '–')}, {one['steps']['fractures']}",
            _estimate(one.get("dice")),
            _share(one.get("all_right")),
            _share(one["sensitivity"]),
            _share(one["specificity"]),
            _estimate(one["auc"]),
            f"{one.get('level_seconds', 0) + one['fracture_seconds']:.1f}",
            f"{one['peak_mib']:.0f}",
            f"{one['bytes'] / 1e6:.1f}",
        )
        for one in figures
    ]
    kinds = [kind.value for kind in FractureKind]
    by_kind = [(one["name"], *(_hits(one["kinds"][kind]) for kind in kinds)) for one in figures]
    about = (
        f"Synthetic data. {plan.seconds:.0f} s of training for each network, {plan.studies} studies, "
        "crops of other seeds; intervals: 95 %, whole cases resampled."
    )
    return "\n\n".join([about, markdown_table(header, rows), markdown_table(("Sensitivity", *kinds), by_kind)])


def _hits(values: dict[str, Any] | None) -> str:
    return f"{values['hits']}/{values['total']}" if values else "–"
