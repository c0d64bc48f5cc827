"""What a shadow model would have said: agreement with the serving model, disagreements as pictures, seconds of both.

Counts stand with 95 % intervals (Wilson 1927). No patient and no UID is in a report unless its reader asks for UIDs.
"""

import html
import json
import math
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from model.findings import Vertebra
from worker.comparison import Agreement, Calls, disagreements
from worker.records import Run, ShadowRun, ShadowState, Study

NOTICE = "Not a medical device. A comparison of two models with each other, not with the truth."
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Share:
    """``count`` of ``total``, with the ends of its 95 % interval."""

    count: int
    total: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of the share; (0, 1) where there is nothing."""
        if self.total == 0:
            return 0.0, 1.0
        share, squared = self.count / self.total, _Z * _Z / self.total
        middle = (share + squared / 2) / (1 + squared)
        half = _Z * math.sqrt(share * (1 - share) / self.total + squared / (4 * self.total)) / (1 + squared)
        return max(0.0, middle - half), min(1.0, middle + half)

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {"count": self.count, "total": self.total, "interval": [round(end, 4) for end in self.interval]}

    def __str__(self) -> str:
        if self.total == 0:
            return "0 of 0"
        low, high = (100 * end for end in self.interval)
        return f"{self.count} of {self.total} ({100 * self.count / self.total:.1f} %, {low:.1f} to {high:.1f})"


@dataclass(frozen=True, slots=True)
class Table:
    """How often both models, one, or none of them suspects a fracture."""

    both: int = 0
    serving_only: int = 0
    shadow_only: int = 0
    neither: int = 0

    @classmethod
    def of(cls, pairs: Iterable[tuple[bool, bool]]) -> "Table":
        """The table of (serving suspects, shadow suspects)."""
        counts = Counter(pairs)
        return cls(counts[True, True], counts[True, False], counts[False, True], counts[False, False])

    @property
    def same(self) -> Share:
        """How often both say the same."""
        total = self.both + self.serving_only + self.shadow_only + self.neither
        return Share(self.both + self.neither, total)

    def as_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "both": self.both,
            "serving_only": self.serving_only,
            "shadow_only": self.shadow_only,
            "neither": self.neither,
            "same": self.same.as_json(),
        }

    def __str__(self) -> str:
        each = f"both {self.both}, serving only {self.serving_only}, shadow only {self.shadow_only}"
        return f"{self.same}; suspected by {each}"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One study on which both differ; ``number`` names it here, ``picture`` is a file of the shadow folder."""

    number: int
    levels: tuple[str, ...]
    serving: str
    shadow: str
    picture: str | None
    study_instance_uid: str

    def as_json(self, *, with_uids: bool) -> dict[str, object]:
        """Plain JSON values."""
        values: dict[str, object] = {
            "number": self.number,
            "levels": list(self.levels),
            "serving": self.serving,
            "shadow": self.shadow,
            "picture": None if self.picture is None else _picture_name(self.number),
        }
        return values | ({"study_instance_uid": self.study_instance_uid} if with_uids else {})


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """All that was compared of one shadow; seconds are percentiles by name (p50, p95)."""

    sha256: str
    since: datetime | None
    until: datetime | None
    studies: int
    failures: Mapping[str, int]
    same_levels: Share
    study_calls: Table
    level_calls: Table
    probability_differences: Mapping[str, float]
    dice: Mapping[str, float]
    serving_seconds: Mapping[str, float]
    shadow_seconds: Mapping[str, float]
    disagreements: tuple[Disagreement, ...]

    def as_lines(self, *, with_uids: bool = False) -> list[str]:
        """The report as text."""
        period = f"{self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M} UTC" if self.since and self.until else "-"
        lines = [
            f"shadow            {self.sha256[:12]}, {self.studies} studies compared, {period}",
            *(f"not compared      {count}: {reason}" for reason, count in self.failures.items()),
            f"same levels       {self.same_levels}",
            f"studies: calls    {self.study_calls}",
            f"levels: calls     {self.level_calls}",
            f"probabilities     {_percentiles(self.probability_differences)} apart",
            f"median Dice       {', '.join(f'{level} {value:.3f}' for level, value in self.dice.items()) or '-'}",
            f"seconds: serving  {_percentiles(self.serving_seconds)}",
            f"seconds: shadow   {_percentiles(self.shadow_seconds)}",
            f"disagreements     {len(self.disagreements)}",
        ]
        for one in self.disagreements:
            uid = f"  {one.study_instance_uid}" if with_uids else ""
            lines.append(f"  {one.number:>6}  {', '.join(one.levels)}: serving {one.serving}; shadow {one.shadow}{uid}")
        return [*lines, NOTICE]

    def as_json(self, *, with_uids: bool = False) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "shadow_sha256": self.sha256,
            "since": None if self.since is None else self.since.isoformat(),
            "until": None if self.until is None else self.until.isoformat(),
            "studies": self.studies,
            "not_compared": dict(self.failures),
            "same_levels": self.same_levels.as_json(),
            "study_calls": self.study_calls.as_json(),
            "level_calls": self.level_calls.as_json(),
            "probability_differences": dict(self.probability_differences),
            "dice": dict(self.dice),
            "seconds": {"serving": dict(self.serving_seconds), "shadow": dict(self.shadow_seconds)},
            "disagreements": [one.as_json(with_uids=with_uids) for one in self.disagreements],
            "notice": NOTICE,
        }


