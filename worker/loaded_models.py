"""The models in the memory of one GPU worker's process: the serving one, and the shadow while there is one.

Before each study the records are asked whether another model is to serve (one small query). A change is made between
two studies: a study ends under the model that it began with.
"""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from model.bundle import Bundle
from model.errors import PredictorOutOfMemory
from model.preprocess import Spacing
from worker.database import Database
from worker.model_choice import named
from worker.model_store import ModelStore
from worker.pipeline import AnalysisTools, HounsfieldVolume, Prediction, VolumePredictor
from worker.ports import Clock
from worker.serving_bundle import choices, serving_bundle
from worker.settings import Settings

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 900.0
"""How long the shadow is not loaded again after memory ran out."""

Build = Callable[[Bundle, Callable[[], None]], AnalysisTools]
"""Makes a bundle ready to answer; the second argument is called before each batch of slices."""


class Interruption:
    """What the predictors of a process call before each batch: does nothing but inside ``watched_by``."""

    def __init__(self) -> None:
        self._check: Callable[[], None] | None = None

    def __call__(self) -> None:
        """Check, where that is asked for."""
        if self._check is not None:
            self._check()

    @contextmanager
    def watched_by(self, check: Callable[[], None]) -> Iterator[None]:
        """Call ``check`` before each batch; what it raises ends the prediction."""
        self._check = check
        try:
            yield
        finally:
            self._check = None


@dataclass(frozen=True, slots=True)
class _Loaded:
    sha256: str | None
    tools: AnalysisTools


class SparingPredictor:
    """The serving predictor: when memory runs out, what ``free`` can give back is given back and it tries once more."""

    def __init__(self, predictor: VolumePredictor, free: Callable[[], bool]) -> None:
        self._predictor = predictor
        self._free = free

    def predict(self, hu: HounsfieldVolume, spacing_mm: Spacing) -> Prediction:
        """Answer for one volume; raises what the predictor does."""
        try:
            return self._predictor.predict(hu, spacing_mm)
        except PredictorOutOfMemory:
            if not self._free():
                raise
        return self._predictor.predict(hu, spacing_mm)


class LoadedModels:
    """Loads what is to serve when it is needed and not in memory; ``build`` makes a bundle ready to answer."""

    def __init__(self, settings: Settings, database: Database, build: Build, clock: Clock) -> None:
        self._settings = settings
        self._database = database
        self._store = ModelStore.of(settings)
        self._build = build
        self._clock = clock
        self._interruption = Interruption()
        self._serving: _Loaded | None = None
        self._shadow: _Loaded | None = None
        self._paused_until: datetime | None = None

    def serving(self) -> AnalysisTools:
        """The tools of the model that is to serve now.

        Raises ``BundleError`` when it is not whole here: no other model answers in its place. The model that served
        before leaves the memory first.
        """
        found = choices(self._database)
        if self._shadow is not None and self._shadow.sha256 != found.shadow.sha256:
            self._forget_shadow()
        wanted = None if self._settings.bundle_path is not None else found.serving.sha256
        if self._serving is None or self._serving.sha256 != wanted:
            self._serving = None
            gc.collect()
            bundle = serving_bundle(self._settings, self._store, wanted)
            tools = self._build(bundle, self._interruption)
            tools = replace(tools, predictor=SparingPredictor(tools.predictor, self.free_shadow))
            self._serving = _Loaded(wanted, tools)
            logger.info("model %s %s (%s) serves from now on", bundle.name, bundle.version, named(wanted))
        return self._serving.tools

    @property
    def loaded(self) -> Bundle | None:
        """The serving model that is in memory; another one may have been chosen since."""
        serving = self._serving
        return None if serving is None else serving.tools.bundle

    def shadow(self, sha256: str) -> AnalysisTools:
        """The tools of the shadow, beside the serving model; raises ``BundleError`` when it is not whole here."""
        if self._shadow is None or self._shadow.sha256 != sha256:
            self._forget_shadow()
            self._shadow = _Loaded(sha256, self._build(self._store.open(sha256), self._interruption))
        return self._shadow.tools

    def interruptible(self, check: Callable[[], None]) -> AbstractContextManager[None]:
        """Inside the block every model calls ``check`` before each batch."""
        return self._interruption.watched_by(check)

    @property
    def is_short_of_memory(self) -> bool:
        """Whether the shadow gave its memory back lately."""
        return self._paused_until is not None and self._clock() < self._paused_until

    def free_shadow(self) -> bool:
        """Give the shadow's memory back for a while; False when there is none to give."""
        self._paused_until = self._clock() + timedelta(seconds=PAUSE_SECONDS)
        if self._shadow is None:
            return False
        logger.warning("memory ran out: the shadow model gives way")
        self._forget_shadow()
        return True

    def _forget_shadow(self) -> None:
        self._shadow = None
        gc.collect()
