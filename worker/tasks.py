"""The Celery tasks, thin: ids in, one call, nothing out. Reached through the queue alone, never imported.

A pool child builds its services once (``worker_process_init``); only a GPU worker's child loads Keras and the bundle.
"""

import logging
from datetime import UTC, datetime
from functools import cache

from celery.signals import worker_process_init

from worker.analysis import StudyAnalyzer, backoff_of
from worker.app import app, settings
from worker.bell import CeleryBell
from worker.commitments import reports_into
from worker.database import Database
from worker.delivery import StudyDelivery
from worker.destination_file import read_destinations
from worker.links import LinkMaker
from worker.queues import ANALYZE_STUDY, DELIVER_STUDY
from worker.silence import Silences, SparingLinks
from worker.storage import ResultStore
from worker.tools import build_tools

logger = logging.getLogger(__name__)


@app.task(name=ANALYZE_STUDY)
def analyze_study(study_id: int, generation: int) -> None:
    """Look at a study that waits for its analysis."""
    analyzer().analyze(study_id, generation)


@app.task(name=DELIVER_STUDY)
def deliver_study(study_id: int, generation: int) -> None:
    """Look at a study whose results wait to be sent."""
    delivery().deliver(study_id, generation)


@worker_process_init.connect
def _warm_up(sender: str = "", **_arguments: object) -> None:
    """Load the network before the first study comes, in a GPU worker's child only."""
    if str(sender).startswith("gpu"):
        swept = analyzer().sweep_scratch()
        logger.info("the network is loaded and warm; %d old scratch folders removed", swept)


@cache
def analyzer() -> StudyAnalyzer:
    """The services of a GPU worker's child, built once."""
    return StudyAnalyzer(
        settings=settings,
        database=Database.open(settings.effective_database_url),
        results=ResultStore(settings.results_dir),
        tools=build_tools(settings),
        bell=CeleryBell(app),
        clock=_now,
    )


@cache
def delivery() -> StudyDelivery:
    """The services of a clerk's child, built once."""
    database = Database.open(settings.effective_database_url)
    return StudyDelivery(
        settings=settings,
        destinations=read_destinations(settings),
        links=SparingLinks(LinkMaker(settings.ae_title, reports_into(database)), Silences(_now, backoff_of(settings))),
        database=database,
        results=ResultStore(settings.results_dir),
        clock=_now,
    )


def _now() -> datetime:
    return datetime.now(UTC)
