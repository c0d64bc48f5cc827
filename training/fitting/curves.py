"""What a run measured while it trained: a row of JSON each time, TensorBoard's logs, and the curves as a picture."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
CURVES_FILE = "curves.png"
TENSORBOARD = "tensorboard"

Row = Mapping[str, Any]


class Metrics:
    """The measurements of the run in ``output``; those after ``step`` are of an interrupted part and are dropped."""

    def __init__(self, output: Path, step: int, *, tensorboard: bool) -> None:
        self._path = output / METRICS_FILE
        rows = [row for row in read_metrics(output) if row["step"] <= step]
        temporary = self._path.with_suffix(".part")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        temporary.replace(self._path)
        self._writer: Any = None
        if tensorboard:
            from tensorboardX import SummaryWriter  # noqa: PLC0415 -- slow to import, and not always wanted

            self._writer = SummaryWriter(logdir=str(output / TENSORBOARD), purge_step=step + 1 if step else None)

    def add(self, row: Row) -> None:
        """Add a row: ``step``, numbers by name, and ``validation``, again numbers by name."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._writer is not None:
            for name, value in _scalars(row):
                self._writer.add_scalar(name, value, row["step"])
            self._writer.flush()

    def close(self) -> None:
        """End TensorBoard's logs."""
        if self._writer is not None:
            self._writer.close()


def _scalars(row: Row) -> list[tuple[str, float]]:
    found = []
    for name, value in row.items():
        if isinstance(value, Mapping):
            found += [(f"{name}/{inner}", number) for inner, number in value.items()]
        elif name != "step":
            found.append((f"training/{name}", value))
    return found


def read_metrics(output: Path) -> list[dict[str, Any]]:
    """The rows of a run; a last line that was cut off is left out."""
    rows: list[dict[str, Any]] = []
    try:
        lines = (output / METRICS_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return rows
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            logger.warning("%s: a line was cut off and is left out", output / METRICS_FILE)
    return rows


def draw_curves(output: Path) -> Path | None:
    """Draw the losses of training and validation and the learning rate; None where nothing was measured yet."""
    rows = read_metrics(output)
    if not rows:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 -- slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415 -- as above

    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    steps = [row["step"] for row in rows]
    losses.plot(steps, [row["loss"] for row in rows], label="training")
    validated = [row for row in rows if row.get("validation")]
    if validated:
        shown = [row["step"] for row in validated], [row["validation"]["loss"] for row in validated]
        losses.plot(*shown, marker=".", label="validation")
        best = min(validated, key=lambda row: float(row["validation"]["loss"]))
        losses.axvline(best["step"], color="gray", linestyle=":", label=f"best validation, step {best['step']}")
    losses.set_ylabel("loss")
    losses.legend()
    rates.plot(steps, [row["learning_rate"] for row in rows], color="gray")
    rates.set_ylabel("learning rate")
    rates.set_xlabel("step")
    path = output / CURVES_FILE
    figure.savefig(path, dpi=110)
    return path
