"""The Celery tasks, thin: ids in, one call, nothing out. Reached through the queue alone, never imported.

A pool child builds its services once (``worker_process_init``); only a GPU worker's child loads Keras and the bundle.
"""

import logging
import os
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING

from celery.signals import worker_process_init, worker_process_shutdown
from sqlalchemy.exc import SQLAlchemyError

from model.errors import ModelError
from worker.analysis import StudyAnalyzer, backoff_of
from worker.app import app, settings
from worker.bell import CeleryBell
from worker.commitments import reports_into
from worker.database import Database, DatabaseError, migrate
from worker.delivery import StudyDelivery
from worker.destination_file import read_destinations
from worker.gpus import read_gpus
from worker.heartbeats import Process, Pulse, Role, Vitals
from worker.image_analysis import ImageAnalyzer
from worker.image_files import ImageFiles
from worker.image_model import open_image_bundle
from worker.links import LinkMaker
from worker.loaded_models import LoadedModels
from worker.queues import ANALYZE_STUDY, COMPARE_RUN, DELIVER_STUDY, PREDICT_IMAGE
from worker.reporter import Reporter
from worker.shadow import ShadowAnalyzer
from worker.silence import Silences, SparingLinks
from worker.storage import ResultStore
from worker.tools import build_tools

if TYPE_CHECKING:
    from model.image_predictor import ImagePredictor

logger = logging.getLogger(__name__)


@app.task(name=ANALYZE_STUDY)
def analyze_study(study_id: int, generation: int) -> None:
    """Look at a study that waits for its analysis."""
    analyzer().analyze(study_id, generation)


@app.task(name=DELIVER_STUDY)
def deliver_study(study_id: int, generation: int) -> None:
    """Look at a study whose results wait to be sent."""
    delivery().deliver(study_id, generation)


@app.task(name=COMPARE_RUN)
def compare_run(run_id: int) -> None:
    """Let the shadow model look at a finished run, if no study waits."""
    shadow_analyzer().compare(run_id)


@app.task(name=PREDICT_IMAGE)
def predict_image(image_id: int) -> None:
    """Judge a single image that waits."""
    image_analyzer().predict(image_id)


@worker_process_init.connect
def _warm_up(sender: str = "", **_arguments: object) -> None:
    """Load the network before the first study comes, in a GPU worker's child only."""
    if not str(sender).startswith("gpu"):
        return
    reporter().start()
    swept = analyzer().sweep_scratch()
    try:
        migrate(database())
        models().serving()
    except (SQLAlchemyError, DatabaseError, ModelError) as error:
        # the next study tries again, and tells why it waits
        reason = str(error) if isinstance(error, ModelError) else type(error).__name__
        logger.error("the network is not loaded yet", extra={"reason": reason})  # noqa: TRY400  (no values)
        return
    logger.info("the network is loaded and warm; %d old scratch folders removed", swept)


@worker_process_shutdown.connect
def _leave(**_arguments: object) -> None:
    """A GPU worker's child ends in good order."""
    if reporter.cache_info().currsize:
        reporter().stop()


@cache
def database() -> Database:
    """The database of this process."""
    return Database.open(settings.effective_database_url)


@cache
def models() -> LoadedModels:
    """The models of a GPU worker's child."""
    return LoadedModels(settings, database(), partial(build_tools, settings), _now)


@cache
def reporter() -> Reporter:
    """The signs of life of a GPU worker: those of its one child, under the number of the parent, which stays."""
    return Reporter(database(), Pulse(Process.this(Role.GPU, os.getppid()), _vitals))


def _vitals() -> Vitals:
    vitals, bundle = replace(Vitals.now(settings.data_dir), gpus=read_gpus()), models().loaded
    if bundle is None:
        return vitals
    return replace(vitals, bundle=bundle.name, bundle_version=bundle.version, bundle_sha256=bundle.sha256)


@cache
def analyzer() -> StudyAnalyzer:
    """The services of a GPU worker's child, built once."""
    return StudyAnalyzer(
        settings=settings,
        database=database(),
        results=ResultStore(settings.results_dir),
        tools=models().serving,
        bell=CeleryBell(app),
        clock=_now,
    )


@cache
def shadow_analyzer() -> ShadowAnalyzer:
    """The shadow's part of a GPU worker's child, built once."""
    return ShadowAnalyzer(settings, database(), models(), _now)


@cache
def image_predictor() -> "ImagePredictor":
    """The image network of a GPU worker's child, loaded when the first image comes."""
    from model.image_predictor import ImagePredictor  # noqa: PLC0415  (Keras)

    return ImagePredictor(open_image_bundle(settings))


@cache
def image_analyzer() -> ImageAnalyzer:
    """The part of a GPU worker's child that judges single images, built once."""
    return ImageAnalyzer(database(), ImageFiles(settings.images_dir), image_predictor, _now)


@cache
def delivery() -> StudyDelivery:
    """The services of a clerk's child, built once."""
    links = LinkMaker(settings.ae_title, reports_into(database()))
    return StudyDelivery(
        settings=settings,
        destinations=read_destinations(settings),
        links=SparingLinks(links, Silences(_now, backoff_of(settings))),
        database=database(),
        results=ResultStore(settings.results_dir),
        clock=_now,
    )


def _now() -> datetime:
    return datetime.now(UTC)