def shadow_report(session: Session, sha256: str) -> ShadowReport:
    """The report of what this shadow was compared on, as far as its rows are kept."""
    query = (
        select(ShadowRun, Run.findings, Study.study_instance_uid)
        .join(Run, Run.id == ShadowRun.run_id)
        .join(Study, Study.id == Run.study_id)
        .where(ShadowRun.bundle_sha256 == sha256)
        .order_by(ShadowRun.id)
    )
    rows = session.execute(query).all()
    compared = [(row, findings, uid) for row, findings, uid in rows if row.state is ShadowState.COMPARED]
    pairs = [(Calls.from_findings(ours), Calls.from_findings(row.findings or {})) for row, ours, _ in compared]
    agreements = [Agreement.from_json(row.agreement or {}) for row, _, _ in compared]
    found = (
        _disagreement(row, pair, agreement, uid)
        for (row, _, uid), pair, agreement in zip(compared, pairs, agreements, strict=True)
    )
    shared = [(level, ours, other) for ours, other in pairs for level in sorted(ours.levels & other.levels)]
    apart = [abs(ours.probabilities[level] - other.probabilities[level]) for level, ours, other in shared]
    return ShadowReport(
        sha256=sha256,
        since=min((row.started_at for row, _, _ in compared), default=None),
        until=max((row.started_at for row, _, _ in compared), default=None),
        studies=len(compared),
        failures=Counter(str(row.failure) for row, _, _ in rows if row.state is ShadowState.FAILED),
        same_levels=Share(sum(ours.levels == other.levels for ours, other in pairs), len(pairs)),
        study_calls=Table.of((bool(ours.suspected), bool(other.suspected)) for ours, other in pairs),
        level_calls=Table.of((level in ours.suspected, level in other.suspected) for level, ours, other in shared),
        probability_differences=_measured(apart),
        dice=_median_dice(agreements),
        serving_seconds=_measured([row.serving_seconds or 0.0 for row, _, _ in compared]),
        shadow_seconds=_measured([row.shadow_seconds or 0.0 for row, _, _ in compared]),
        disagreements=tuple(one for one in found if one is not None),
    )


def write_report(report: ShadowReport, folder: Path, shadow_dir: Path, *, with_uids: bool = False) -> int:
    """Write report.json, report.html and the pictures into a folder; return how many pictures there are."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report.as_json(with_uids=with_uids), indent=2) + "\n"
    (folder / "report.json").write_text(text, encoding="utf-8")
    shown = [one for one in report.disagreements if one.picture is not None and (shadow_dir / one.picture).is_file()]
    for one in shown:
        shutil.copyfile(shadow_dir / str(one.picture), folder / _picture_name(one.number))
    lines = html.escape("\n".join(report.as_lines(with_uids=with_uids)))
    figures = "\n".join(
        f'<h2>{one.number}: {html.escape(", ".join(one.levels))}</h2><img src="{_picture_name(one.number)}" alt="">'
        for one in shown
    )
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Shadow model</title>'
    page = f"{head}\n<h1>Shadow model</h1>\n<pre>{lines}</pre>\n{figures}\n</html>\n"
    (folder / "report.html").write_text(page, encoding="utf-8")
    return len(shown)


def _disagreement(row: ShadowRun, pair: tuple[Calls, Calls], agreement: Agreement, uid: str) -> Disagreement | None:
    """The disagreement of a row, None where both agree."""
    levels = disagreements(*pair, agreement)
    if not levels:
        return None
    words = [_words(calls, levels) for calls in pair]
    return Disagreement(row.id, tuple(level.name for level in levels), words[0], words[1], row.picture, uid)


def _words(calls: Calls, levels: Sequence[Vertebra]) -> str:
    """What one model says of these levels."""
    said = []
    for level in levels:
        probability = calls.probabilities.get(level)
        mark = " suspected" if level in calls.suspected else ""
        says = "not found" if probability is None else f"{100 * probability:.0f} %{mark}"
        said.append(f"{level.name} {says}")
    return ", ".join(said)


def _median_dice(agreements: Sequence[Agreement]) -> dict[str, float]:
    """The median Dice coefficient of each level, over studies where at least one model has it."""
    values: dict[str, Any] = {
        level.name: [dice for one in agreements if (dice := one.dice(level)) is not None] for level in Vertebra
    }
    return {level: round(float(np.median(dice)), 4) for level, dice in values.items() if dice}


def _measured(values: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile; empty where there is nothing."""
    if not values:
        return {}
    return {f"p{percent}": round(float(np.percentile(values, percent)), 4) for percent in (50, 95)}


def _percentiles(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items()) or "-"


def _picture_name(number: int) -> str:
    return f"disagreement-{number:06d}.png"
