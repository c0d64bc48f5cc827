"""Measure a bundle on one split of a prepared folder: leakage first, then each data set in a row of its own."""

import csv
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from model.preprocess import PREPROCESS_VERSION
from training.config import CONFIG_FILE, ConfigError, load_config
from training.datasets.data_sets import open_data_set
from training.datasets.studies import DataSet, DataSetError
from training.evaluation.evaluate import VolumePredictor, Watcher, evaluate
from training.evaluation.evaluation import Evaluation
from training.evaluation.html_parts import some
from training.evaluation.judging import Answer, JudgedStudy
from training.evaluation.prepared_sets import prepared_rows
from training.evaluation.result_log import Measurement, ResultLog
from training.evaluation.study_result import StudyResult
from training.evaluation.worst_cases import Gallery
from training.preparation.leakage import check
from training.preparation.prepare_config import PrepareConfig
from training.preparation.prepared import Prepared, Split, read_prepared
from training.preparation.split_file import SPLIT_FILE, WORDS

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PreparedSplit:
    """One split of a prepared folder and the data sets that its volumes are read from; ``seed``: of the split."""

    prepared: Prepared
    sources: Sequence[DataSet]
    split: Split
    seed: int

    @classmethod
    def opened(cls, folder: Path, split: Split) -> "PreparedSplit":
        """Read and check a folder; ``DataSetError`` names each pair of studies that two splits share."""
        prepared = read_prepared(folder)
        check(prepared)
        try:
            config = load_config(PrepareConfig, folder / CONFIG_FILE)
        except ConfigError as error:
            what_to_do = "run `python -m training prepare` again with the same settings"
            raise DataSetError(f"{folder} does not say what it was prepared from: {what_to_do}. {error}") from error
        return cls(prepared, tuple(open_data_set(source) for source in config.sources), split, config.seed)

    def measurement(self, bundle_sha256: str) -> Measurement:
        """What results of a bundle on these studies belong to."""
        records = [asdict(study) for study in self.prepared.of(self.split)]
        content = json.dumps(records, sort_keys=True).encode()
        return Measurement(bundle_sha256, hashlib.sha256(content).hexdigest(), self.split.value)

    def provenance(self) -> dict[str, str]:
        """What was measured, in words for a report."""
        counts = [f"{split}: {len(self.prepared.of(split))}" for split in Split]
        return {
            "Prepared folder": self.prepared.folder.resolve().name,
            "Split that was measured": f"{self.split}, made with seed {self.seed} or by hand (split.csv)",
            "Studies of each split": ", ".join(counts),
            "SHA-256 of the studies' records": self.measurement("").studies_sha256,
            "Preprocessing": f"version {PREPROCESS_VERSION}, {self.prepared.preprocess.spacing_mm} mm",
            "Leakage": "no patient, file, volume or near-duplicate is in two splits (checked before measuring)",
        }

    def warnings(self) -> list[str]:
        """Why the whole report may be worth less."""
        lines = []
        if self.split is not Split.TEST:
            lines.append(f"Measured on the {self.split} split, which training has seen: nothing here is a test.")
        if unread := self.unread():
            lines.append(
                f"{len(unread)} studies of this split could not be read when the folder was prepared (problems.csv): "
                f"they are in no figure: {some(unread)}."
            )
        return lines

    def unread(self) -> tuple[str, ...]:
        """Studies that split.csv gives to this split and that were never prepared."""
        path = self.prepared.folder / SPLIT_FILE
        if not path.is_file():
            return ()
        there = {study.name for study in self.prepared.studies}
        with path.open(encoding="utf-8", newline="") as file:
            mine = [row for row in csv.DictReader(file) if WORDS.get((row.get("split") or "").lower()) is self.split]
        return tuple(name for name in (row.get("name") or "" for row in mine) if name and name not in there)


def measure_prepared(
    predictor: VolumePredictor, data: PreparedSplit, log: ResultLog, gallery: Gallery, watchers: Sequence[Watcher] = ()
) -> list[Evaluation]:
    """Measure every data set of the split; studies whose results are in the log are not read again.

    Raises ``DataSetError`` as the data sets do; what was measured until then is in the log.
    """

    def keep(study: JudgedStudy, answer: Answer | None, result: StudyResult) -> None:  # noqa: ARG001 -- a watcher
        log.add(result)

    found = []
    for row in prepared_rows(data.prepared, data.sources, data.split, log.results):
        if row.earlier:
            LOG.info("%s: %d studies were measured before", row.data, len(row.earlier))
        painter = gallery.painter(row.data, row.earlier)
        found.append(evaluate(predictor, row, [painter, keep, *watchers]))
    return found
