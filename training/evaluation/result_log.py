"""Results of studies, kept as they come: a measurement that was interrupted goes on with the next study.

One JSON object a line. The first says what was measured (bundle, data, split); the others are results.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from training.datasets.studies import DataSetError
from training.evaluation.study_result import StudyResult

RESULTS_FILE = "results.jsonl"
_RESULT = TypeAdapter(StudyResult)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What results belong to: results of another bundle, folder or split never come together."""

    bundle_sha256: str
    studies_sha256: str
    split: str


class ResultLog:
    """The results of one measurement in a folder.

    Opening raises ``DataSetError`` where the folder holds those of another one. A last line that was cut off, as by a
    crash, is dropped.
    """

    def __init__(self, folder: Path, measurement: Measurement) -> None:
        self._path = folder / RESULTS_FILE
        self._results: dict[str, StudyResult] = {}
        first = json.dumps(asdict(measurement), sort_keys=True)
        lines = self._path.read_text(encoding="utf-8").split("\n") if self._path.is_file() else [first, ""]
        if lines[0] != first:
            raise DataSetError(f"{self._path} holds results of another bundle or split: name another output folder")
        whole = lines[1:-1]
        for line in whole:
            self._take(line)
        self._path.write_text("".join(f"{line}\n" for line in [first, *whole]), encoding="utf-8")

    def _take(self, line: str) -> None:
        try:
            result = _RESULT.validate_json(line)
        except ValidationError as error:
            raise DataSetError(f"{self._path} holds a line that is no result: remove the file") from error
        self._results[result.name] = result

    @property
    def results(self) -> dict[str, StudyResult]:
        """Everything that is kept, by the study's name."""
        return dict(self._results)

    def add(self, result: StudyResult) -> None:
        """Keep one more result."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_RESULT.dump_json(result).decode() + "\n")
        self._results[result.name] = result
