"""The mistakes that were made with the most confidence, and the pictures of them that are painted on the way."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from model.findings import Vertebra
from training.evaluation.case_picture import case_picture
from training.evaluation.judging import Answer, JudgedStudy
from training.evaluation.study_result import StudyResult

FOLDER = "worst"


class Mistake(StrEnum):
    """What was wrong with a level."""

    MISSED = "fracture missed"
    ALARM = "alarm without a fracture"
    NAME = "level not rightly named"


@dataclass(frozen=True, slots=True)
class WorstCase:
    """One mistake; ``badness`` (0..1) orders those of its kind, ``words`` say what the answer was."""

    study: str
    level: Vertebra
    mistake: Mistake
    badness: float
    words: str

    @property
    def title(self) -> str:
        """The case in one line."""
        return f"{self.level.name}: {self.mistake}, {self.words}"

    @property
    def file_name(self) -> str:
        """The name of its picture."""
        return f"{_plain(self.study)}-{self.level.name}-{self.mistake.name}.png"


def _plain(name: str) -> str:
    """A name as files and folders may be called."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80] or "data"


def worst_cases(results: Iterable[StudyResult], count: int) -> tuple[WorstCase, ...]:
    """The worst mistakes, at most ``count`` of each kind, the worst first; refused studies have none."""
    found = [case for result in results if not result.refused for case in _mistakes(result)]
    ordered = sorted(found, key=lambda case: (-case.badness, case.study, case.level))
    return tuple(case for mistake in Mistake for case in [one for one in ordered if one.mistake is mistake][:count])


def _mistakes(result: StudyResult) -> list[WorstCase]:
    cases = []
    for one in result.levels:
        said = f"probability {one.probability:.3f}" if one.found else "the level was not found"
        if one.fractured and not one.called:
            kind = f"{one.kind}, " if one.kind else ""
            cases.append(WorstCase(result.name, one.vertebra, Mistake.MISSED, 1 - one.probability, kind + said))
        if one.fractured is False and one.called:
            cases.append(WorstCase(result.name, one.vertebra, Mistake.ALARM, one.probability, said))
        if one.mask and not one.mask.right:
            name = f"taken for {one.mask.named_as.name}" if one.mask.named_as else "most of it carries no name"
            words = f"{name}, Dice {one.mask.dice:.2f}"
            cases.append(WorstCase(result.name, one.vertebra, Mistake.NAME, 1 - one.mask.dice, words))
    return cases


class WorstPainter:
    """Paints each study that is among the worst so far; ``finish`` leaves the pictures of the worst of all.

    ``earlier``: results of a run that was interrupted, whose pictures are in the folder already.
    """

    def __init__(self, folder: Path, count: int, earlier: Sequence[StudyResult] = ()) -> None:
        self._folder = folder
        self._count = count
        self._results = list(earlier)
        self._painted: set[str] = {case.file_name for case in worst_cases(earlier, count)}
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, study: JudgedStudy, answer: Answer | None, result: StudyResult) -> None:
        """Paint the study's mistakes that are among the worst so far."""
        self._results.append(result)
        if answer is None:
            return
        for case in worst_cases(self._results, self._count):
            if case.study == result.name:
                case_picture(self._folder / case.file_name, study, answer, case.level, case.title)
                self._painted.add(case.file_name)

    def finish(self) -> tuple[WorstCase, ...]:
        """The worst cases of all; pictures of others are removed."""
        worst = worst_cases(self._results, self._count)
        for name in self._painted - {case.file_name for case in worst}:
            (self._folder / name).unlink(missing_ok=True)
        return worst


class Gallery:
    """The painters of all data sets that are measured, each with a folder of its own below ``worst``."""

    def __init__(self, output: Path, count: int) -> None:
        self._output = output
        self._count = count
        self._painters: dict[str, WorstPainter] = {}

    def painter(self, data: str, earlier: Sequence[StudyResult] = ()) -> WorstPainter:
        """The painter of a data set."""
        painter = WorstPainter(gallery_folder(self._output, data), self._count, earlier)
        self._painters[data] = painter
        return painter

    def finish(self) -> dict[str, tuple[WorstCase, ...]]:
        """The worst cases of each data set."""
        return {data: painter.finish() for data, painter in self._painters.items()}


def gallery_folder(output: Path, data: str) -> Path:
    """Where the pictures of a data set are in the output folder of a measurement."""
    return output / FOLDER / _plain(data)
