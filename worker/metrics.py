"""``/metrics``: figures of the whole installation, read from the records when asked for, in a registry of its own.

Whichever process is asked, the figures are the same: what only one process knows it writes into the records
(``worker.reporter``), what happens to studies the clerk counts there (``worker.tally``), and the rest are questions
about the present (``worker.gauges``), whose cost hardly grows with the number of studies. The reasons are in
``deploy/decisions/0012-metrics.md``.
"""

import importlib.metadata
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from dicom_node.policy import Rejection, StoreStatus
from worker import counters, figures, gauges
from worker.database import Database
from worker.figures import Figure, Histogram, Series
from worker.ports import Clock
from worker.reporter import CONNECTION_LIMIT
from worker.settings import Settings
from worker.states import Cause

logger = logging.getLogger(__name__)


def make_registry(
    database: Database, settings: Settings, destinations: Iterable[str], clock: Clock
) -> CollectorRegistry:
    """A registry that holds the figures of an installation; ``destinations`` are the names of those configured."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(InstallationCollector(database, settings, destinations, clock))
    return registry


class InstallationCollector(Collector):
    """Reads all figures of an installation; where the database does not answer, it says that instead."""

    def __init__(self, database: Database, settings: Settings, destinations: Iterable[str], clock: Clock) -> None:
        self._database = database
        self._settings = settings
        self._from_the_start = _from_the_start(destinations)
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Every family, with what it cost to read them."""
        started = time.perf_counter()
        version = InfoMetricFamily("cspine_build", "Version of the product.")
        version.add_metric((), {"version": importlib.metadata.version("cspine")})
        yield version
        watermark = {(): float(self._settings.min_free_bytes)}
        meaning = "Free space below which instances are refused."
        yield gauges.gauge("cspine_disk_watermark_bytes", meaning, (), watermark)
        found: list[Metric] = []
        try:
            with self._database.reading() as session:
                found = list(self._read(session))
        except SQLAlchemyError as error:
            logger.warning("the figures cannot be read", extra={"reason": type(error).__name__})
        answers = {(): float(bool(found))}
        yield gauges.gauge("cspine_database_up", "Whether the database answers.", (), answers)
        yield from found
        spent = {(): time.perf_counter() - started}
        yield gauges.gauge("cspine_scrape_duration_seconds", "What it took to read the figures.", (), spent)

    def _read(self, session: Session) -> Iterator[Metric]:
        now = self._clock()
        yield from gauges.studies(session, now)
        yield from gauges.deliveries(session)
        yield from gauges.reviews(session)
        yield from gauges.positives(session)
        yield from gauges.processes(session, now)
        counted = self._from_the_start | counters.read(session)
        for figure in figures.COUNTERS:
            yield _counter(figure, counted)
        for figure in figures.GAUGES:
            values = {series.values: value for series, value in counted.items() if series.name == figure.name}
            yield gauges.gauge(figure.name, figure.meaning, figure.labels, values)
        for histogram in figures.HISTOGRAMS:
            yield _histogram(histogram, counted)


def _counter(figure: Figure, counted: Mapping[Series, float]) -> Metric:
    family = CounterMetricFamily(figure.name, figure.meaning, labels=figure.labels)
    for series in sorted(counted):
        if series.name == figure.name:
            family.add_metric(series.values, counted[series])
    return family


def _histogram(histogram: Histogram, counted: Mapping[Series, float]) -> Metric:
    """The histograms of a family: each bucket with all below it, as Prometheus wants them."""
    family = HistogramMetricFamily(histogram.name, histogram.meaning, labels=histogram.labels)
    bounds = [*map(str, histogram.bounds), "+Inf"]
    keys = {series.values for series in counted if series.name == histogram.sums.name}
    for key in sorted(keys):
        alone = [counted.get(histogram.buckets.series(*key, bound), 0.0) for bound in bounds]
        buckets = list(zip(bounds, accumulate(alone), strict=True))
        family.add_metric(key, buckets, sum_value=counted[histogram.sums.series(*key)])
    return family


def _from_the_start(destinations: Iterable[str]) -> dict[Series, float]:
    """Series that are shown as 0 before anything was counted: Prometheus sees no increase in a series that is new."""
    series = [
        figures.ASSOCIATIONS_ACCEPTED.series(),
        figures.INSTANCES_RECEIVED.series(),
        figures.RECEIVED_BYTES.series(),
        figures.INSTANCES_IGNORED.series(),
        figures.SPOOL_INSTANCES.series(),
        figures.SPOOL_BYTES.series(),
        figures.RESULT_SECONDS.sums.series(),
        *(figures.STAGE_SECONDS.sums.series(stage) for stage in figures.STAGES),
        *(figures.STUDY_MOVES.series(cause) for cause in Cause),
        *(figures.ASSOCIATIONS_REJECTED.series(reason.name.lower()) for reason in Rejection),
        figures.ASSOCIATIONS_REJECTED.series(CONNECTION_LIMIT),
        *(figures.INSTANCES_REFUSED.series(item.name.lower()) for item in StoreStatus if item != StoreStatus.SUCCESS),
    ]
    for name in destinations:
        series += [figures.DELIVERIES.series(name), figures.CONFIRMATIONS.series(name)]
        series += [figures.DELIVERY_FAILURES.series(name, figures.OTHER)]
        series += [figures.COMMITMENT_FAILURES.series(name, figures.OTHER)]
    return dict.fromkeys(series, 0.0)
