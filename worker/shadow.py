"""The shadow model on one finished run: the same volume, both answers, their comparison as a row - the body of a task.

It sends nothing and writes nothing of the study. It stops as soon as a study waits for its analysis, gives its memory
back when that runs out, and whatever else goes wrong ends in its own row.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicom_node.errors import DicomNodeError
from dicom_node.reading import read_study
from model.errors import ModelError, PredictorOutOfMemory
from worker import model_choice, shadow_queue
from worker.comparison import Calls, compare_labels, disagreements
from worker.comparison_picture import TwoAnswers, draw_disagreement
from worker.database import Database
from worker.inputs import Input, inputs_of
from worker.loaded_models import LoadedModels
from worker.pipeline import AnalysisTools, Prediction
from worker.ports import Clock
from worker.records import ModelRole, Run, ShadowState
from worker.settings import Settings
from worker.shadow_queue import Claim

logger = logging.getLogger(__name__)

SCRATCH_PREFIX = "analysis-"
"""As that of analyses, so that one sweep removes what killed processes leave."""
LOOK_SECONDS = 0.25
"""Between two looks at the queue of studies."""


class GaveWay(Exception):
    """A study waits: the comparison stops here."""


class NotComparable(ModelError):
    """The run cannot be compared any more; the message says why."""


@dataclass(frozen=True, slots=True)
class ShadowAnalyzer:
    """Everything that comparisons of one GPU worker share; ``compare`` may be called any number of times for a run."""

    settings: Settings
    database: Database
    models: LoadedModels
    clock: Clock

    def compare(self, run_id: int) -> None:
        """Let the shadow look at a run's volume if nothing else is to be done; never raises for what it meets there."""
        with self.database.reading() as session:
            busy = shadow_queue.must_wait(session, self.clock())
        if busy or self.models.is_short_of_memory:
            return
        with self.database.transaction() as session:
            sha256 = model_choice.chosen(session, ModelRole.SHADOW).sha256
            mine = None if sha256 is None else shadow_queue.claim(session, run_id, sha256, self.clock())
        if mine is None or sha256 is None:
            return
        try:
            values = self._compared(run_id, sha256, mine)
        except GaveWay:
            logger.info("the shadow gives way to a waiting study")
            with self.database.transaction() as session:
                shadow_queue.give_way(session, mine)
            return
        except (ModelError, DicomNodeError, OSError) as error:
            values = {"failure": self._reason(error)}
        except Exception as error:
            logger.exception("the shadow crashed", extra={"code": type(error).__name__})
            values = {"failure": f"the shadow crashed with {type(error).__name__}"}
        self._conclude(mine, values)

    def _compared(self, run_id: int, sha256: str, mine: Claim) -> dict[str, Any]:
        """The values of the row of a comparison that came to its end."""
        give_way = _Attention(self._must_wait)
        with self.database.reading() as session:
            run = session.get_one(Run, run_id)
            inputs = inputs_of(session, run.study_id, self.settings.spool_dir)
        with self.models.interruptible(give_way):
            serving = self.models.serving()
            if serving.bundle.sha256 != run.bundle_sha256:
                raise NotComparable("the serving model was changed after this run")
            shadow = self.models.shadow(sha256)
            give_way()
            return self._both(run, mine, inputs, (serving, shadow))

    def _both(
        self, run: Run, mine: Claim, inputs: Sequence[Input], models: tuple[AnalysisTools, AnalysisTools]
    ) -> dict[str, Any]:
        """Both answers to the volume that the inputs hold, compared."""
        serving, shadow = models
        self.settings.scratch_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.settings.scratch_dir, prefix=SCRATCH_PREFIX) as scratch:
            reading = read_study([item.path for item in inputs], Path(scratch), serving.limits)
            hu, spacing_mm = reading.series.to_standard()
        ours, serving_seconds = _timed(lambda: serving.predictor.predict(hu, spacing_mm))
        other, shadow_seconds = _timed(lambda: shadow.predictor.predict(hu, spacing_mm))
        agreement = compare_labels(ours.labels, other.labels)
        findings = other.findings.with_limitations(*reading.series.warnings).as_json()
        levels = disagreements(Calls.from_findings(run.findings), Calls.from_findings(findings), agreement)
        drawn = next((level for level in levels if agreement.dice(level) is not None), None)
        picture = None
        if drawn is not None:
            answers = TwoAnswers(hu, spacing_mm, ours.labels, other.labels)
            picture = self._keep_picture(mine, draw_disagreement(answers, drawn))
        return {
            "findings": findings,
            "agreement": agreement.as_json(),
            "serving_seconds": serving_seconds,
            "shadow_seconds": shadow_seconds,
            "picture": picture,
        }

    def _keep_picture(self, mine: Claim, content: bytes) -> str:
        """Write the picture of a row; one that a killed process left is replaced."""
        folder = self.settings.shadow_dir
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{mine.row_id}.png"
        temporary = folder / f".{name}.part"
        temporary.write_bytes(content)
        temporary.replace(folder / name)
        return name

    def _reason(self, error: ModelError | DicomNodeError | OSError) -> str:
        """The reason in words that may be kept; the memory is given back where it ran out."""
        if isinstance(error, PredictorOutOfMemory):
            self.models.free_shadow()
            return "the memory did not suffice for a shadow beside the serving model"
        return f"files cannot be read or written ({error.strerror})" if isinstance(error, OSError) else str(error)

    def _conclude(self, mine: Claim, values: dict[str, Any]) -> None:
        """Write the row, and delete what is beyond the number that is kept."""
        state = ShadowState.FAILED if "failure" in values else ShadowState.COMPARED
        with self.database.transaction() as session:
            shadow_queue.conclude(session, mine, state, **values)
            oldest = shadow_queue.prune(session, self.settings.shadow_keep)
        if oldest is not None:
            for path in self.settings.shadow_dir.glob("*.png"):
                if path.stem.isdecimal() and int(path.stem) < oldest:
                    with suppress(OSError):
                        path.unlink()

    def _must_wait(self) -> bool:
        with self.database.reading() as session:
            return shadow_queue.must_wait(session, self.clock())


@dataclass(slots=True)
class _Attention:
    """Raises ``GaveWay`` when a study waits, or nothing is to be begun; looks at the records every so often only."""

    must_wait: Callable[[], bool]
    looked_at: float = field(default=0.0)

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self.looked_at < LOOK_SECONDS:
            return
        self.looked_at = now
        if self.must_wait():
            raise GaveWay


def _timed(predict: Callable[[], Prediction]) -> tuple[Prediction, float]:
    """A prediction and its seconds."""
    started = time.perf_counter()
    prediction = predict()
    return prediction, round(time.perf_counter() - started, 3)
