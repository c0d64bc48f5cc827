"""The measured part of the model card: tables of one run of ``evaluate``, written between two markers."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from model.bundle import METADATA_FILE, Bundle
from training.evaluation.cord_sets import CordEvaluation
from training.evaluation.evaluation import Evaluation
from training.evaluation.evaluation_json import evaluation_json
from training.evaluation.real_sets import RealResult
from training.evaluation.tables import (
    cords_table,
    dice_table,
    estimate_text,
    fractures_table,
    kinds_table,
    levels_table,
    markdown_table,
    names_text,
    points_table,
    real_table,
    share_text,
    studies_table,
)

BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->"
MAIN_KEYS = (
    "name",
    "version",
    "encoder",
    "decoder",
    "spacing_mm",
    "operating_point",
    "step",
    "steps",
    "cases",
    "batch",
    "learning_rate",
    "seed",
)
"""What the card repeats of ``metadata.json``, wherever it stands there."""
SKIPPED_KEYS = ("calibration", "files", "results")


class CardError(ValueError):
    """The card lacks the two markers, or has them more than once."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that one run of ``evaluate`` measured, and a sentence for each row that was left out."""

    command: str
    evaluations: tuple[Evaluation, ...] = ()
    real: tuple[RealResult, ...] = ()
    cords: CordEvaluation | None = None
    left_out: tuple[str, ...] = ()

    def as_json(self, bundle: Bundle) -> dict[str, object]:
        """The run as plain JSON values."""
        return {
            "command": self.command,
            "bundle": {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256},
            "known_truth": [evaluation_json(result) for result in self.evaluations],
            "real_levels": [result.as_json() for result in self.real],
            "real_cords": self.cords.as_json() if self.cords else None,
            "left_out": list(self.left_out),
        }


def main_values(bundle: Bundle) -> dict[str, str]:
    """The main values of the bundle's metadata by their place in it, and every operating point."""
    document = json.loads((bundle.path / METADATA_FILE).read_text(encoding="utf-8"))
    values = dict(_leaves(document, ""))
    return {place: text for place, text in values.items() if _is_main(place)}


def _is_main(place: str) -> bool:
    return place.rpartition(".")[2] in MAIN_KEYS or place.startswith("operating_points.")


def _leaves(value: object, place: str) -> Iterator[tuple[str, str]]:
    """Every value of nested JSON objects as text with its place ("training.config.steps")."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in SKIPPED_KEYS:
                yield from _leaves(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        yield place, ", ".join(str(part) for part in value)
    elif value is not None:
        yield place, str(value)


def goals_table(measured: Measured) -> str:
    """What the project set itself for synthetic studies and held-out subjects, and what was measured."""
    rows = [row for result in measured.evaluations if not result.own_labels for row in _synthetic_goals(result)]
    rows += [row for result in measured.real if result.held_out for row in _real_goals(result)]
    return markdown_table(["Data", "Goal", "Measured", "Reached"], rows)


def _synthetic_goals(result: Evaluation) -> list[list[str]]:
    dice, right, auc = result.dice(), result.all_right(enough_levels=True), result.statistics().auc
    wanted = "all visible levels right in 97 of 100 studies with 5 levels or more"
    return [
        [result.data, "mean Dice C1–C7 of 0.92 or more", estimate_text(dice), _yes(bool(dice and dice.value >= 0.92))],
        [result.data, wanted, share_text(right), _yes(bool(right and right.value >= 0.97))],
        [result.data, "AUC of 0.95 or more for levels", estimate_text(auc), _yes(bool(auc and auc.value >= 0.95))],
    ]


def _real_goals(result: RealResult) -> list[list[str]]:
    names = f"{len(result.right)} of {len(result.named)}, wrongly named: {names_text(result.wrongly_named)}"
    all_right = len(result.right) == len(result.named) and not result.wrongly_named
    labeled = result.dense_labeled
    return [
        [result.data, "every visible level right", names, _yes(all_right)],
        [result.data, "no alarm in intact bone", names_text(result.alarms), _yes(not result.alarms)],
        [result.data, "0.85 or more of the dense bone labeled", f"{labeled:.3f}", _yes(labeled >= 0.85)],
    ]


def _yes(reached: bool) -> str:  # noqa: FBT001 -- a word for a truth value
    return "yes" if reached else "**no**"


def measured_text(measured: Measured, bundle: Bundle) -> str:
    """All tables of one run as Markdown."""
    values = [[f"`{place}`", value] for place, value in main_values(bundle).items()]
    parts = [
        f"`{measured.command}`, bundle {bundle.name} {bundle.version}, SHA-256 `{bundle.sha256}`.",
        "Each row stands for itself; none may be pooled. Brackets: 95 % interval (whole studies resampled), counts.",
        "### Bundle\n\n" + markdown_table(["In metadata.json", "Value"], values),
    ]
    if measured.evaluations:
        parts += _known_truth(measured)
    if measured.real:
        parts.append("### Real subjects with known levels\n\n" + real_table(measured.real))
    if measured.cords:
        parts.append("### Real patients of whom only the spinal cord is known\n\n" + cords_table(measured.cords))
    if measured.evaluations or measured.real:
        parts.append("### Goals\n\n" + goals_table(measured))
    if measured.left_out:
        parts.append("Not measured:\n\n" + "\n".join(f"- {sentence}" for sentence in measured.left_out))
    return "\n\n".join(parts) + "\n"


def _known_truth(measured: Measured) -> list[str]:
    rows = {result.data: result for result in measured.evaluations}
    described = [[result.data, result.what, result.seeds] for result in measured.evaluations]
    return [
        "### Data of known truth\n\n" + markdown_table(["Data", "What", "Seeds"], described),
        "### Names and masks\n\n" + levels_table(rows),
        dice_table(rows),
        "### Fractures of levels\n\n" + fractures_table(rows),
        kinds_table(rows),
        points_table(rows),
        "### Fractures of studies\n\n" + studies_table(rows),
    ]


def card_frame(path: Path) -> tuple[str, str]:
    """What stands before and after the measured part; ``CardError`` when the card lacks the markers or repeats them."""
    text = path.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end or BEGIN in tail:
        raise CardError(f"{path.name} must hold {BEGIN.strip()} and {END} exactly once")
    return head, tail


def write_card(path: Path, measured: Measured, bundle: Bundle) -> None:
    """Put the tables between the card's two markers; raises ``CardError`` as ``card_frame`` does."""
    head, tail = card_frame(path)
    path.write_text(head + BEGIN + "\n" + measured_text(measured, bundle) + "\n" + END + tail, encoding="utf-8")
